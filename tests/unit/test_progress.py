"""Progress: what it says of a whole job, and that it reaches the platform in order and before the result."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from comfypod.comfyui.protocol import (
    Event,
    NodeProgressed,
    NodesCached,
    NodeStarted,
    PreviewReceived,
    PromptSession,
    PromptStarted,
)
from comfypod.schema.progress import Progress
from comfypod.schema.workflow import Workflow
from comfypod.worker.costs import LearnedCosts
from comfypod.worker.progress import ProgressTracker
from comfypod.worker.reporting import ProgressReporter

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
    return ProgressTracker(WORKFLOW, clock=clock)


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


# --- the time left, once the workflow is known ---

SECONDS = {"4": 2.0, "3": 4.0, "10": 30.0, "9": 1.0}
SLOW_DECODE = Workflow.parse(
    {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
        "3": {"class_type": "KSampler", "inputs": {"steps": 8, "model": ["4", 0]}},
        "10": {"class_type": "VAEDecodeTiled", "inputs": {"samples": ["3", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["10", 0]}},
    }
)
"""The sampler tells its steps; nearly all the time goes to the node after it, which tells none."""

Moment = tuple[float, Event]
"""Seconds after the execution's begin, and what is told then."""


def run_of(
    seconds: Mapping[str, float], sampler: str = "3", steps: int = 8, cached: Sequence[str] = ()
) -> list[Moment]:
    """What ComfyUI tells of a run in which the nodes take ``seconds``, the sampler the same for every step."""
    moments: list[Moment] = [(0.0, PromptStarted()), (0.0, NodesCached(tuple(cached)))]
    now = 0.0
    for node_id, duration in seconds.items():
        if node_id in cached:
            continue
        moments.append((now, NodeStarted(node_id)))
        if node_id == sampler:
            ends = [now + duration * step / steps for step in range(1, steps + 1)]
            moments += [(end, NodeProgressed(node_id, step, steps)) for step, end in enumerate(ends, start=1)]
        now += duration
    return [*moments, (now, NodeProgressed("9", 0, 0))]  # the last says nothing: it is the end


@dataclass
class Watched:
    """What a person who looks all the time sees of a run: pairs of the true and the told time left, and the values."""

    left: list[tuple[float, float | None]]
    values: list[float]
    last: Progress

    def worst_error(self) -> float:
        """The largest share of the truth by which the time left was wrong; a tenth of a second is not told."""
        return max(max(0.0, abs(told - true) - 0.1) / max(true, 0.1) for true, told in self.left if told is not None)


def watch(tracker: ProgressTracker, clock: Clock, moments: Sequence[Moment], looks: int = 7) -> Watched:
    """Play a run and look ``looks`` times between any two events; the job is then delivered and learned."""
    begun, end = clock.now, clock.now + moments[-1][0]
    watched = Watched([], [], tracker.snapshot(0))
    for (moment, item), (following, _) in pairwise([*moments, moments[-1]]):
        clock.now = begun + moment
        tracker.receive(item)
        for look in range(looks):
            clock.now = begun + moment + (following - moment) * look / looks
            watched.last = tracker.snapshot(1)
            watched.left.append((end - clock.now, watched.last.eta_seconds))
            watched.values.append(watched.last.value)
    assert watched.values == sorted(watched.values)
    assert all(0.0 <= value <= 1.0 for value in watched.values)
    clock.now = end
    tracker.enter("deliver")
    tracker.learn()
    return watched


def test_the_second_run_knows_its_end_at_every_moment_and_the_first_cannot(clock: Clock) -> None:
    costs = LearnedCosts()
    first = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    second = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    assert first.left[0][1] is None
    assert first.worst_error() > 0.5
    assert None not in [told for _, told in second.left]
    assert second.worst_error() < 0.1


def test_a_job_that_waited_for_the_first_run_knows_what_it_taught(clock: Clock) -> None:
    costs = LearnedCosts()
    waiting = ProgressTracker(SLOW_DECODE, costs, clock)
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    assert watch(waiting, clock, run_of(SECONDS)).worst_error() < 0.1


def test_the_second_run_s_bar_moves_as_the_time_does(clock: Clock) -> None:
    costs = LearnedCosts()
    first = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    second = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    # The decoder, 30 of 37 seconds, begins where 6 of them have passed; unlearned it is one of twelve parts.
    assert any(value == pytest.approx(0.02 + 0.93 * 6 / 37, abs=0.01) for value in second.values)
    assert not any(0.3 < value < 0.9 for value in second.values)
    assert any(0.3 < value < 0.9 for value in first.values)


def test_more_steps_than_before_are_foreseen(clock: Clock) -> None:
    costs = LearnedCosts()
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    more = SLOW_DECODE.with_inputs({"3.steps": 40})
    moments = run_of({**SECONDS, "3": 20.0}, steps=40)
    assert watch(ProgressTracker(more, costs, clock), clock, moments).worst_error() < 0.1


def test_cached_nodes_take_no_time_of_a_known_run(clock: Clock) -> None:
    costs = LearnedCosts()
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    cached = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS, cached=("4", "3")))
    after_cached = [(true, told) for true, told in cached.left[7:] if told is not None]
    assert all(abs(told - true) <= 0.1 * true + 0.1 for true, told in after_cached)
    again = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    assert again.worst_error() < 0.1


def test_a_wholly_cached_run_has_nothing_left_and_teaches_nothing(clock: Clock) -> None:
    costs = LearnedCosts()
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    before = costs.estimate(SLOW_DECODE)
    cached = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS, cached=tuple(SECONDS)))
    assert cached.last.eta_seconds == 0.0
    assert (cached.last.nodes_done, cached.last.nodes_total) == (4, 4)
    assert costs.estimate(SLOW_DECODE) == before


def test_a_run_at_another_pace_is_judged_by_its_own(clock: Clock) -> None:
    costs = LearnedCosts()
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS | {"3": 30.0}))
    slower = {node_id: 2 * seconds for node_id, seconds in SECONDS.items()} | {"3": 60.0}
    tracker = ProgressTracker(SLOW_DECODE, costs, clock)
    left = watch(tracker, clock, run_of(slower)).left
    # The learned time left would be half of the truth.
    judged = [(true, told) for true, told in left if 20 < true < 90 and told is not None]
    assert judged
    assert all(0.55 * true < told < 1.1 * true for true, told in judged)


def test_a_node_that_takes_longer_than_learned_does_not_make_the_time_left_nonsense(clock: Clock) -> None:
    costs = LearnedCosts()
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    left = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of({**SECONDS, "10": 3000.0})).left
    told = [eta for _, eta in left if eta is not None]
    assert len(told) == len(left)
    assert all(0.0 <= eta <= 2 * sum(SECONDS.values()) for eta in told)
    assert all(eta > 10 for true, eta in left if 10 < true < 2900 and eta is not None)  # late, it is not just over


def test_one_odd_node_does_not_change_the_outlook_on_the_others(clock: Clock) -> None:
    costs = LearnedCosts()
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    left = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of({**SECONDS, "4": 20.0})).left
    after = [told for true, told in left if 34.5 < true <= 35 and told is not None]  # when the odd one has ended
    assert after
    assert all(told < 1.5 * 35 for told in after)


def test_a_model_that_is_already_loaded_does_not_mislead_the_steps_after_it(clock: Clock) -> None:
    costs = LearnedCosts()
    loading = [(moment + 20.0 * (moment > 2.0), item) for moment, item in run_of(SECONDS)]  # before the first step
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, loading)
    loaded = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS)).left
    at_the_fourth_step = [told for true, told in loaded if 31.0 <= true <= 33.0]
    assert at_the_fourth_step
    assert all(told == pytest.approx(32.0, abs=2.0) for told in at_the_fourth_step)


def test_a_list_or_an_expanded_node_goes_through_its_steps_several_times(clock: Clock) -> None:
    """Three samplings of 4 s, and 3 s without steps after them: in one node as a list, or below one that expands."""
    costs = LearnedCosts()
    moments: list[Moment] = [(0.0, PromptStarted()), (0.0, NodesCached(())), (0.0, NodeStarted("4"))]
    for sampling in range(3):
        moments.append((1 + 4.0 * sampling, NodeStarted("3")))
        inner = f"3.0.0.{sampling}"
        moments += [(1 + 4.0 * sampling + step / 2, NodeProgressed(inner, step, 8)) for step in range(1, 9)]
    moments += [(16.0, NodeStarted("10")), (17.0, NodeStarted("9")), (17.0, NodeProgressed("9", 0, 0))]
    first = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, moments)
    second = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, moments)
    assert second.worst_error() < 0.1 < first.worst_error()
    # In the first run too: three times through its steps are no more than one node.
    assert [value for value in first.values if value > 0.02 + 0.93 * 10 / 12] == [
        pytest.approx(0.02 + 0.93 * 11 / 12)
    ] * 14
    values = [value for value in second.values if value < 0.9]
    assert max(later - earlier for earlier, later in pairwise(values)) < 0.1
    assert second.last.nodes_done == 3


def test_async_nodes_that_overlap_are_foreseen_as_a_whole(clock: Clock) -> None:
    """10 and 3 run at the same time; ComfyUI does not tell when either ends, only that 9 begins."""
    costs = LearnedCosts()
    moments: list[Moment] = [
        (0.0, PromptStarted()),
        (0.0, NodesCached(())),
        (0.0, NodeStarted("4")),
        (1.0, NodeStarted("10")),
        (1.0, NodeStarted("3")),
        (3.0, NodeProgressed("10", 1, 2)),
        (5.0, NodeProgressed("3", 1, 2)),
        (9.0, NodeStarted("9")),
        (10.0, NodeProgressed("9", 0, 0)),
    ]
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, moments)
    second = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, moments)
    assert second.worst_error() < 0.1
    assert second.last.nodes_done == 3


def test_the_steps_shown_are_those_of_the_node_shown(tracker: ProgressTracker) -> None:
    for item in (NodeStarted("9"), NodeProgressed("9", 1, 2), NodeStarted("3"), NodeProgressed("9", 2, 2)):
        tracker.receive(item)
    progress = tracker.snapshot(1)
    assert (progress.current_node, progress.step, progress.message) == ("3", None, "Sampler")


def test_a_node_that_was_said_to_be_cached_and_runs_takes_its_time(clock: Clock) -> None:
    costs = LearnedCosts()
    watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, run_of(SECONDS))
    tracker = ProgressTracker(SLOW_DECODE, costs, clock)
    tracker.receive(NodesCached(tuple(SLOW_DECODE.nodes)))
    tracker.receive(NodeStarted("10"))
    progress = tracker.snapshot(1)
    assert (progress.nodes_done, progress.eta_seconds) == (3, 30.0)
    assert progress.value == pytest.approx(0.02 + 0.93 * 7 / 37, abs=1e-3)


def test_what_is_told_after_the_end_changes_nothing(tracker: ProgressTracker, clock: Clock) -> None:
    run_to_step(tracker, clock, 7)
    tracker.enter("deliver")
    before = tracker.snapshot(1)
    for item in (PromptStarted(), NodesCached(("4",)), NodeStarted("3"), NodeProgressed("3", 1, 7)):
        tracker.receive(item)
    assert tracker.snapshot(1) == before


def test_a_lazy_node_that_is_told_again_runs_again(tracker: ProgressTracker, clock: Clock) -> None:
    for node_id in ("9", "3", "9"):
        tracker.receive(NodeStarted(node_id))
        clock.now += 1
    progress = tracker.snapshot(1)
    assert (progress.current_node, progress.nodes_done) == ("9", 1)
    tracker.receive(NodeStarted("4"))
    assert tracker.snapshot(2).nodes_done == 2
    assert tracker.timings().nodes == {"9": 2000, "3": 1000}


def test_a_node_told_again_after_a_reconnection_is_the_same_run_of_it(tracker: ProgressTracker, clock: Clock) -> None:
    before = run_to_step(tracker, clock, 5)
    tracker.receive(NodeStarted("3"))
    progress = tracker.snapshot(2)
    assert (progress.nodes_done, progress.value) == (before.nodes_done, before.value)
    clock.now += 1
    tracker.receive(NodeProgressed("3", 7, 7))
    tracker.receive(NodeStarted("9"))
    assert tracker.snapshot(3).nodes_done == 2
    assert tracker.timings().nodes == {"4": 1000, "3": 4000}


def test_the_nodes_a_run_did_not_need_cost_nothing_in_the_next(clock: Clock) -> None:
    costs = LearnedCosts()
    moments: list[Moment] = [(0.0, PromptStarted()), (0.0, NodesCached(())), (0.0, NodeStarted("4"))]
    moments += [(1.0, NodeStarted("9")), (5.0, NodeProgressed("9", 0, 0))]
    first = ProgressTracker(SLOW_DECODE, costs, clock)
    watch(first, clock, moments)
    assert first.snapshot(1).nodes_done == 4  # over: what did not run need not
    second = watch(ProgressTracker(SLOW_DECODE, costs, clock), clock, moments)
    assert second.worst_error() < 0.1


def test_an_execution_whose_first_message_was_lost_has_begun(tracker: ProgressTracker) -> None:
    tracker.enter("queue")
    tracker.receive(NodeProgressed("3", 2, 7))
    progress = tracker.snapshot(1)
    assert (progress.stage, progress.current_node, progress.step) == ("execute", "3", 2)


# --- once more, from the beginning ---


def test_a_run_that_begins_again_has_its_nodes_before_it_but_not_its_value(clock: Clock) -> None:
    tracker = ProgressTracker(WORKFLOW, clock=clock)
    before = run_to_step(tracker, clock, 6)
    tracker.begin_again()
    clock.now += 5
    waiting = tracker.snapshot(2)
    assert (waiting.stage, waiting.nodes_done, waiting.value) == ("queue", 0, before.value)
    assert (waiting.current_node, waiting.eta_seconds) == (None, None)
    again = run_to_step(tracker, clock, 2)
    assert (again.stage, again.nodes_done, again.current_node, again.value) == ("execute", 1, "3", before.value)
    assert run_to_step(tracker, clock, 7).value > before.value


def test_the_time_of_both_runs_is_counted_and_the_last_is_learned(clock: Clock) -> None:
    costs = LearnedCosts()
    tracker = ProgressTracker(WORKFLOW, costs, clock)
    clock.now += 1
    run_to_step(tracker, clock, 6)  # 4 s, of which the sampler has 3
    tracker.begin_again()
    clock.now += 5
    run_to_step(tracker, clock, 7)
    tracker.receive(NodeStarted("9"))
    tracker.enter("deliver")
    clock.now += 2
    timings = tracker.timings()
    assert (timings.prepare_ms, timings.queue_ms, timings.execute_ms, timings.deliver_ms) == (1000, 5000, 8000, 2000)
    assert timings.total_ms == 16000
    assert timings.nodes == {"4": 2000, "3": 6000, "9": 0}
    tracker.learn()
    assert costs.estimate(WORKFLOW).nodes["3"].seconds == pytest.approx(3.0)


def test_a_job_lost_while_its_results_were_fetched_begins_again(tracker: ProgressTracker, clock: Clock) -> None:
    run_to_step(tracker, clock, 7)
    tracker.enter("deliver")
    value = tracker.snapshot(1).value
    tracker.begin_again()
    progress = run_to_step(tracker, clock, 3)
    assert (progress.stage, progress.nodes_done, progress.value) == ("execute", 1, value)


# --- whatever is told, in whatever order ---


def anything(random: Random) -> Event:
    node_id = random.choice([*SLOW_DECODE.nodes, "3.0.0.1", "unknown"])
    value = random.choice([-3, 0, 1, 5, 20, 21, 2.5, 10**400, math.inf, math.nan])
    maximum = random.choice([0, 1, 8, 20, 20, 20, -1, 10**400, math.inf, math.nan])
    return random.choice(
        [
            PromptStarted(),
            NodesCached(tuple(random.sample([*SLOW_DECODE.nodes, "unknown"], random.randint(0, 5)))),
            NodeStarted(node_id),
            NodeStarted(node_id),
            NodeProgressed(node_id, value, maximum),
            NodeProgressed(node_id, random.randint(0, 20), 20),
            PreviewReceived(random.choice([None, node_id]), "image/png", b""),
        ]
    )


@pytest.mark.parametrize("seed", range(200))
def test_no_order_of_events_makes_it_fall_or_break(seed: int) -> None:
    random, clock, costs = Random(seed), Clock(), LearnedCosts()  # noqa: S311 (reproducible, not secret)
    value = 0.0
    for _ in range(3):  # each run with what the ones before have taught
        tracker = ProgressTracker(SLOW_DECODE, costs, clock)
        values = [tracker.snapshot(0).value]
        for sequence in range(60):
            clock.now += random.choice([0.0, 0.0, 0.1, 3.0, 1e6])
            tracker.begin_again() if random.random() < 0.02 else tracker.receive(anything(random))
            progress = tracker.snapshot(sequence)
            json.dumps(progress.to_json(), allow_nan=False)
            values.append(progress.value)
            assert 0 <= progress.nodes_done <= progress.nodes_total == 4
            assert progress.eta_seconds is None or 0.0 <= progress.eta_seconds < math.inf
        assert values == sorted(values)
        assert values[-1] <= 0.95
        tracker.enter("deliver")
        value = tracker.snapshot(100).value
        assert value == 0.95
        assert tracker.snapshot(101).nodes_done == 4
        tracker.learn()


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_and_doubled_events_end_where_the_stage_ends(seed: int) -> None:
    random, clock = Random(seed), Clock()  # noqa: S311
    items = [item for _, item in run_of(SECONDS)] * 2
    random.shuffle(items)
    tracker = ProgressTracker(SLOW_DECODE, clock=clock)
    for item in [*items, *map(NodeStarted, SLOW_DECODE.nodes), NodeProgressed("9", 1, 1)]:
        tracker.receive(item)
    assert tracker.snapshot(1).value == 0.95


def test_two_hundred_and_fifty_nodes_are_told_one_by_one(clock: Clock) -> None:
    chain = Workflow({str(number): {"class_type": "ImageInvert", "inputs": {}} for number in range(250)})
    costs = LearnedCosts()
    moments: list[Moment] = [(0.0, PromptStarted()), (0.0, NodesCached(()))]
    moments += [(number * 0.1, NodeStarted(str(number))) for number in range(250)]
    moments.append((25.0, NodeProgressed("249", 0, 0)))
    watch(ProgressTracker(chain, costs, clock), clock, moments, looks=1)
    second = watch(ProgressTracker(chain, costs, clock), clock, moments, looks=1)
    assert (second.last.nodes_done, second.last.nodes_total) == (249, 250)
    assert second.worst_error() < 0.1


# --- recordings of ComfyUI 0.3.64 and 0.8.0 ---

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
SLOWNESS = 100.0
"""The recorded runs take tenths of a second, the unit in which the time left is told: they are played slower."""


@dataclass
class Recorded:
    """One prompt of a recording, as its client heard it."""

    workflow: Workflow
    moments: list[Moment]
    succeeded: bool = False


def recorded_prompts(version: str, scenario: str) -> list[Recorded]:
    text = (TRANSCRIPTS / version / f"{scenario}.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    asked = {line["id"]: line for line in lines if line["type"] == "http.request" and line["path"] == "/prompt"}
    answers = [line for line in lines if line["type"] == "http.response" and line["id"] in asked]
    return [
        recorded_prompt(lines, Workflow(asked[line["id"]]["body"]["json"]["prompt"]), line["body"]["json"]["prompt_id"])
        for line in answers
    ]


def recorded_prompt(lines: Sequence[Mapping[str, Any]], workflow: Workflow, prompt_id: str) -> Recorded:
    session, recorded = PromptSession(prompt_id, workflow), Recorded(workflow, [])
    begun: float | None = None
    for line in lines:
        if line["type"] != "ws.text" or line["json"]["data"].get("prompt_id") != prompt_id:
            continue
        begun = line["t"] if begun is None else begun
        for item in session.receive_message(json.dumps(line["json"])):
            recorded.moments.append((SLOWNESS * (line["t"] - begun), item))
        if line["json"]["type"] == "execution_success":
            recorded.succeeded = True
            # No event of ours, but the end: told as something that changes nothing.
            recorded.moments.append((SLOWNESS * (line["t"] - begun), NodeProgressed("0", 0, 0)))
    return recorded


@pytest.mark.parametrize("version", ["0.3.64", "0.8.0"])
@pytest.mark.parametrize("scenario", ["subgraph_expand", "lists", "async_nodes", "batch4", "cached_rerun_ksampler"])
def test_recorded_prompts_come_to_the_end_of_their_nodes(version: str, scenario: str, clock: Clock) -> None:
    costs = LearnedCosts()
    prompts = recorded_prompts(version, scenario)
    assert any(prompt.succeeded for prompt in prompts)
    for prompt in prompts:
        tracker = ProgressTracker(prompt.workflow, costs, clock)
        tracker.enter("queue")
        last = watch(tracker, clock, prompt.moments).last
        if not prompt.succeeded:
            continue
        # The last node is left when the prompt is over; of a cached prompt none runs.
        assert last.nodes_done == last.nodes_total - (last.current_node is not None)
        assert last.nodes_total == len(prompt.workflow.nodes)
        assert tracker.snapshot(2).nodes_done == last.nodes_total


@pytest.mark.parametrize("version", ["0.3.64", "0.8.0"])
@pytest.mark.parametrize("scenario", ["async_nodes", "batch4"])
def test_a_recorded_prompt_heard_for_the_second_time_ends_when_it_says(
    version: str, scenario: str, clock: Clock
) -> None:
    costs = LearnedCosts()
    (prompt,) = recorded_prompts(version, scenario)
    watch(ProgressTracker(prompt.workflow, costs, clock), clock, prompt.moments)
    # A real sampler's steps are not quite as long as one another.
    assert watch(ProgressTracker(prompt.workflow, costs, clock), clock, prompt.moments).worst_error() < 0.15


@pytest.mark.parametrize("version", ["0.3.64", "0.8.0"])
def test_a_recorded_run_with_another_seed_is_foreseen_from_the_full_one(version: str, clock: Clock) -> None:
    costs = LearnedCosts()
    full, cached, seeded = recorded_prompts(version, "cached_rerun_ksampler")
    watch(ProgressTracker(full.workflow, costs, clock), clock, full.moments)
    all_cached = watch(ProgressTracker(cached.workflow, costs, clock), clock, cached.moments)
    assert (all_cached.last.nodes_done, all_cached.last.eta_seconds) == (7, 0.0)
    left = watch(ProgressTracker(seeded.workflow, costs, clock), clock, seeded.moments).left
    # None can know what comes before the first step: it took 0.06 s in one recorded run, and 0.7 s in the next.
    first_step = next(place for place, (_, item) in enumerate(seeded.moments) if isinstance(item, NodeProgressed))
    assert len(left) > 7 * first_step
    for true, told in left[7 * first_step :]:
        assert told is not None
        assert abs(told - true) <= 0.35 * true + 1.0


# --- the way to the platform ---


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
