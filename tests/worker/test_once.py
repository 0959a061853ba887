"""Jobs that are run once: whatever comes twice, at the same time, or after a worker's death, has one result."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from worker_jobs import ROOT, job, make_handler, sampling, save_color, wait_until_idle, wait_until_sampling

from comfypod.comfyui.server import RemoteServer
from comfypod.settings import Settings
from comfypod.storage.commits import Commits, Held, Holder, Lease
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler
from comfypod.worker.once import Once
from tests.s3_server import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, S3Server
from tests.storage.buckets import IMPATIENT, bucket_at, bucket_of
from tests.storage.conditional_store import ConditionalStore, Gate
from tests.storage.misbehaving_store import serving

LEASE_SECONDS = 1
SECONDS = 20
OTHER = Holder("job-of-another", "worker-of-another")


@pytest.fixture
def key() -> str:
    """A request of this test alone."""
    return uuid4().hex


@pytest.fixture
def commits(s3_server: S3Server) -> Commits:
    return Commits(bucket_of(s3_server))


class Worker:
    """A worker of its own, on a ComfyUI that others may share; ``updates`` is the progress that it told."""

    def __init__(self, comfyui_url: str, environment: Mapping[str, str], **settings: str) -> None:
        self.updates: list[Mapping[str, Any]] = []
        self.handler = make_handler(comfyui_url, self._send, **environment, **settings)

    async def _send(self, _: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        self.updates.append(value)

    async def run(self, key: str, **job_input: Any) -> dict[str, Any]:
        """The answer to a job of its own of this request."""
        return await self.handler(once(key, **job_input))


def once(key: str, **job_input: Any) -> dict[str, Any]:
    return job(idempotency_key=key, once=True, **job_input)


def color_of(key: str) -> dict[str, Any]:
    """A workflow that makes another picture for each request."""
    return save_color(int(key[:6], 16))


@pytest.fixture
def one(comfyui_url: str, s3_server: S3Server) -> Worker:
    return Worker(comfyui_url, s3_server.environment, once_lease_seconds=str(LEASE_SECONDS))


@pytest.fixture
def two(comfyui_url: str, s3_server: S3Server) -> Worker:
    return Worker(comfyui_url, s3_server.environment, once_lease_seconds=str(LEASE_SECONDS))


async def test_the_second_job_of_a_request_gets_the_result_of_the_first_and_runs_nothing(
    one: Worker, two: Worker, s3_server: S3Server, key: str
) -> None:
    job_of_one = once(key, workflow=color_of(key))
    first = await one.handler(job_of_one)
    assert first["status"] == "success", first
    assert first["once"] == {"state": "committed", "job_id": job_of_one["id"]}
    second = await two.run(key, workflow=color_of(key))
    assert second["once"] == {"state": "existing", "job_id": job_of_one["id"]}
    assert two.updates == []

    (mine,), (other,) = first["images"], second["images"]
    content = (await asyncio.to_thread(requests.get, other["data"], timeout=10)).content
    assert hashlib.sha256(content).hexdigest() == mine["sha256"] == other["sha256"]
    # Small as it is, it lies in the bucket, under a name that only the same bytes have.
    assert mine["type"] == "s3_url"
    assert mine["bucket_key"] == f"once/{key}/files/{mine['sha256'][:16]}-{mine['filename']}"
    addresses = {"data", "url_expires_at"}
    assert {k: v for k, v in mine.items() if k not in addresses} == {
        k: v for k, v in other.items() if k not in addresses
    }
    assert s3_server.sizes(f"once/{key}/").keys() == {
        f"once/{key}/lease.json",
        f"once/{key}/result.json",
        mine["bucket_key"],
    }
    for name in ("status", "texts", "seeds", "idempotency_key", "worker"):
        assert first.get(name) == second.get(name)


async def test_a_job_that_another_worker_is_at_is_answered_at_once(
    one: Worker, two: Worker, s3_server: S3Server, key: str, checkpoint: str
) -> None:
    request = sampling(checkpoint, 100)
    job_of_one = once(key, **request)
    running = asyncio.create_task(one.handler(job_of_one))
    await wait_until_sampling(one.updates)
    begun = time.monotonic()
    answer = await two.run(key, **request)
    assert time.monotonic() - begun < 2
    assert not running.done()
    assert (answer["status"], answer["images"], two.updates) == ("duplicate", [], [])
    assert (answer["once"]["state"], answer["once"]["job_id"]) == ("leased", job_of_one["id"])
    assert answer["once"]["expires_at"].endswith("Z")
    assert answer["idempotency_key"] == key

    assert (await running)["once"]["state"] == "committed"
    assert json.loads(s3_server.content(f"once/{key}/lease.json"))["renewals"] >= 1
    assert (await two.run(key, **request))["once"] == {"state": "existing", "job_id": job_of_one["id"]}


async def test_a_job_that_failed_leaves_its_place_to_the_next(
    one: Worker, two: Worker, commits: Commits, key: str
) -> None:
    broken = {**color_of(key), "2": {"class_type": "ImageInvert", "inputs": {"image": ["9", 0]}}}
    failed = await one.run(key, workflow=broken)
    assert failed["status"] == "error", failed
    assert "once" not in failed
    lease = await commits.lease(key)
    assert lease is not None
    assert not lease.is_live
    assert await commits.result(key) is None
    assert (await two.run(key, workflow=color_of(key)))["once"]["state"] == "committed"


async def test_a_cancelled_job_leaves_the_gpu_and_its_place_and_no_result(
    one: Worker, comfyui_url: str, commits: Commits, key: str, checkpoint: str
) -> None:
    running = asyncio.create_task(one.run(key, **sampling(checkpoint, 100)))
    await wait_until_sampling(one.updates)
    running.cancel()
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - begun < 3
    assert await wait_until_idle(comfyui_url, 5) < 1
    assert isinstance(await commits.acquire(key, OTHER, 30), Held)
    assert await commits.result(key) is None


async def test_a_worker_whose_lease_was_taken_stops_and_says_by_whom(
    one: Worker, comfyui_url: str, s3_server: S3Server, key: str, checkpoint: str
) -> None:
    commits = Commits(bucket_of(s3_server))
    running = asyncio.create_task(one.run(key, **sampling(checkpoint, 100)))
    await wait_until_sampling(one.updates)
    # As if this worker had been away for longer than its lease was good.
    s3_server.client.delete_object(Bucket=BUCKET, Key=f"once/{key}/lease.json")
    assert isinstance(await commits.acquire(key, OTHER, 30), Held)
    async with asyncio.timeout(SECONDS):
        answer = await running
    assert (answer["status"], answer["once"]["job_id"]) == ("duplicate", OTHER.job_id)
    assert await wait_until_idle(comfyui_url, 5) < 1
    lease = await commits.lease(key)
    assert lease is not None
    assert (lease.job_id, lease.is_live) == (OTHER.job_id, True)


async def test_a_result_that_came_first_is_told_in_place_of_ones_own(
    one: Worker, commits: Commits, key: str, checkpoint: str
) -> None:
    running = asyncio.create_task(one.run(key, **sampling(checkpoint, 40)))
    await wait_until_sampling(one.updates)
    await commits.commit(key, OTHER, {"status": "success", "images": [], "files": [], "texts": [{"value": "other"}]})
    answer = await running
    assert answer["once"] == {"state": "lost", "job_id": OTHER.job_id}
    assert (answer["images"], answer["texts"]) == ([], [{"value": "other"}])


async def test_a_result_that_came_while_the_lease_was_taken_is_found(one: Worker, commits: Commits, key: str) -> None:
    """Whoever held it may have committed, and let go, between two looks: there is a result, and no live lease."""
    await commits.acquire(key, OTHER, -60)
    await commits.commit(key, OTHER, {"status": "success", "images": [], "files": [], "texts": []})
    answer = await one.run(key, workflow=color_of(key))
    assert (answer["once"]["state"], one.updates) == ("existing", [])


async def test_without_a_bucket_it_says_what_to_set(comfyui_url: str, key: str) -> None:
    answer = await make_handler(comfyui_url)(once(key, workflow=color_of(key)))
    assert (answer["status"], answer["code"]) == ("error", "configuration")
    assert "BUCKET_ENDPOINT_URL" in answer["error"]


async def test_without_the_store_nothing_is_run(comfyui_url: str, key: str) -> None:
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    settings = Settings.from_environment({"PROGRESS_INTERVAL_SECONDS": "0.1"})
    facilities = Facilities.of_repository(ROOT, settings, {})
    away = Once(Commits(bucket_at("http://127.0.0.1:9"), IMPATIENT), "worker-1", 30)
    handler = Handler(replace(facilities, once=away), RemoteServer(comfyui_url), send)
    answer = await handler(once(key, workflow=color_of(key)))
    assert (answer["code"], answer["retryable"], updates) == ("commits_unavailable", True, [])


@pytest.mark.parametrize(
    ("job_input", "path"),
    [
        ({"once": True}, "once: needs an idempotency_key"),
        ({"once": True, "idempotency_key": "a", "delivery": "inline"}, "delivery: inline leaves nothing"),
        ({"once": True, "idempotency_key": "a", "delivery": "path"}, "delivery: path leaves nothing"),
        ({"once": True, "idempotency_key": ".."}, "idempotency_key: must be a name"),
        ({"once": "yes", "idempotency_key": "a"}, "once: "),
    ],
)
async def test_what_cannot_be_run_once_is_refused(one: Worker, job_input: dict[str, Any], path: str) -> None:
    answer = await one.handler(job(workflow=save_color(1), **job_input))
    assert answer["code"] == "invalid_job_input"
    assert path in answer["error"]


async def test_a_bucket_of_the_callers_own_is_refused(one: Worker, key: str) -> None:
    config = {"accessId": "a", "accessSecret": "b", "bucketName": "c", "endpointUrl": "https://s3.example.com"}
    answer = await one.handler({**once(key, workflow=color_of(key)), "s3Config": config})
    assert answer["code"] == "invalid_job_input"
    assert "s3Config: with once" in answer["error"]


async def test_a_description_is_never_kept(one: Worker, commits: Commits, key: str) -> None:
    answer = await one.run(key, workflow=color_of(key), describe=True)
    assert "description" in answer
    assert answer["warnings"] == ["once: ignored, because a description runs nothing"]
    assert await commits.lease(key) is None


@pytest.fixture
async def store() -> AsyncIterator[ConditionalStore]:
    async with serving(ConditionalStore()) as served:
        assert isinstance(served, ConditionalStore)
        yield served


def environment_of(store: ConditionalStore) -> dict[str, str]:
    keys = {"BUCKET_ACCESS_KEY_ID": ACCESS_KEY_ID, "BUCKET_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    return {"BUCKET_ENDPOINT_URL": store.url, "BUCKET_NAME": BUCKET, **keys}


KILLED_AT = {
    "the lease is taken": (r"/lease\.json$", True, "committed"),
    "a file is on its way": (r"/files/", False, "committed"),
    "all files are there": (r"/result\.json$", False, "committed"),
    "the result is there, and not told": (r"/result\.json$", True, "existing"),
}
"""Where the store holds a worker until it is dead, and what the next one finds."""


async def killed(store: ConditionalStore, comfyui_url: str, request: Mapping[str, Any], gate: Gate) -> None:
    """A worker that got so far with this job, and no further."""
    store.gates.append(gate)
    settings = {**environment_of(store), "once_lease_seconds": str(LEASE_SECONDS)}
    command = [sys.executable, str(Path(__file__).with_name("once_child.py"))]
    arguments = [comfyui_url, json.dumps(settings), json.dumps(request)]
    process = await asyncio.create_subprocess_exec(*command, *arguments, cwd=ROOT)
    try:
        async with asyncio.timeout(SECONDS):
            await gate.reached.wait()
    finally:
        process.kill()
        await process.wait()
    store.gates.remove(gate)


async def test_a_worker_that_is_killed_anywhere_leaves_one_result(store: ConditionalStore, comfyui_url: str) -> None:
    async def one_case(pattern: str, state: str, *, after: bool) -> None:
        key = uuid4().hex
        request = once(key, workflow=color_of(key))
        await killed(store, comfyui_url, request, Gate(rf"/{key}{pattern}|/{key}/.*{pattern}", after))
        second = Worker(comfyui_url, environment_of(store), once_lease_seconds=str(LEASE_SECONDS))
        answer = await second.handler(request)  # RunPod gives the same job to another worker
        async with asyncio.timeout(SECONDS):
            while answer["status"] == "duplicate":
                assert answer["once"]["job_id"] == request["id"]
                assert second.updates == []
                await asyncio.sleep(0.1)
                answer = await second.handler(request)
        assert answer["once"]["state"] == state, answer
        assert bool(second.updates) == (state == "committed")
        (picture,) = answer["images"]
        content = store.objects[f"/{BUCKET}/{picture['bucket_key']}"]
        assert hashlib.sha256(content).hexdigest() == picture["sha256"]
        assert (await second.handler(request))["once"]["state"] == "existing"

    async with asyncio.TaskGroup() as group:
        for pattern, after, state in KILLED_AT.values():
            group.create_task(one_case(pattern, state, after=after))


async def test_only_the_holder_of_a_live_lease_is_named(commits: Commits, key: str) -> None:
    await commits.acquire(key, OTHER, 30)
    lease = await commits.acquire(key, Holder("late", "late"), 30)
    assert isinstance(lease, Lease)
    assert (lease.job_id, lease.worker_id) == (OTHER.job_id, OTHER.worker_id)
