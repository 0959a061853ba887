"""Very many jobs, a few at a time: nothing is lost, nothing runs on for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfypod import Client, JobStatus
from comfypod.errors import (
    CloudUnavailable,
    ComfyPodError,
    InvalidJobInput,
    JobFailed,
    OutOfMemory,
    SubmissionUncertain,
)
from tests.cloud.scripted_runpod import API_KEY, ENDPOINT_ID, Cut, FakeClock, Reply, ScriptedRunPod, wait_until


def work(job: dict[str, Any]) -> None:
    """A worker that needs two looks for a job: its prompt says how it ends."""
    if job["status"] == "IN_QUEUE":
        job["status"] = "IN_PROGRESS"
    elif job["input"]["prompt"] == "fails":
        job.update(status="FAILED", error="no memory", output={"code": "out_of_memory", "retryable": True})
    elif job["input"]["prompt"] != "never ends":
        job.update(status="COMPLETED", output={"prompt": job["input"]["prompt"]})


@pytest.fixture(autouse=True)
def worker(platform: ScriptedRunPod) -> None:
    platform.on_status = work


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"prompt": str(number)} for number in range(count)]


def test_every_item_has_its_outcome_and_never_more_than_allowed_are_there_at_once(
    client: Client, platform: ScriptedRunPod
) -> None:
    def work_when_all_are_there(job: dict[str, Any]) -> None:
        if platform.most_live == 5:
            work(job)

    platform.on_status = work_when_all_are_there
    outcomes = list(client.run_many(prompts(100), concurrency=5))
    assert sorted(outcome.index for outcome in outcomes) == list(range(100))
    for outcome in outcomes:
        assert outcome.error is None
        assert outcome.result == {"prompt": str(outcome.index)}
        assert outcome.job is not None
        assert outcome.job.latest.output == outcome.result
    assert len(platform.jobs) == 100
    assert platform.most_live == 5


def test_a_failed_item_does_not_end_the_others(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    items: list[Any] = [
        {"prompt": "a fox"},
        {"prompt": "fails"},
        {},
        {"prompt": "a fox", "files": {"a.png": tmp_path / "missing.png"}},
        {"prompt": "a fox", "files": 5},
        {"workflow": 5},
        {"job_input": {"prompt": "ready"}, "low_priority": True},
        {"job_input": {"prompt": "ready"}, "prompt": "a fox"},
        "no mapping",
        {1: 2},
        {"prompt": "a fox", "ttl_seconds": "soon"},
        {"job_input": ["a fox"]},
        {"prompt": "a fox", "files": {"a.png": "no\0name"}},
        {"prompt": "last"},
    ]
    outcomes = {outcome.index: outcome for outcome in client.run_many(items, concurrency=3)}
    errors = {index: type(outcome.error) for index, outcome in outcomes.items() if outcome.error is not None}
    invalid = dict.fromkeys([2, 3, 4, 5, 7, 8, 9, 10, 11, 12], InvalidJobInput)
    assert set(errors) == {1, *invalid}
    assert isinstance(outcomes[1].error, OutOfMemory)
    assert isinstance(outcomes[1].error, JobFailed)
    assert {index: errors[index] for index in invalid} == invalid
    assert all(outcomes[index].job is None for index in invalid)
    assert [outcomes[index].result for index in (0, 6, 13)] == [{"prompt": text} for text in ("a fox", "ready", "last")]
    assert [body["policy"] for body in platform.bodies if "policy" in body] == [{"lowPriority": True}]


def test_a_job_that_may_or_may_not_exist_is_told_and_not_repeated(client: Client, platform: ScriptedRunPod) -> None:
    platform.planned("run", Cut("after"), Cut("after", acts=True))
    outcomes = list(client.run_many(prompts(10), concurrency=1))
    assert [type(outcome.error) for outcome in outcomes if outcome.error] == [SubmissionUncertain]
    assert platform.calls["POST run"] == 10
    assert len(platform.jobs) == 9


def test_a_platform_that_goes_away_is_an_outcome_whose_job_can_be_followed_on(
    client: Client, platform: ScriptedRunPod
) -> None:
    platform.planned("status", *[Reply(503)] * 1000)
    (outcome,) = client.run_many([{"prompt": "a fox"}])
    assert isinstance(outcome.error, CloudUnavailable)
    platform.plan.clear()
    assert outcome.job is not None
    assert outcome.job.wait() == {"prompt": "a fox"}


def test_items_are_taken_as_they_are_needed(client: Client, platform: ScriptedRunPod) -> None:
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"prompt": "a fox"}

    with closing(client.run_many(endless(), concurrency=4)) as outcomes:
        for _ in range(50):
            next(outcomes)
            assert len(platform.jobs) <= taken
    assert taken <= 50 + 2 * 4


def test_for_a_busy_caller_results_are_fetched_and_no_more_jobs_are_started(
    client: Client, platform: ScriptedRunPod
) -> None:
    taken = 0

    def items() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for item in prompts(1000):
            taken += 1
            yield item

    def first_ends_when_all_that_may_be_taken_are(job: dict[str, Any]) -> None:
        if job["input"]["prompt"] != "0" or taken == 8:
            work(job)

    platform.on_status = first_ends_when_all_that_may_be_taken_are
    with closing(client.run_many(items(), concurrency=4)) as outcomes:
        next(outcomes)
        wait_until(lambda: len(platform.jobs) >= 8 and not platform.live())
        assert len(platform.jobs) == taken == 8
        platform.jobs.clear()  # RunPod forgets its results
        results = [next(outcomes) for _ in range(7)]
    assert all(outcome.result is not None for outcome in results)


@pytest.mark.parametrize("on_stop", ["cancel", "leave"])
def test_when_the_caller_stops_nothing_waits_and_what_runs_is_cancelled_or_left(
    platform: ScriptedRunPod, on_stop: Any
) -> None:
    items = [{"prompt": "first"}, *[{"prompt": "never ends"}] * 20]
    seen: set[str] = set()
    with Client(ENDPOINT_ID, API_KEY, platform.base_url) as client:
        running = client.run_many(items, 4, lambda _, status: seen.add(status.id), on_stop=on_stop)
        with closing(running) as outcomes:
            assert next(outcomes).index == 0
            wait_until(lambda: len(platform.jobs) == 5 and len(seen) == 5)
    assert len(platform.jobs) == 5, "a job was submitted for nobody"
    left = platform.live()
    assert len(left) == (4 if on_stop == "leave" else 0)
    assert set(left) < seen, "the caller knows the ids of what it leaves"


def test_stopping_does_not_wait_for_a_platform_that_is_away(platform: ScriptedRunPod) -> None:
    with Client(ENDPOINT_ID, API_KEY, platform.base_url) as client:
        outcomes = client.run_many([{"prompt": "first"}, *[{"prompt": "never ends"}] * 8], 4, on_stop="leave")
        with closing(outcomes) as running:
            next(running)
            platform.planned("run", *[Reply(429)] * 10_000)
            platform.planned("status", *[Reply(503)] * 10_000)
            begun = time.monotonic()
    assert time.monotonic() - begun < 10, "it was waited for, with all the patience of 60 s"


def test_a_job_that_may_exist_when_the_caller_stops_is_logged_with_its_key(
    client: Client, platform: ScriptedRunPod, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody takes its outcome any more."""
    asked, stopping = threading.Event(), threading.Event()

    def answer(_: object) -> None:
        asked.set()
        assert stopping.wait(10)

    platform.on_requests = answer
    platform.planned("run", Reply(acts=True, document=None), Cut("after"))

    def items() -> Iterator[dict[str, Any]]:
        yield {"prompt": "first"}
        wait_until(lambda: platform.jobs)  # the first answer is its own
        yield {"prompt": "second", "idempotency_key": "order-7"}

    with closing(client.run_many(items(), 2)) as outcomes:
        assert next(outcomes).index == 0
        assert asked.wait(10)
        threading.Thread(target=lambda: (wait_until(lambda: outcomes.gi_running), stopping.set())).start()
    assert "order-7" in caplog.text


def test_what_the_items_raise_comes_after_the_outcomes_of_what_runs(client: Client) -> None:
    def items() -> Iterator[dict[str, Any]]:
        yield from prompts(3)
        raise LookupError("the database is gone")

    outcomes = client.run_many(items())
    assert sorted(next(outcomes).index for _ in range(3)) == [0, 1, 2]
    with pytest.raises(LookupError):
        next(outcomes)


@pytest.mark.parametrize("error", [KeyError("a bug"), CloudUnavailable("The local RunPod", "no worker starts")])
def test_what_on_status_raises_ends_it_all(client: Client, platform: ScriptedRunPod, error: Exception) -> None:
    def on_status(index: int, status: JobStatus) -> None:
        if index == 1:
            raise error

    with pytest.raises(type(error)) as caught:
        list(client.run_many([{"prompt": "never ends"}] * 3, on_status=on_status))
    assert caught.value is error
    assert not platform.live()


def test_every_status_is_told_one_at_a_time(client: Client) -> None:
    told: dict[int, list[str]] = {}
    busy = False

    def on_status(index: int, status: JobStatus) -> None:
        nonlocal busy
        assert not busy
        busy = True
        told.setdefault(index, []).append(status.state.value)
        busy = False

    assert len(list(client.run_many(prompts(20), 8, on_status))) == 20
    assert told == {index: ["IN_PROGRESS", "COMPLETED"] for index in range(20)}


def test_nothing_to_do(client: Client, clock: FakeClock) -> None:
    assert list(client.run_many([])) == []
    with pytest.raises(ValueError, match="concurrency"):
        client.run_many([], concurrency=0)
    assert clock.pauses == []


def test_an_outcome_has_a_result_or_an_error(client: Client) -> None:
    for outcome in client.run_many([{"prompt": "a fox"}, {"prompt": "fails"}]):
        assert (outcome.result is None) == isinstance(outcome.error, ComfyPodError)
