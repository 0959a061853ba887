"""Requests that are sent twice, to real workers of a local RunPod: both at a time, and after a worker was killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from PIL import Image
from supervised import engine_only

from benchmarks.fleet import emulated
from comfypod.cli.top import Observer
from comfypod.cloud.client import Client
from comfypod.cloud.configuration import Connection
from comfypod.cloud.result import Result
from comfypod.deadline import Deadline
from tests.s3_server import BUCKET, S3Server

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 40.0
LEASE_SECONDS = 1


@pytest.fixture
def client(tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Of an endpoint with two workers, which take one job at a time."""
    settings = {**s3_server.environment, "WORKER_CONCURRENCY": "1", "ONCE_LEASE_SECONDS": str(LEASE_SECONDS)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    with emulated(tmp_path / "{worker}.log", "--workers", "2") as base_url, Client("local", "local", base_url) as made:
        with Observer(Connection("local", "local", base_url)) as observer:
            until(lambda: [worker["state"] for worker in observer.look()["workers"]] == ["idle", "idle"])
        yield made


def until(condition: Callable[[], bool]) -> None:
    deadline = Deadline.after(STEP_SECONDS)
    while not condition():
        deadline.check("waiting")
        time.sleep(0.05)


def slow(key: str) -> dict[str, Any]:
    """A job that samples for two seconds or three."""
    parameters = {"steps": 100, "width": 512, "height": 512, "seed": int(key[:8], 16)}
    return {"prompt": "a fox", "parameters": parameters, "once": True}


@engine_only
def test_a_request_that_is_sent_twice_has_one_run_and_one_result_whoever_dies(
    client: Client, s3_server: S3Server, tmp_path: Path
) -> None:
    key = uuid4().hex
    both = [client.submit_input(slow(key), idempotency_key=key) for _ in range(2)]
    results = [job.wait(timeout_seconds=STEP_SECONDS) for job in both]
    # Each has a worker of its own; but for how they were started, either may be the first.
    (maker,) = [result["once"]["job_id"] for result in results if result["once"]["state"] == "committed"]
    (other,) = [result for result in results if result["once"]["state"] != "committed"]
    assert (other["status"], other["once"]["job_id"]) in {("duplicate", maker), ("success", maker)}
    assert len({job.latest.worker_id for job in both}) == 2
    assert is_picture(client.submit_input(slow(key), idempotency_key=key).wait(), maker, tmp_path)

    key = uuid4().hex
    doomed = client.submit_input(slow(key), idempotency_key=key)
    until(lambda: bool(s3_server.sizes(f"once/{key}/lease.json")))
    worker_id = json.loads(s3_server.content(f"once/{key}/lease.json"))["worker_id"]
    kill(worker_id)
    result: Result | None = None
    deadline = Deadline.after(STEP_SECONDS)
    while result is None or result["status"] == "duplicate":  # until the dead worker's lease has run out
        deadline.check("sending it again")
        again = client.submit_input(slow(key), idempotency_key=key)
        result = again.wait(timeout_seconds=STEP_SECONDS)
    assert again.id != doomed.id
    assert again.latest.worker_id != worker_id
    assert is_picture(result, result["once"]["job_id"], tmp_path)
    assert len(s3_server.sizes(f"once/{key}/files/")) == 1


def is_picture(result: Result, maker: str, folder: Path) -> bool:
    assert result["once"]["job_id"] == maker
    (path,) = result.save(folder)
    with Image.open(path) as picture:
        return picture.size == (512, 512)


def kill(worker_id: str) -> None:
    """SIGKILL to the processes of a worker, which have its id in their environment."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("RUNPOD_POD_ID") == worker_id and BUCKET in process.environ().values():
                process.kill()
        except psutil.Error:
            continue  # it has ended, or is not ours
