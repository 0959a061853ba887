"""Progress: what it says of a whole job, and that it reaches the platform in order and before the result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from comfypod.comfyui.protocol import NodeProgressed, NodesCached, NodeStarted, PreviewReceived, PromptStarted
from comfypod.schema.progress import Progress
from comfypod.schema.workflow import Workflow
from comfypod.worker.progress import ProgressReporter, ProgressTracker

WORKFLOW = Workflow.parse(
    {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
        "3": {"class_type": "KSampler", "inputs": {"steps": 7}, "_meta": {"title": "Sampler"}},
        "9": {"class_type": "SaveImage", "inputs": {}},
    }
)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> ProgressTracker:
    return ProgressTracker(WORKFLOW, clock)


def run_to_step(tracker: ProgressTracker, clock: Clock, step: int) -> Progress:
    tracker.enter("queue")
    tracker.receive(PromptStarted())
    tracker.receive(NodesCached(()))
    tracker.receive(NodeStarted("4"))
    clock.now += 1
    tracker.receive(NodeStarted("3"))
    clock.now += 3
    tracker.receive(NodeProgressed("3", step, 7))
    return tracker.snapshot(1)


def test_a_sampler_weighs_as_much_as_its_steps(tracker: ProgressTracker, clock: Clock) -> None:
    progress = run_to_step(tracker, clock, 7)
    # 1 for the loader and 8 for the sampler of 10 in all, in the part of the bar that is execution's.
    assert progress.value == pytest.approx(0.02 + 0.93 * 0.9, abs=1e-4)
    assert (progress.nodes_done, progress.nodes_total) == (1, 3)
    assert (progress.step, progress.steps) == (7, 7)
    assert progress.message == "Sampler 7/7"
    assert progress.current_node_class == "KSampler"


def test_the_time_left_follows_from_the_pace(tracker: ProgressTracker, clock: Clock) -> None:
    progress = run_to_step(tracker, clock, 7)
    assert progress.eta_seconds == pytest.approx(4 * 0.1 / 0.9, abs=0.05)


def test_cached_nodes_count_as_done(tracker: ProgressTracker) -> None:
    tracker.receive(PromptStarted())
    tracker.receive(NodesCached(("4", "3")))
    progress = tracker.snapshot(1)
    assert progress.nodes_done == 2
    assert progress.value == pytest.approx(0.02 + 0.93 * 0.9, abs=1e-4)
    assert progress.eta_seconds is None


def test_the_value_never_falls(tracker: ProgressTracker, clock: Clock) -> None:
    values = [run_to_step(tracker, clock, 6).value]
    for event in (NodeProgressed("3", 1, 7), NodeStarted("4"), NodeStarted("unknown"), NodeProgressed("x", 1, 0)):
        tracker.receive(event)
        values.append(tracker.snapshot(1).value)
    tracker.enter("deliver")
    values.append(tracker.snapshot(1).value)
    assert values == sorted(values)
    assert values[-1] >= 0.95


def test_timings_say_where_the_time_went(tracker: ProgressTracker, clock: Clock) -> None:
    clock.now += 0.5
    run_to_step(tracker, clock, 7)
    tracker.enter("deliver")
    clock.now += 0.25
    timings = tracker.timings()
    assert (timings.prepare_ms, timings.queue_ms, timings.execute_ms, timings.deliver_ms) == (500, 0, 4000, 250)
    assert timings.total_ms == 4750
    assert timings.nodes == {"4": 1000, "3": 3000}


def test_a_preview_is_of_the_running_node_and_gone_with_it(tracker: ProgressTracker) -> None:
    tracker.receive(NodeStarted("3"))
    tracker.receive(PreviewReceived("3", "image/jpeg", b"picture"))
    preview = tracker.snapshot(1).to_json()["preview"]
    assert preview == {"node_id": "3", "content_type": "image/jpeg", "data_base64": "cGljdHVyZQ=="}
    tracker.receive(NodeStarted("9"))
    assert "preview" not in tracker.snapshot(2).to_json()


class Platform:
    """Takes updates slowly, and knows how many are under way."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.received: list[Mapping[str, Any]] = []
        self.under_way = 0
        self._seconds = seconds

    async def take(self, job: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        self.under_way += 1
        try:
            await asyncio.sleep(self._seconds)
            self.received.append(value)
        finally:
            self.under_way -= 1


async def test_updates_are_throttled_and_always_the_newest(tracker: ProgressTracker) -> None:
    platform = Platform()
    async with ProgressReporter(tracker, {}, platform.take, interval_seconds=0.1):
        tracker.receive(PromptStarted())
        tracker.receive(NodeStarted("3"))
        for step in range(1, 1001):
            tracker.receive(NodeProgressed("3", step, 1000))
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            while not platform.received or platform.received[-1].get("step") != 1000:
                await asyncio.sleep(0.01)
    assert len(platform.received) < 10
    assert [update["sequence"] for update in platform.received] == list(range(1, len(platform.received) + 1))


async def test_no_update_is_under_way_when_the_body_has_ended(tracker: ProgressTracker) -> None:
    platform = Platform(seconds=0.1)
    async with ProgressReporter(tracker, {}, platform.take, interval_seconds=0.1):
        async with asyncio.timeout(2):
            while not platform.under_way:
                await asyncio.sleep(0)
    assert platform.under_way == 0
    told = len(platform.received)
    assert told >= 1
    await asyncio.sleep(0.15)
    assert len(platform.received) == told


async def test_a_platform_that_does_not_take_updates_does_not_stop_the_job(tracker: ProgressTracker) -> None:
    asked = asyncio.Event()

    async def refuse(job: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        asked.set()
        raise ConnectionRefusedError

    async with ProgressReporter(tracker, {}, refuse, interval_seconds=0.1):
        async with asyncio.timeout(2):
            await asked.wait()


async def test_without_a_platform_it_is_silent(tracker: ProgressTracker) -> None:
    before = len(asyncio.all_tasks())
    async with ProgressReporter(tracker, {}, None, interval_seconds=0.1):
        assert len(asyncio.all_tasks()) == before


async def test_a_cancelled_job_stops_reporting_at_once(tracker: ProgressTracker) -> None:
    platform = Platform(seconds=60)

    async def job() -> None:
        async with ProgressReporter(tracker, {}, platform.take, interval_seconds=0.1):
            await asyncio.sleep(60)

    task = asyncio.create_task(job())
    async with asyncio.timeout(2):
        while not platform.under_way:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert platform.under_way == 0
