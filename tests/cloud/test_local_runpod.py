"""The client against the local RunPod, with a worker of the tests: the ways in which things go well."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfypod import Client, JobState, JobStatus, PreviewImage
from comfypod.errors import (
    AuthenticationFailed,
    EndpointNotFound,
    InvalidJobInput,
    JobCancelled,
    JobFailed,
    JobNotFound,
    OutOfMemory,
    RequestRefused,
)
from tests.cloud.local_runpod import CONTENT, PREVIEW, LocalRunPod, Worker, picture
from tests.cloud.scripted_runpod import wait_until


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalRunPod]:
    platform = LocalRunPod()
    yield platform
    platform.stop()


@pytest.fixture
def client(platform: LocalRunPod) -> Iterator[Client]:
    with Client("ep", "key", platform.base_url, patience_seconds=5) as client:
        yield client


def test_from_a_prompt_to_a_saved_picture(client: Client, platform: LocalRunPod, tmp_path: Path) -> None:
    seen: list[JobStatus] = []
    heard = threading.Event()

    def hear(status: JobStatus) -> None:
        seen.append(status)
        if status.progress:
            heard.set()

    def do(job_input: dict[str, Any], tell: Callable[[Any], None]) -> Any:
        tell({"sequence": 1, "stage": "execute", "value": 0.5, "message": "half"})
        assert heard.wait(30)
        return picture(job_input, tell)

    with Worker(platform, do):
        job = client.submit(prompt="a fox", idempotency_key="order-7")
        result = job.wait(hear)
    assert next(status.progress.message for status in seen if status.progress) == "half"
    assert (seen[-1].state, seen[-1].worker_id) == (JobState.COMPLETED, "w1")
    assert (result["idempotency_key"], result.warnings) == ("order-7", ["a fox"])
    (path,) = job.save(tmp_path)
    assert path.read_bytes() == result.images[0].read() == CONTENT


def test_a_job_is_found_by_its_key_and_its_id(client: Client, platform: LocalRunPod) -> None:
    job = client.submit(prompt="a fox", idempotency_key="order-8")
    found = client.find("order-8")
    assert found is not None
    assert found.id == job.id
    assert client.find("order-9") is None
    with Worker(platform, picture):
        assert client.job(job.id).wait().warnings == found.wait().warnings == ["a fox"]


def test_previews_come_while_it_runs(client: Client, platform: LocalRunPod) -> None:
    shown = threading.Event()

    def do(job_input: dict[str, Any], tell: Callable[[Any], None]) -> Any:
        tell({"sequence": 1, "value": 0.5, "preview": PREVIEW})
        assert shown.wait(30)
        return picture(job_input, tell)

    with Worker(platform, do):
        job = client.submit(prompt="a fox", previews=True)
        for preview in job.previews():
            assert preview == PreviewImage("3", "image/jpeg", b"preview")
            shown.set()
    assert shown.is_set()
    assert job.result().warnings == ["a fox"]


def test_a_failure_is_the_workers_and_the_job_can_be_run_once_more(client: Client, platform: LocalRunPod) -> None:
    attempts = 0

    def do(job_input: dict[str, Any], tell: Callable[[Any], None]) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            output = {"status": "error", "code": "out_of_memory", "retryable": True, "details": {"node_id": "3"}}
            return {"output": output, "error": "Node 3 (KSampler) failed: out of memory"}
        return picture(job_input, tell)

    with Worker(platform, do):
        job = client.submit(prompt="a fox")
        with pytest.raises(OutOfMemory, match="Node 3"):
            job.wait()
        assert job.retry().state is JobState.IN_QUEUE
        assert job.wait().warnings == ["a fox"]
        with pytest.raises(RequestRefused):
            job.retry()


def test_a_crash_and_a_result_that_is_dropped_are_failures(client: Client, platform: LocalRunPod) -> None:
    crash = json.dumps({"error_type": "<class 'KeyError'>", "error_message": "'x'", "error_traceback": "…"})
    ends: list[Any] = [{"error": crash}, {}]
    with Worker(platform, lambda job_input, tell: ends.pop(0)):
        with pytest.raises(JobFailed, match="KeyError: 'x'"):
            client.submit(prompt="a fox").wait()
        with pytest.raises(JobFailed, match="RunPod has no output of it"):
            client.submit(prompt="a fox").wait()


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(client: Client, platform: LocalRunPod) -> None:
    waiting = client.submit(prompt="a fox")
    assert waiting.cancel().state is JobState.CANCELLED
    with pytest.raises(JobCancelled):
        waiting.wait()
    running = client.submit(prompt="a fox")
    with Worker(platform, lambda job_input, tell: None):
        wait_until(lambda: running.status().state is JobState.IN_PROGRESS)
        running.cancel()
        with pytest.raises(JobCancelled):
            running.result()


def test_a_queue_is_purged_and_the_health_is_told(client: Client) -> None:
    before = client.health()["jobs"]["inQueue"]
    client.submit(prompt="a fox", low_priority=True, execution_timeout_seconds=60, ttl_seconds=600)
    client.submit(prompt="a fox")
    assert client.health()["jobs"]["inQueue"] == before + 2
    assert client.purge_queue() == before + 2
    assert client.health()["jobs"]["inQueue"] == 0


def test_many_jobs_at_once(client: Client, platform: LocalRunPod) -> None:
    with Worker(platform, picture):
        outcomes = list(client.run_many(({"prompt": str(number)} for number in range(25)), concurrency=6))
    assert sorted(outcome.index for outcome in outcomes) == list(range(25))
    for outcome in outcomes:
        assert outcome.result is not None
        assert outcome.result.warnings == [str(outcome.index)]


def test_refusals_say_who_must_act(client: Client, platform: LocalRunPod) -> None:
    with Client("ep", "wrong", platform.base_url) as stranger, pytest.raises(AuthenticationFailed):
        stranger.submit(prompt="a fox")
    with Client("other", "key", platform.base_url) as lost, pytest.raises(EndpointNotFound):
        lost.submit(prompt="a fox")
    with pytest.raises(RequestRefused):
        client.submit(prompt="a fox", ttl_seconds=1)
    with pytest.raises(InvalidJobInput):
        client.submit_input({})
    with pytest.raises(JobNotFound):
        client.job("no-such-job").wait()


@pytest.mark.parametrize("fault", ["cut:route=run,when=after", "status:route=run,code=504,acted=true"])
def test_a_job_whose_answer_was_lost_is_found_in_the_list_of_jobs(fault: str) -> None:
    platform = LocalRunPod(fault)
    try:
        with Client("ep", "key", platform.base_url) as client:
            job = client.submit(prompt="a fox")
            assert client.health()["jobs"]["inQueue"] == 1
            assert job.status().state is JobState.IN_QUEUE
    finally:
        platform.stop()
