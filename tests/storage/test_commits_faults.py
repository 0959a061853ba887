"""Leases and results at a store that loses answers, is away, or knows no conditions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from comfypod.errors import CommitsRefused, CommitsUnavailable
from comfypod.storage.buckets.store import Patience
from comfypod.storage.commits import Commits, Held, Holder, Lease
from tests.storage.buckets import IMPATIENT, bucket_at
from tests.storage.conditional_store import ConditionalStore, hang_up
from tests.storage.misbehaving_store import Answer, MisbehavingStore, never, refusal, serving

KEY = "0123456789abcdef"
OUTPUT = {"status": "success", "images": [], "files": [], "texts": [], "warnings": []}
MINE, OTHER = Holder("job-1", "worker-1"), Holder("job-2", "worker-2")
LEASE, RESULT = f"/outputs/once/{KEY}/lease.json", f"/outputs/once/{KEY}/result.json"
BUSY = refusal(503, "SlowDown")
CONFLICT = refusal(409, "ConditionalRequestConflict")


@pytest.fixture
async def store() -> AsyncIterator[ConditionalStore]:
    async with serving(ConditionalStore()) as served:
        assert isinstance(served, ConditionalStore)
        yield served


@pytest.fixture
def commits(store: ConditionalStore) -> Commits:
    return Commits(bucket_at(store.url), IMPATIENT)


@pytest.mark.parametrize("answer", [hang_up, BUSY, CONFLICT, never], ids=["hung up", "503", "409", "none"])
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_write_whose_answer_is_lost_is_looked_at_and_not_guessed(
    store: ConditionalStore, commits: Commits, answer: Answer, arrives: bool
) -> None:
    planned = store.storing_first(answer) if arrives else answer
    store.plan("PUT", planned)
    held = await commits.acquire(KEY, MINE, 30)
    assert isinstance(held, Held)
    store.plan("PUT", planned)
    renewed = await commits.renew(held)
    assert renewed is not None
    store.plan("PUT", planned)
    committed = await commits.commit(KEY, MINE, OUTPUT)
    assert committed.token == MINE.token
    assert (await commits.commit(KEY, OTHER, OUTPUT)).token == MINE.token
    store.plan("PUT", planned)
    await commits.release(renewed)
    lease = await commits.lease(KEY)
    assert lease is not None
    assert (lease.token, lease.is_live) == (MINE.token, False)


async def test_a_renewal_that_was_not_taken_leaves_the_lease_renewable(
    store: ConditionalStore, commits: Commits
) -> None:
    held = await commits.acquire(KEY, MINE, 30)
    assert isinstance(held, Held)
    stale = replace(held, etag='"stale"')
    renewed = await commits.renew(stale)
    assert renewed is not None
    again = await commits.renew(renewed)
    assert again is not None
    assert again.etag != held.etag


async def test_a_store_that_knows_no_conditions_is_refused(store: ConditionalStore) -> None:
    async with serving(MisbehavingStore()) as careless:
        with pytest.raises(CommitsRefused, match="If-None-Match") as caught:
            await Commits(bucket_at(careless.url), IMPATIENT).acquire(KEY, MINE, 30)
    assert not caught.value.retryable
    store.plan("PUT", refusal(501, "NotImplemented"), times=50)
    with pytest.raises(CommitsRefused, match="501 NotImplemented"):
        await Commits(bucket_at(store.url), IMPATIENT).acquire(KEY, MINE, 30)


async def test_each_process_tries_its_store_once(store: ConditionalStore, commits: Commits) -> None:
    for number in range(3):
        assert isinstance(await commits.acquire(f"{KEY}{number}", MINE, 30), Held)
    assert store.writes == 3


@pytest.mark.parametrize("answer", [BUSY, never])
async def test_a_store_that_is_away_fails_in_time_and_may_be_asked_again(
    store: ConditionalStore, commits: Commits, answer: Answer
) -> None:
    for method in ("PUT", "GET"):
        store.plan(method, answer, times=50)
    begun = time.monotonic()
    with pytest.raises(CommitsUnavailable, match=rf"outputs/once/{KEY}/lease\.json") as caught:
        await commits.acquire(KEY, MINE, 30)
    assert caught.value.retryable
    assert time.monotonic() - begun < 10
    with pytest.raises(CommitsUnavailable):
        await commits.result(KEY)
    store.planned.clear()
    assert isinstance(await commits.acquire(KEY, MINE, 30), Held)


async def test_a_refused_write_is_no_others_doing(store: ConditionalStore, commits: Commits) -> None:
    store.plan("PUT", refusal(403, "AccessDenied"))
    with pytest.raises(CommitsRefused, match="access was denied"):
        await commits.commit(KEY, MINE, OUTPUT)
    assert RESULT not in store.objects


async def test_a_lease_of_another_that_is_live_costs_one_write(store: ConditionalStore) -> None:
    await Commits(bucket_at(store.url), IMPATIENT).acquire(KEY, OTHER, 30)
    writes = store.writes
    lease = await Commits(bucket_at(store.url, Patience()), IMPATIENT).acquire(KEY, MINE, 30)
    assert isinstance(lease, Lease)
    assert store.writes == writes + 1  # the clock; the lease was refused
    assert LEASE in store.objects
