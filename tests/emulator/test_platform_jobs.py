"""Retry, purge, low priority, streams and switches of an emulated endpoint, on a clock that the test moves."""

from __future__ import annotations

import pytest

from comfypod.emulator.platform.jobs import JobState, RetryRefused, UnknownJob
from comfypod.emulator.platform.rates import TooManyRequests
from comfypod.emulator.platform.requests import InvalidRequest, JobRequest, Limits
from tests.emulator.job_bench import Bench

LONGEST = 1_000_000


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.fact("A8-retry-same-id")
def test_retried_job_runs_again_with_its_id_and_input_and_without_what_it_had_made(bench: Bench) -> None:
    job_id = bench.run()
    bench.jobs.add_to_stream("w1", job_id, "half")
    bench.jobs.report("w1", job_id, {"error": "no", "output": {"detail": 1}})
    bench.after(5)

    assert bench.jobs.retry(job_id) == {"id": job_id, "status": "IN_QUEUE"}
    assert bench.jobs.status(job_id) == {"id": job_id, "status": "IN_QUEUE"}
    assert not bench.jobs.has_stream(job_id)
    bench.after(2)
    assert bench.jobs.take("w2") == [{"id": job_id, "input": {"n": 1}}]
    assert bench.jobs.status(job_id)["delayTime"] == 2000, "counted from the retry"
    bench.jobs.report("w2", job_id, {"output": "better"})
    assert bench.jobs.status(job_id)["output"] == "better"
    assert bench.jobs.health()["jobs"]["retried"] == 1


@pytest.mark.fact("A8-retry-only-failed")
@pytest.mark.parametrize("state", list(JobState))
def test_only_a_job_that_failed_or_timed_out_can_be_retried(bench: Bench, state: JobState) -> None:
    job_id = bench.submit(policy={"executionTimeout": 5000})
    if state is not JobState.IN_QUEUE:
        bench.jobs.take("w1")
    if state is JobState.CANCELLED:
        bench.jobs.cancel(job_id)
    elif state in {JobState.COMPLETED, JobState.FAILED}:
        bench.jobs.report("w1", job_id, {"error": "no"} if state is JobState.FAILED else {"output": 1})
    elif state is JobState.TIMED_OUT:
        bench.after(5)
    assert bench.state(job_id) == state

    if state in {JobState.FAILED, JobState.TIMED_OUT}:
        assert bench.jobs.retry(job_id)["status"] == "IN_QUEUE"
    else:
        with pytest.raises(RetryRefused, match=f"{job_id} is {state}"):
            bench.jobs.retry(job_id)
        assert bench.state(job_id) == state


@pytest.mark.fact("A8-retry-only-failed")
def test_result_that_has_expired_cannot_be_retried(bench: Bench) -> None:
    job_id = bench.end({"error": "no"})
    bench.after(1800)
    with pytest.raises(UnknownJob):
        bench.jobs.retry(job_id)


def test_retried_job_is_lost_and_retried_like_a_new_one(bench: Bench) -> None:
    job_id = bench.run()
    bench.after(40)
    bench.jobs.take("w1")
    bench.after(40)
    assert bench.state(job_id) == "FAILED"

    bench.jobs.retry(job_id)
    bench.jobs.take("w1")
    bench.after(40)
    assert bench.jobs.status(job_id) == {"id": job_id, "status": "IN_QUEUE", "retries": 1}


@pytest.mark.fact("A8-purge-queue")
@pytest.mark.parametrize("reading", ["CANCELLED", "gone"])
def test_purge_removes_what_waits_and_leaves_what_runs(reading: str) -> None:
    bench = Bench(purged_jobs=reading)
    running = bench.run()
    waiting = [bench.submit(), bench.submit(policy={"lowPriority": True})]

    assert bench.jobs.purge() == {"removed": 2, "status": "completed"}
    assert bench.jobs.purge() == {"removed": 0, "status": "completed"}
    assert bench.state(running) == "IN_PROGRESS"
    assert bench.jobs.take("w2", 5) == []
    for job_id in waiting:
        if reading == "gone":
            with pytest.raises(UnknownJob):
                bench.jobs.status(job_id)
        else:
            assert bench.state(job_id) == "CANCELLED"


@pytest.mark.fact("A9-low-priority")
def test_low_priority_waits_behind_all_others_and_does_not_ask_for_workers(bench: Bench) -> None:
    low = [bench.submit(policy={"lowPriority": True}) for _ in range(2)]
    assert bench.jobs.demand().queued == 0
    bench.after(3)
    normal = [bench.submit() for _ in range(2)]
    bench.after(4)
    assert (bench.jobs.demand().queued, bench.jobs.demand().longest_wait_seconds) == (2, 4.0)
    assert bench.jobs.health()["jobs"]["inQueue"] == 4

    assert [job["id"] for job in bench.jobs.take("w1", 5)] == [*normal, *low]
    assert bench.jobs.demand().in_progress == 4


def test_lost_low_priority_job_stays_behind_the_others(bench: Bench) -> None:
    low = bench.run(policy={"lowPriority": True})
    later = bench.submit(policy={"lowPriority": True})
    normal = bench.submit()
    bench.after(40)
    assert [job["id"] for job in bench.jobs.take("w2", 3)] == [normal, low, later]


@pytest.mark.fact("A9-queue-limit")
def test_queue_is_limited_to_500_jobs_per_worker_and_never_below_50() -> None:
    bench = Bench(Limits(queue_jobs=3, queue_jobs_per_worker=2))

    def fill(max_workers: int | None) -> int:
        for count in range(LONGEST):
            try:
                bench.jobs.submit(JobRequest.parse({"input": 1}, bench.jobs.limits), max_workers=max_workers)
            except TooManyRequests:
                return count
        raise AssertionError

    assert fill(0) == 4
    assert fill(3) == 3
    assert bench.submit(), "without a number there is no limit"
    assert (Limits().queue_jobs, Limits().queue_jobs_per_worker) == (50, 500)


@pytest.mark.fact("A7-stream-drains")
def test_each_chunk_is_handed_out_once_and_in_order(bench: Bench) -> None:
    job_id = bench.run()
    bench.jobs.add_to_stream("w1", job_id, {"step": 1})
    bench.jobs.add_to_stream("w1", job_id, "two")
    assert bench.jobs.drain_stream(job_id) == [{"step": 1}, "two"]
    assert bench.jobs.drain_stream(job_id) == []

    bench.jobs.add_to_stream("w1", job_id, 3)
    undelivered = bench.jobs.drain_stream(job_id)
    bench.jobs.add_to_stream("w1", job_id, 4)
    bench.jobs.return_to_stream(job_id, undelivered)
    bench.jobs.report("w1", job_id, {"output": []})
    assert bench.jobs.drain_stream(job_id) == [3, 4], "what was yielded is kept after the end"


def test_stream_takes_nothing_from_a_worker_that_does_not_have_the_job(bench: Bench) -> None:
    job_id = bench.run()
    assert not bench.jobs.add_to_stream("w2", job_id, 1)
    bench.jobs.cancel(job_id)
    assert not bench.jobs.add_to_stream("w1", job_id, 2)
    assert bench.jobs.drain_stream(job_id) == []


def test_stream_is_a_sign_of_life(bench: Bench) -> None:
    job_id = bench.run()
    for _ in range(3):
        bench.after(39)
        bench.jobs.add_to_stream("w1", job_id, 1)
    assert bench.state(job_id) == "IN_PROGRESS"


@pytest.mark.fact("A7-chunk-limit")
@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("", [""]),
        ("abcdef", ["abcdef"]),
        ("abcdefg", ["abcdef", "g"]),
        ("aaaaaß", ["aaaaa", "ß"]),  # 7 bytes; a character is not cut
        ("🦊🦊", ["🦊", "🦊"]),
    ],
)
def test_text_larger_than_a_chunk_is_split_between_characters(text: str, chunks: list[str]) -> None:
    bench = Bench(Limits(stream_chunk_bytes=6))
    job_id = bench.run()
    bench.jobs.add_to_stream("w1", job_id, text)
    assert bench.jobs.drain_stream(job_id) == chunks


def test_chunk_holds_a_whole_character_however_small_it_must_be() -> None:
    bench = Bench(Limits(stream_chunk_bytes=1))
    job_id = bench.run()
    bench.jobs.add_to_stream("w1", job_id, "éa🦊é")
    assert bench.jobs.drain_stream(job_id) == ["é", "a", "🦊", "é"]


@pytest.mark.fact("A7-chunk-limit")
def test_other_values_larger_than_a_chunk_are_refused_and_the_job_goes_on() -> None:
    assert Limits().stream_chunk_bytes == 1_000_000
    bench = Bench(Limits(stream_chunk_bytes=6))
    job_id = bench.run()
    bench.jobs.add_to_stream("w1", job_id, [1, 2])
    with pytest.raises(InvalidRequest, match="9 bytes is larger than 6"):
        bench.jobs.add_to_stream("w1", job_id, [1, 2, 3])
    assert bench.jobs.drain_stream(job_id) == [[1, 2]]
    assert bench.state(job_id) == "IN_PROGRESS"


@pytest.mark.fact("B4-passed-fields")
def test_worker_gets_webhook_and_bucket_and_by_a_switch_the_policy() -> None:
    body = {"webhook": "http://127.0.0.1/x", "s3Config": {"bucketName": "b"}, "policy": {"ttl": 60_000}}
    passed = {"input": {"n": 1}, "webhook": body["webhook"], "s3Config": body["s3Config"]}
    bench = Bench()
    job_id = bench.submit(**body)
    assert bench.jobs.take("w1") == [{"id": job_id, **passed}]

    bench = Bench(policy_to_worker="sent")
    job_id = bench.submit(**body)
    assert bench.jobs.take("w1") == [{"id": job_id, **passed, "policy": {"ttl": 60_000}}]


@pytest.mark.parametrize("reading", ["TIMED_OUT", "FAILED"])
def test_state_after_an_execution_timeout_is_a_switch(reading: str) -> None:
    bench = Bench(execution_timeout=reading)
    job_id = bench.run(policy={"executionTimeout": 5000})
    bench.after(5)
    assert bench.state(job_id) == reading
    assert bench.jobs.take_stops("w1") == [job_id]
    assert bench.jobs.health()["jobs"]["failed"] == 1


def test_late_progress_overwrites_the_result_if_it_is_told_to() -> None:
    """As in runpod-python issue 250: the job is IN_PROGRESS for good, and shows the progress."""
    bench = Bench(late_progress="overwrites")
    job_id = bench.end({"output": "done"})
    assert not bench.jobs.report("w2", job_id, {"status": "IN_PROGRESS", "output": 0.9})
    assert bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": 0.9})

    bench.after(700)
    assert bench.state(job_id) == "IN_PROGRESS"
    assert bench.jobs.status(job_id)["output"] == 0.9
    assert not bench.jobs.report("w1", job_id, {"output": "again"})
    assert bench.jobs.health()["jobs"]["inProgress"] == 0
    bench.after(1100)
    with pytest.raises(UnknownJob):
        bench.jobs.status(job_id)


def test_late_progress_does_not_bring_a_cancelled_job_back() -> None:
    bench = Bench(late_progress="overwrites")
    job_id = bench.run()
    bench.jobs.cancel(job_id)
    assert not bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": 1})
    assert bench.state(job_id) == "CANCELLED"


@pytest.mark.parametrize(("reading", "shown"), [("kept", {"code": 7}), ("text", '{"code": 7}')])
def test_error_that_is_no_string_is_shown_by_a_switch(reading: str, shown: object) -> None:
    bench = Bench(error_value=reading)
    job_id = bench.end({"error": {"code": 7}})
    assert (bench.state(job_id), bench.jobs.status(job_id)["error"]) == ("FAILED", shown)
    assert bench.jobs.status(bench.end({"error": "text"}))["error"] == "text"


@pytest.mark.fact("A11-webhook-once")
@pytest.mark.fact("A11-webhook-body")
def test_webhook_is_due_once_when_the_job_has_ended(bench: Bench) -> None:
    url = "https://example.org/hook?secret=1"
    job_id = bench.run(webhook=url)
    assert bench.jobs.take_notices() == []
    bench.jobs.report("w1", job_id, {"error": "no"})

    [notice] = bench.jobs.take_notices()
    assert (notice.job_id, notice.url) == (job_id, url)
    assert notice.document == {**bench.jobs.status(job_id), "input": {"n": 1}, "webhook": url}
    assert "webhook" not in bench.jobs.status(job_id)
    bench.jobs.report("w1", job_id, {"output": "again"})
    bench.jobs.cancel(job_id)
    assert bench.jobs.take_notices() == []
    bench.end({"output": 1})
    assert bench.jobs.take_notices() == [], "a job without a webhook"


@pytest.mark.parametrize("reading", ["sent", "unsent"])
@pytest.mark.parametrize("switch", ["cancelled_webhook", "timed_out_webhook"])
def test_webhook_of_a_cancelled_and_of_a_timed_out_job_is_a_switch(switch: str, reading: str) -> None:
    bench = Bench(**{switch: reading})
    job_id = bench.run(webhook="http://x/", policy={"executionTimeout": 5000})
    if switch == "cancelled_webhook":
        bench.jobs.cancel(job_id)
    else:
        bench.after(5)
    assert len(bench.jobs.take_notices()) == (reading == "sent")


def test_job_given_again_is_with_two_workers_and_the_first_result_counts(bench: Bench) -> None:
    job_id = bench.run("w1")
    bench.jobs.give_again(job_id)
    assert not bench.jobs.has_job_for("w1")
    assert bench.jobs.has_job_for("w2")
    assert [job["id"] for job in bench.jobs.take("w2")] == [job_id]
    assert not bench.jobs.has_job_for("w3")
    assert bench.jobs.jobs_of("w1") == bench.jobs.jobs_of("w2") == [job_id]

    assert bench.jobs.report("w2", job_id, {"output": "second"})
    assert not bench.jobs.report("w1", job_id, {"output": "first"})
    status = bench.jobs.status(job_id)
    assert (status["output"], status["workerId"]) == ("second", "w2")


def test_job_given_again_that_did_not_arrive_stays_with_the_first_worker(bench: Bench) -> None:
    job_id = bench.run("w1")
    bench.jobs.give_again(job_id)
    bench.jobs.take("w2")
    bench.jobs.give_back("w2", [job_id])
    assert bench.state(job_id) == "IN_PROGRESS"
    assert bench.jobs.jobs_of("w1") == [job_id]
    assert bench.jobs.jobs_of("w2") == []
    assert bench.jobs.has_job_for("w3")


def test_cancelling_a_job_given_again_tells_both_workers(bench: Bench) -> None:
    job_id = bench.run("w1")
    bench.jobs.give_again(job_id)
    bench.jobs.take("w2")
    bench.jobs.cancel(job_id)
    assert bench.jobs.take_stops("w1") == bench.jobs.take_stops("w2") == [job_id]


@pytest.mark.fact("A1-metrics")
def test_metrics_name_the_workers_that_wait(bench: Bench) -> None:
    bench.jobs.hear("w2")
    bench.jobs.hear("w1")
    bench.jobs.hear("w3")
    bench.run("w3")
    metrics = bench.jobs.metrics({"w4": "initializing"})
    assert metrics["readyWorkers"] == ["w1", "w2"]
    assert metrics["workers"] == {
        "idle": 2,
        "initializing": 1,
        "ready": 2,
        "running": 1,
        "throttled": 0,
        "unhealthy": 0,
    }


def test_requests_are_listed_newest_first(bench: Bench) -> None:
    first, second = bench.end({"output": 1}), bench.submit(input={"files": [{"data": "x" * 5000}]})
    created = {"createdAt": "1970-01-01T00:16:40.000+00:00"}
    ended = {name: value for name, value in bench.jobs.status(first).items() if name != "output"}
    assert bench.jobs.requests(10) == {
        "requests": [
            {"id": second, "status": "IN_QUEUE", "input": {"files": [{"data": "x" * 1000 + "…"}]}, **created},
            {**ended, "input": {"n": 1}, **created},
        ]
    }
    assert [job["id"] for job in bench.jobs.requests(1)["requests"]] == [second]


def test_overview_shows_live_jobs_first_and_then_the_newest_ended(bench: Bench) -> None:
    ended = [bench.end({"output": {"images": []}}) for _ in range(3)]
    running = bench.run()
    bench.jobs.report("w1", running, {"status": "IN_PROGRESS", "output": {"value": 0.5, "message": "half", "steps": 9}})
    waiting = bench.submit(policy={"lowPriority": True})
    bench.after(2)

    overview = bench.jobs.overview(4)
    assert overview["queue"] == {"waiting": 1, "low_priority": 1, "longest_wait_seconds": 0.0}
    assert overview["jobs"] == {
        "completed": 3,
        "failed": 0,
        "retried": 0,
        "cancelled": 0,
        "inProgress": 1,
        "inQueue": 1,
    }
    assert overview["job_count"] == 5
    recent = overview["recent_jobs"]
    assert [job["id"] for job in recent] == [running, waiting, ended[2], ended[1]]
    assert recent[0] == {
        "id": running,
        "status": "IN_PROGRESS",
        "workerId": "w1",
        "delayTime": 0,
        "executionTime": 2000,
        "retries": 0,
        "age_seconds": 2.0,
        "progress": {"value": 0.5, "message": "half", "stage": None},
    }
    assert "progress" not in recent[2]


def test_whoever_keeps_the_jobs_hears_of_each_change_once(bench: Bench) -> None:
    def changed() -> dict[str, str | None]:
        return {job_id: job and job.state.value for job_id, job in bench.jobs.take_changes().items()}

    job_id = bench.submit(policy={"ttl": 60_000})
    assert changed() == {job_id: "IN_QUEUE"}
    assert changed() == {}
    bench.jobs.take("w1")
    assert changed() == {job_id: "IN_PROGRESS"}
    bench.jobs.ping("w1", [job_id])
    assert changed() == {}, "a ping is worth no writing"
    bench.jobs.report("w1", job_id, {"output": 1})
    assert changed() == {job_id: "COMPLETED"}
    bench.after(60)
    assert changed() == {job_id: None}
