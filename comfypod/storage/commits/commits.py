"""Leases and results of requests in a bucket: a request may be run many times, and has one result.

Only the result is exact: it is written under the condition that there is none (``If-None-Match: *``). A lease saves
time on the GPU, and nothing depends on it: who runs although another does finds the other's result in the end.

The store must honour If-None-Match and If-Match in a PUT. These say that they do: Amazon S3 (docs.aws.amazon.com/
AmazonS3/latest/userguide/conditional-writes.html), Cloudflare R2 (developers.cloudflare.com/r2/api/s3/extensions),
CoreWeave (docs.coreweave.com/release-notes/ai-object-storage-conditional-writes) and Scaleway (scaleway.com/en/docs/
object-storage/api-cli/using-conditional-writes). SeaweedFS was seen to, also with many writers at once; those of one
object it lets wait for each other, in steps of a second. Google's asks for its own headers instead. A store that
does not is found out with the first lease of each process, and refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from comfypod.errors import CommitsRefused, CommitsUnavailable
from comfypod.retry import backoff_seconds
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.buckets.faults import StoreFailure
from comfypod.storage.buckets.store import Patience
from comfypod.storage.commits.clock import ACCURACY_SECONDS, StoreClock
from comfypod.storage.commits.documents import (
    Committed,
    Holder,
    LeaseDocument,
    lease_key,
    result_key,
    with_addresses,
    without_addresses,
)

CALL_SECONDS = 30.0
COMMIT_SECONDS = 60.0
"""A result has taken time on a GPU, which is worth some patience."""
TRIES = 8
PATIENCE = Patience(stall_seconds=8, retry_seconds=15, retries=20)
_NO_CONDITIONS = (
    "the store takes a conditional write (If-None-Match, If-Match) whose condition does not hold; take one that knows "
    "them, such as Amazon S3, Cloudflare R2 or SeaweedFS"
)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it was read.

    ``expires_at`` is by the store's clock, unless it is renewed; ``is_live`` says how it stood in that moment.
    """

    key: str
    job_id: str
    worker_id: str
    token: str
    expires_at: datetime
    is_live: bool
    etag: str


@dataclass(frozen=True, slots=True)
class Held:
    """A lease of one's own, as it was written last."""

    key: str
    document: LeaseDocument
    etag: str


class Commits:
    """What a bucket knows of requests, by their keys.

    Every method is bounded in time, and may be called again. They raise `CommitsUnavailable` where the store did not
    answer, `CommitsRefused` where it does not allow what is needed, `ProtocolViolation` where something else stands
    there than was written, and `ValueError` for what cannot be a key.
    """

    def __init__(self, bucket: Bucket, patience: Patience = PATIENCE) -> None:
        self._bucket = bucket
        self._records = bucket.records(patience)
        self._clock = StoreClock(self._records)
        self._is_proven = False

    async def result(self, key: str) -> Committed | None:
        """The result, if it was committed."""
        place = result_key(key)
        async with self._explained(place, CALL_SECONDS):
            return await self._read_result(place)

    async def lease(self, key: str) -> Lease | None:
        """The lease, whoever holds it or held it last; None if nobody ever did."""
        place = lease_key(key)
        async with self._explained(place, CALL_SECONDS):
            return await self._read_lease(key, place)

    async def acquire(self, key: str, holder: Holder, seconds: float) -> Held | Lease:
        """Take the lease for ``seconds`` if nobody holds it; else return the other's, which is live.

        Look for the result afterwards: whoever held it before may have committed one.
        """
        place = lease_key(key)
        document = LeaseDocument(holder.job_id, holder.worker_id, holder.token, seconds)
        async with self._explained(place, CALL_SECONDS):
            async for _ in _tries():
                etag = await _written(self._records.create(place, document.to_bytes()))
                if etag is None:
                    found = await self._read_lease(key, place)
                    if found is None:
                        continue
                    if found.token == holder.token:  # it was taken, and the answer lost
                        etag = found.etag
                    elif found.is_live:
                        return found
                    else:
                        etag = await _written(self._records.replace(place, document.to_bytes(), found.etag))
                if etag is not None:
                    await self._prove(place, document)
                    return Held(key, document, etag)
        raise CommitsUnavailable(self._records.target(place), "others keep writing it")

    async def renew(self, held: Held) -> Held | None:
        """Hold it for as long again; None: another holds it now, so end what was begun under it.

        A renewal that the store did not take while the lease is still one's own changes nothing: renew it again.
        """
        place = lease_key(held.key)
        document = replace(held.document, renewals=held.document.renewals + 1)
        async with self._explained(place, CALL_SECONDS):
            etag = await _written(self._records.replace(place, document.to_bytes(), held.etag))
            if etag is None:
                found = await self._read_lease(held.key, place)
                if found is None or found.token != document.token:
                    return None
                etag = found.etag
            return replace(held, document=document, etag=etag)

    async def release(self, held: Held) -> None:
        """Let the next one have it at once; do nothing if it is another's by now."""
        place = lease_key(held.key)
        document = replace(held.document, renewals=held.document.renewals + 1, is_released=True)
        async with self._explained(place, CALL_SECONDS):
            if await _written(self._records.replace(place, document.to_bytes(), held.etag)):
                return
            found = await self._read_lease(held.key, place)
            if found is not None and found.token == document.token:  # renewed, and the answer lost
                await _written(self._records.replace(place, document.to_bytes(), found.etag))

    async def commit(self, key: str, holder: Holder, output: Mapping[str, Any]) -> Committed:
        """Make ``output`` the result, unless there is one: what this returns is the result, whoever made it.

        Each file of ``output`` has a ``bucket_key`` (`files_folder`), under which it lies in the bucket already.
        """
        place = result_key(key)
        made_at = datetime.now(UTC)
        mine = Committed(key, holder.job_id, holder.worker_id, holder.token, made_at, without_addresses(output))
        async with self._explained(place, COMMIT_SECONDS):
            async for _ in _tries():
                if await _written(self._records.create(place, mine.to_bytes())):
                    return mine
                if found := await self._read_result(place):
                    return found
        raise CommitsUnavailable(self._records.target(place), "it was neither written nor is there another")

    def outputs(self, committed: Committed) -> dict[str, Any]:
        """The output of the job, with addresses made anew. Nothing is sent.

        Raises:
            UploadRefused: it names what can be no object.
        """
        return with_addresses(committed.output, self._bucket.url)

    async def _read_result(self, place: str) -> Committed | None:
        record = await self._records.read(place)
        return Committed.from_bytes(record.content, self._records.target(place)) if record else None

    async def _read_lease(self, key: str, place: str) -> Lease | None:
        record = await self._records.read(place)
        if record is None:
            return None
        document = LeaseDocument.from_bytes(record.content, self._records.target(place))
        lifetime = timedelta(seconds=0 if document.is_released else document.seconds)
        expires_at = record.stored_at + lifetime
        is_live = not document.is_released
        if is_live:
            is_live = await self._clock.now() < expires_at + timedelta(seconds=ACCURACY_SECONDS)
        return Lease(key, document.job_id, document.worker_id, document.token, expires_at, is_live, record.etag)

    async def _prove(self, place: str, document: LeaseDocument) -> None:
        """See once that the store refuses what it must, at a lease that was just taken; what is written is the same."""
        if self._is_proven:
            return
        content = document.to_bytes()
        try:
            taken = await self._records.create(place, content) or await self._records.replace(place, content, '"other"')
        except StoreFailure as failure:
            if not failure.passing:
                raise
            return  # the next lease tells
        if taken:
            raise CommitsRefused(self._records.target(place), _NO_CONDITIONS)
        self._is_proven = True

    @asynccontextmanager
    async def _explained(self, place: str, seconds: float) -> AsyncIterator[None]:
        """Bound the body in time, and turn what a store says into errors of ours."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise CommitsUnavailable(self._records.target(place), "the store did not answer in time") from error
        except StoreFailure as failure:
            kind = CommitsUnavailable if failure.passing else CommitsRefused
            raise kind(self._records.target(place), failure.cause) from failure


async def _tries() -> AsyncIterator[int]:
    """So often something is tried, with pauses between."""
    pauses = backoff_seconds(first=0.1, longest=2)
    for number in range(TRIES):
        if number:
            await asyncio.sleep(next(pauses))
        yield number


async def _written(write: Awaitable[str | None]) -> str | None:
    """The ETag of what was written; None where it was not, or nobody knows: then look at what is there."""
    try:
        return await write
    except StoreFailure as failure:
        if not failure.passing:
            raise
        return None
