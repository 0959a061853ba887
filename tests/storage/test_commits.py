"""Leases and results against a server that checks signatures: whoever comes at the same time, one has it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from comfypod.errors import ProtocolViolation
from comfypod.storage.commits import Commits, Held, Holder, Lease
from tests.s3_server import BUCKET, S3Server
from tests.storage.buckets import bucket_of, fetch

AT_ONCE = 5
"""SeaweedFS lets writers of one object wait for each other in steps of a second."""
OVER = -60.0
"""Of a lease that has run out when it is written."""
ARTIFACT = {"node_id": "9", "filename": "fox.png", "type": "s3_url", "content_type": "image/png", "sha256": "00"}


@pytest.fixture
def key() -> str:
    """A request of this test alone."""
    return uuid4().hex


@pytest.fixture
def commits(s3_server: S3Server) -> Commits:
    return Commits(bucket_of(s3_server))


def worker(number: int) -> Holder:
    return Holder(f"job-{number}", f"worker-{number}")


def output(key: str, **more: Any) -> dict[str, Any]:
    """What a job hands over whose one picture lies in the bucket."""
    picture = {**ARTIFACT, "bucket_key": f"once/{key}/files/00-fox.png", "data": "https://old", "url_expires_at": "x"}
    return {"status": "success", "images": [picture], "files": [], "texts": [], "warnings": [], **more}


async def held_by(commits: Commits, key: str, holder: Holder, seconds: float = 30) -> Held:
    held = await commits.acquire(key, holder, seconds)
    assert isinstance(held, Held)
    return held


async def test_of_many_that_come_at_once_one_gets_the_lease_and_all_others_are_told_who(
    s3_server: S3Server, key: str
) -> None:
    holders = [worker(number) for number in range(AT_ONCE)]
    async with asyncio.TaskGroup() as group:  # each with connections of its own, as workers have
        tasks = [group.create_task(Commits(bucket_of(s3_server)).acquire(key, holder, 30)) for holder in holders]
    held = [task.result() for task in tasks if isinstance(task.result(), Held)]
    (winner,) = [item for item in held if isinstance(item, Held)]
    told = {item.job_id for item in (task.result() for task in tasks) if isinstance(item, Lease) and item.is_live}
    assert told == {winner.document.job_id}
    assert sum(isinstance(task.result(), Lease) for task in tasks) == AT_ONCE - 1


async def test_of_many_that_take_over_a_dead_workers_lease_at_once_one_gets_it(
    s3_server: S3Server, commits: Commits, key: str
) -> None:
    await held_by(commits, key, worker(0), OVER)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(Commits(bucket_of(s3_server)).acquire(key, worker(number), 30))
            for number in range(1, AT_ONCE)
        ]
    assert sorted(type(task.result()).__name__ for task in tasks) == ["Held", *["Lease"] * (AT_ONCE - 2)]


async def test_of_many_that_commit_at_once_all_return_the_same_result(s3_server: S3Server, key: str) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                Commits(bucket_of(s3_server)).commit(key, worker(number), output(key, seeds={"seed": number}))
            )
            for number in range(AT_ONCE)
        ]
    results = {(task.result().job_id, task.result().output["seeds"]["seed"]) for task in tasks}
    ((job_id, seed),) = results
    assert job_id == f"job-{seed}"
    stored = json.loads(s3_server.content(f"once/{key}/result.json"))
    assert (stored["version"], stored["key"], stored["job_id"]) == (1, key, job_id)


async def test_a_result_is_committed_without_addresses_and_told_with_new_ones(
    s3_server: S3Server, commits: Commits, key: str
) -> None:
    s3_server.client.put_object(Bucket=BUCKET, Key=f"once/{key}/files/00-fox.png", Body=b"fox")
    assert await commits.result(key) is None
    committed = await commits.commit(key, worker(1), output(key))
    assert b"https://" not in s3_server.content(f"once/{key}/result.json")

    found = await Commits(bucket_of(s3_server)).result(key)
    assert found is not None
    assert (found.job_id, found.worker_id, found.token) == ("job-1", "worker-1", committed.token)
    told = commits.outputs(found)
    assert fetch(told["images"][0]["data"]).content == b"fox"
    assert told["images"][0]["type"] == "s3_url"
    assert told["images"][0]["url_expires_at"].endswith("Z")
    assert told["status"] == "success"


async def test_a_public_bucket_has_addresses_that_do_not_expire(s3_server: S3Server, key: str) -> None:
    commits = Commits(bucket_of(s3_server, BUCKET_PUBLIC_URL="https://cdn.example", BUCKET_PREFIX="fleet"))
    committed = await commits.commit(key, worker(1), output(key))
    (picture,) = commits.outputs(committed)["images"]
    assert picture["data"] == f"https://cdn.example/fleet/once/{key}/files/00-fox.png"
    assert "url_expires_at" not in picture
    assert s3_server.content(f"fleet/once/{key}/result.json")


async def test_a_lease_ends_by_the_stores_clock(s3_server: S3Server, commits: Commits, key: str) -> None:
    await held_by(commits, key, worker(1), 40)
    lease = await commits.lease(key)
    assert lease is not None
    stored = s3_server.head(f"once/{key}/lease.json")["LastModified"]
    assert lease.expires_at == stored + timedelta(seconds=40)
    assert (lease.job_id, lease.worker_id, lease.is_live) == ("job-1", "worker-1", True)
    # No moment of the worker's own clock, which may be wrong, is in it.
    document = json.loads(s3_server.content(f"once/{key}/lease.json"))
    assert {name for name in document if name.endswith("_at")} == set()
    assert document["seconds"] == 40


async def test_a_lease_that_ran_out_is_taken_over_and_the_one_that_slept_is_told(commits: Commits, key: str) -> None:
    slept = await held_by(commits, key, worker(1), OVER)
    lease = await commits.lease(key)
    assert lease is not None
    assert not lease.is_live
    held = await held_by(commits, key, worker(2))
    assert await commits.renew(slept) is None
    await commits.release(slept)  # not its own any more: nothing happens
    other = await commits.acquire(key, worker(3), 30)
    assert isinstance(other, Lease)
    assert other.job_id == "job-2"
    assert await commits.renew(held) is not None


async def test_a_renewed_lease_lasts_and_a_released_one_is_free_at_once(commits: Commits, key: str) -> None:
    held = await held_by(commits, key, worker(1))
    for _ in range(3):
        renewed = await commits.renew(held)
        assert renewed is not None
        assert renewed.etag != held.etag
        held = renewed
    assert isinstance(await commits.acquire(key, worker(2), 30), Lease)
    await commits.release(held)
    assert isinstance(await commits.acquire(key, worker(2), 30), Held)


async def test_a_job_that_is_delivered_twice_has_two_holders(commits: Commits, key: str) -> None:
    await held_by(commits, key, Holder("job-1", "worker-1"))
    assert isinstance(await commits.acquire(key, Holder("job-1", "worker-2"), 30), Lease)
    assert isinstance(await commits.acquire(key, Holder("job-1", "worker-1"), 30), Lease)


async def test_nobody_is_at_what_nobody_has_begun(commits: Commits, key: str) -> None:
    assert await commits.lease(key) is None
    assert await commits.result(key) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 2}', b'{"version": 1, "key": "a"}', b"\xff"])
async def test_what_was_not_written_by_a_worker_is_no_result(
    s3_server: S3Server, commits: Commits, key: str, content: bytes
) -> None:
    for name in ("result", "lease"):
        s3_server.client.put_object(Bucket=BUCKET, Key=f"once/{key}/{name}.json", Body=content)
    with pytest.raises(ProtocolViolation, match=rf"{BUCKET}/once/{key}/result\.json"):
        await commits.result(key)
    with pytest.raises(ProtocolViolation, match=r"lease\.json"):
        await commits.acquire(key, worker(1), 30)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\n", "ä", "a" * 201])
async def test_a_key_that_would_lead_elsewhere_is_none(commits: Commits, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the key"):
        await commits.result(name)
    with pytest.raises(ValueError, match="cannot be the key"):
        await commits.acquire(name, worker(1), 30)
