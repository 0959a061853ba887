"""The pure state of an emulated endpoint, on a clock that the test moves."""

from __future__ import annotations

import json

import pytest

from comfypod.emulator.platform.jobs import LOST_JOB_ERROR, JobState, UnknownJob
from comfypod.emulator.platform.requests import InvalidRequest, JobRequest, Limits, parse_object
from tests.emulator.job_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.fact("A4-status-fields")
def test_job_that_succeeds_shows_its_times_worker_and_output(bench: Bench) -> None:
    job_id = bench.submit()
    assert bench.jobs.status(job_id) == {"id": job_id, "status": "IN_QUEUE"}

    bench.after(1.5)
    assert bench.jobs.take("w1") == [{"id": job_id, "input": {"n": 1}}]
    bench.after(0.25)
    assert bench.jobs.status(job_id) == {
        "id": job_id,
        "status": "IN_PROGRESS",
        "workerId": "w1",
        "delayTime": 1500,
        "executionTime": 250,
    }

    assert bench.jobs.report("w1", job_id, {"output": {"a": 1}})
    bench.after(20)
    assert bench.jobs.status(job_id) == {
        "id": job_id,
        "status": "COMPLETED",
        "workerId": "w1",
        "delayTime": 1500,
        "executionTime": 250,
        "output": {"a": 1},
    }


def test_jobs_are_given_out_in_the_order_in_which_they_came(bench: Bench) -> None:
    first, second, third = bench.submit(), bench.submit(), bench.submit()

    assert [job["id"] for job in bench.jobs.take("w1", 2)] == [first, second]
    assert [job["id"] for job in bench.jobs.take("w2", 2)] == [third]
    assert bench.jobs.take("w1") == []


@pytest.mark.fact("A2-job-id")
def test_ids_tell_run_from_runsync(bench: Bench) -> None:
    assert bench.submit(sync=True).startswith("sync-")
    assert not bench.submit().startswith("sync-")


@pytest.mark.fact("A6-progress-is-output")
def test_only_the_last_progress_is_seen_and_the_result_replaces_it(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")

    bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": 1})
    bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": {"step": 2}})
    assert bench.state(job_id) == "IN_PROGRESS"
    assert bench.jobs.status(job_id)["output"] == {"step": 2}

    bench.jobs.report("w1", job_id, {})
    assert bench.state(job_id) == "COMPLETED"
    assert "output" not in bench.jobs.status(job_id)


@pytest.mark.fact("B3-result")
@pytest.mark.fact("B3-error")
@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"output": None}, "COMPLETED"),
        ({"error": "no", "output": {"detail": 1}}, "FAILED"),
        ({"error": {"code": 7}}, "FAILED"),
    ],
)
def test_result_is_shown_as_it_was_sent(bench: Bench, body: dict[str, object], state: str) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    bench.jobs.report("w1", job_id, body)

    status = bench.jobs.status(job_id)
    assert status["status"] == state
    assert {name: status[name] for name in ("output", "error") if name in status} == body


def test_nothing_changes_a_job_that_has_ended(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    bench.jobs.report("w1", job_id, {"output": "done"})

    assert not bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": "late"})
    assert not bench.jobs.report("w1", job_id, {"error": "later"})
    assert bench.jobs.cancel(job_id) == {"id": job_id, "status": "COMPLETED"}
    assert bench.jobs.status(job_id)["output"] == "done"
    assert bench.jobs.take_stops("w1") == []


@pytest.mark.fact("A10-refused-result")
def test_refused_result_leaves_a_completed_job_without_output(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": "half"})
    bench.jobs.refuse_result("w2", job_id)
    assert bench.state(job_id) == "IN_PROGRESS"

    bench.jobs.refuse_result("w1", job_id)
    assert bench.state(job_id) == "COMPLETED"
    assert "output" not in bench.jobs.status(job_id)


@pytest.mark.fact("A8-cancel")
def test_cancelling_a_queued_job_takes_it_out_of_the_queue(bench: Bench) -> None:
    job_id, other = bench.submit(), bench.submit()

    assert bench.jobs.cancel(job_id) == {"id": job_id, "status": "CANCELLED"}
    assert [job["id"] for job in bench.jobs.take("w1", 5)] == [other]


@pytest.mark.fact("A8-cancel")
@pytest.mark.fact("B5-job-stop")
def test_cancelling_a_running_job_tells_its_worker_once(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    bench.jobs.cancel(job_id)

    assert bench.state(job_id) == "CANCELLED"
    assert bench.jobs.take_stops("w2") == []
    assert bench.jobs.take_stops("w1") == [job_id]
    assert bench.jobs.take_stops("w1") == []


@pytest.mark.fact("B2-ping")
@pytest.mark.fact("B2-lost-job")
def test_pings_keep_a_job_and_silence_loses_it_once_then_for_good(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    for _ in range(10):
        bench.after(39)
        bench.jobs.ping("w1", [job_id])
    bench.jobs.ping("w2", [job_id])
    assert bench.state(job_id) == "IN_PROGRESS"

    assert bench.after(40)
    assert bench.jobs.status(job_id) == {"id": job_id, "status": "IN_QUEUE", "retries": 1}

    bench.jobs.take("w2")
    bench.after(30)
    bench.jobs.ping("w2", [])  # alive, but it does not know the job
    bench.after(10)
    assert bench.jobs.status(job_id) == {
        "id": job_id,
        "status": "FAILED",
        "workerId": "w2",
        "delayTime": 430_000,
        "executionTime": 40_000,
        "error": LOST_JOB_ERROR,
        "retries": 1,
    }


def test_progress_keeps_a_job_as_a_ping_does(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    bench.after(30)
    bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": 1})
    bench.after(30)
    assert bench.state(job_id) == "IN_PROGRESS"


def test_worker_that_lost_its_job_cannot_end_it(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    bench.after(40)
    assert not bench.jobs.report("w1", job_id, {"output": "from the old worker"})
    bench.jobs.take("w2")
    assert not bench.jobs.report("w1", job_id, {"output": "from the old worker"})

    assert bench.jobs.report("w2", job_id, {"output": "from the new one"})
    assert bench.jobs.status(job_id)["output"] == "from the new one"


def test_lost_job_runs_before_those_that_came_later(bench: Bench) -> None:
    lost, later = bench.submit(), bench.submit()
    bench.jobs.take("w1")
    bench.after(40)
    assert [job["id"] for job in bench.jobs.take("w2", 2)] == [lost, later]


def test_jobs_that_never_reached_the_worker_go_back_as_they_were(bench: Bench) -> None:
    first, second = bench.submit(), bench.submit()
    bench.jobs.take("w1", 2)
    bench.jobs.give_back("w1", [first, second])

    assert bench.jobs.status(first) == {"id": first, "status": "IN_QUEUE"}
    assert [job["id"] for job in bench.jobs.take("w2", 2)] == [first, second]


@pytest.mark.fact("A2-empty-input-never-runs")
def test_empty_input_is_dropped_so_that_the_job_cannot_run(bench: Bench) -> None:
    job_id = bench.submit(input={})
    assert bench.jobs.take("w1") == [{"id": job_id}]


@pytest.mark.fact("B4-passed-fields")
def test_worker_gets_the_bucket_but_not_the_policy(bench: Bench) -> None:
    job_id = bench.submit(s3Config={"bucketName": "b"}, policy={"ttl": 60_000})
    assert bench.jobs.take("w1") == [{"id": job_id, "input": {"n": 1}, "s3Config": {"bucketName": "b"}}]


@pytest.mark.fact("A9-execution-timeout")
def test_job_that_runs_too_long_times_out_and_is_stopped(bench: Bench) -> None:
    job_id = bench.submit(policy={"executionTimeout": 60_000})
    bench.after(100)  # waiting does not count
    bench.jobs.take("w1")
    for _ in range(2):
        assert not bench.after(29)
        bench.jobs.ping("w1", [job_id])

    assert bench.after(2)
    status = bench.jobs.status(job_id)
    assert (status["status"], status["executionTime"]) == ("TIMED_OUT", 60_000)
    assert bench.jobs.take_stops("w1") == [job_id]


@pytest.mark.fact("A9-execution-timeout")
def test_execution_time_is_limited_to_ten_minutes_by_default(bench: Bench) -> None:
    job_id = bench.submit()
    bench.jobs.take("w1")
    for _ in range(20):
        assert bench.state(job_id) == "IN_PROGRESS"
        bench.jobs.ping("w1", [job_id])
        bench.after(30)
    assert bench.state(job_id) == "TIMED_OUT"


@pytest.mark.fact("A9-ttl")
@pytest.mark.fact("A4-unknown-is-404")
@pytest.mark.parametrize("is_taken", [False, True])
def test_expired_job_is_gone_in_whatever_state_it_was(bench: Bench, is_taken: bool) -> None:
    job_id = bench.submit(policy={"ttl": 20_000})
    if is_taken:
        bench.jobs.take("w1")
    assert bench.after(20)

    with pytest.raises(UnknownJob):
        bench.jobs.status(job_id)
    assert bench.jobs.take("w2") == []
    assert bench.jobs.take_stops("w1") == ([job_id] if is_taken else [])
    assert bench.jobs.is_settled(job_id)


@pytest.mark.fact("A4-ttl-query")
def test_time_to_live_can_be_changed_by_asking_for_the_status(bench: Bench) -> None:
    job_id = bench.submit()
    bench.after(15)
    bench.jobs.status(job_id, 30_000)
    bench.after(14)
    assert bench.state(job_id) == "IN_QUEUE"
    bench.after(1)
    with pytest.raises(UnknownJob):
        bench.jobs.status(job_id)


@pytest.mark.fact("A9-retention")
@pytest.mark.parametrize(("sync", "seconds"), [(False, 1800), (True, 60)])
def test_result_is_kept_for_its_retention(bench: Bench, sync: bool, seconds: int) -> None:
    job_id = bench.submit(sync=sync)
    bench.jobs.take("w1")
    bench.jobs.report("w1", job_id, {"output": 1})
    bench.after(seconds - 1)
    assert bench.jobs.status(job_id)["output"] == 1
    bench.after(1)
    with pytest.raises(UnknownJob, match=job_id):
        bench.jobs.status(job_id)


@pytest.mark.fact("A8-health")
def test_health_counts_jobs_and_workers(bench: Bench) -> None:
    for ending in ({"output": 1}, {"error": "no"}):
        job_id = bench.submit()
        bench.jobs.take("w1")
        bench.jobs.report("w1", job_id, ending)
    bench.jobs.cancel(bench.submit())
    bench.submit()
    bench.submit()
    bench.jobs.take("w1")
    bench.jobs.hear("w1")
    bench.jobs.hear("w2")
    bench.jobs.ping("w3", [], is_unhealthy=True)

    assert bench.jobs.health({"w4": "initializing"}) == {
        "jobs": {"completed": 1, "failed": 1, "inProgress": 1, "inQueue": 1, "retried": 0},
        "workers": {"idle": 1, "initializing": 1, "ready": 1, "running": 1, "throttled": 0, "unhealthy": 1},
    }
    bench.after(30)
    assert set(bench.jobs.health()["workers"].values()) == {0}


def test_stopping_a_worker_names_each_of_its_running_jobs(bench: Bench) -> None:
    running = [bench.submit(), bench.submit()]
    bench.jobs.take("w1", 2)
    bench.submit()
    bench.jobs.stop_all_of("w1")
    assert bench.jobs.has_stops("w1")
    assert bench.jobs.take_stops("w1") == running


@pytest.mark.fact("A2-input-required")
@pytest.mark.fact("A9-execution-timeout")
@pytest.mark.fact("A9-ttl")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": {}, "policy": 5}, "policy"),
        ({"input": {}, "policy": {"executionTimeout": 4999}}, "5000 to 604800000"),
        ({"input": {}, "policy": {"executionTimeout": True}}, "number"),
        ({"input": {}, "policy": {"ttl": "1h"}}, "number"),
        ({"input": {}, "policy": {"ttl": 9999}}, "10000 to 604800000"),
        ({"input": {}, "policy": {"lowPriority": "yes"}}, "lowPriority"),
        ({"input": {}, "webhook": 5}, "webhook"),
        ({"input": {}, "webhook": "file:///etc/passwd"}, "http"),
        ({"input": {}, "webhook": "http://"}, "http"),
        ({"input": {}, "webhook": "http://[::1"}, "http"),
        ({"input": {}, "webhook": "http://host:port/"}, "http"),
    ],
)
def test_request_that_the_platform_would_refuse(body: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        JobRequest.parse(body, Limits())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[1]",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b"\xff\xfe{",
        pytest.param(b"[" * 200_000, id="deep"),
    ],
)
def test_body_that_is_no_strict_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_object(raw)


def test_every_state_is_spelled_as_on_the_wire() -> None:
    assert json.loads(json.dumps(list(JobState))) == [
        "IN_QUEUE",
        "IN_PROGRESS",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "TIMED_OUT",
    ]
    assert [state for state in JobState if not state.is_final] == ["IN_QUEUE", "IN_PROGRESS"]
