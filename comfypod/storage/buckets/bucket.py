"""The worker's own bucket: results go to it, and inputs may come from it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from logging import WARNING
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

from comfypod.deadline import Deadline
from comfypod.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DownloadFailed,
    DownloadInterrupted,
    UploadFailed,
    UploadRefused,
)
from comfypod.files.content import FileContent
from comfypod.files.opening import opened
from comfypod.logs import event
from comfypod.settings import Settings
from comfypod.storage.buckets.address import BucketAddress
from comfypod.storage.buckets.faults import Fault, StoreFailure
from comfypod.storage.buckets.parts import FileParts, UploadMemory
from comfypod.storage.buckets.records import Records
from comfypod.storage.buckets.store import (
    PART_BYTES,
    PARTS_IN_MEMORY,
    PATIENCE,
    WHOLE_BYTES,
    BucketKeys,
    Patience,
    Store,
)
from comfypod.storage.download import ByteBudget, Downloaded

UPLOAD_MEMORY_BYTES = 40 * 1024**2
"""What all uploads together hold in memory: two large files, or four of 10 MiB."""
LEAST_HELD_BYTES = UPLOAD_MEMORY_BYTES // 8
"""What a small one counts for: no more than eight at a time."""
BLOCK_BYTES = 1024**2
"""Least size of what is read from the bucket and written to disk at a time."""

DOWNLOAD_RETRIES = 20
"""How often a download goes on from where it broke off: half a minute, if the store is gone."""

_PROBLEMS = {
    Fault.NO_BUCKET: "BUCKET_NAME: {url} has no bucket {bucket!r}; {cause}.",
    Fault.KEY_ID: "BUCKET_ACCESS_KEY_ID: {url} does not know this key.",
    Fault.SECRET: "BUCKET_SECRET_ACCESS_KEY: it does not belong to the key that BUCKET_ACCESS_KEY_ID names; {cause}.",
    Fault.PERMISSION: "BUCKET_ACCESS_KEY_ID: this key must be allowed to write and read {objects}; {cause}.",
    Fault.REGION: "BUCKET_REGION: {region!r} is refused; {cause}.",
    Fault.CLOCK: "The clock of this machine is wrong: {url} refuses the time of its requests.",
}
_NO_PRESIGNED_ADDRESSES = (
    "BUCKET_ENDPOINT_URL: this store has no presigned addresses, so that nobody could fetch a result; "
    "take another store, or set BUCKET_PUBLIC_URL."
)
_PROBE = b"comfypod"
_PROBE_PATIENCE = Patience(stall_seconds=10, retry_seconds=10, retries=2)


class OutputBucket(Protocol):
    """What delivery needs of a bucket, whoever owns it."""

    async def upload(self, content: FileContent, key: str, content_type: str, deadline: Deadline) -> str:
        """Store the file under ``key``, over what is there; return the SHA-256 of what was sent."""

    def url(self, key: str) -> tuple[str, datetime | None]:
        """An address to fetch it from, and the moment (UTC) it stops to work at; None: never."""


class Bucket:
    """The bucket of the settings.

    Keys are given without BUCKET_PREFIX. Its uploads share one bound on memory and belong to one event loop.
    """

    def __init__(
        self,
        address: BucketAddress,
        keys: BucketKeys,
        *,
        public_url: str | None = None,
        url_lifetime_seconds: int = 86_400,
        patience: Patience = PATIENCE,
    ) -> None:
        self._address = address
        self._keys = keys
        self._public_url = public_url.rstrip("/") if public_url else None
        self._url_lifetime_seconds = url_lifetime_seconds
        self._store = Store(address, keys, patience)
        # The time of a download counts from its start, and a long one may break off late: there tries are counted.
        unhurried = replace(patience, retry_seconds=3_600, retries=min(patience.retries, DOWNLOAD_RETRIES))
        self._reading_store = Store(address, keys, unhurried)
        self._memory = UploadMemory(UPLOAD_MEMORY_BYTES)

    @classmethod
    def from_settings(cls, settings: Settings) -> Bucket | None:
        """The bucket that the settings describe; None if they name none. No request is made.

        Raises:
            ConfigurationError: they describe half a bucket, or one whose results nobody could fetch.
        """
        problems = _missing(settings)
        if problems:
            raise ConfigurationError(problems)
        access_key_id, secret = settings.bucket_access_key_id, settings.bucket_secret_access_key
        if settings.bucket_endpoint_url is None or access_key_id is None or secret is None:
            return None
        address = BucketAddress.parse(
            settings.bucket_endpoint_url,
            settings.bucket_name,
            settings.bucket_region,
            settings.bucket_addressing,
            settings.bucket_prefix,
        )
        if not address.presigns and settings.bucket_public_url is None:
            raise ConfigurationError([_NO_PRESIGNED_ADDRESSES])
        return cls(
            address,
            BucketKeys(access_key_id, secret),
            public_url=settings.bucket_public_url,
            url_lifetime_seconds=settings.bucket_url_lifetime_seconds,
        )

    @property
    def name(self) -> str:
        """The bucket's name, as in ``s3://NAME/KEY``."""
        return self._address.bucket

    async def check(self, deadline: Deadline) -> None:
        """Store a small object, read it and delete it; call this once, at start.

        A key that may not delete is fine: the object (8 bytes) stays, and a line in the log says so.

        Raises:
            ConfigurationError: that did not work; the sentence names the setting to change.
        """
        store = Store(self._address, self._keys, _PROBE_PATIENCE)
        try:
            async with deadline.enforce("start"):
                await _probe(store, self._address.object_key(f".comfypod-{secrets.token_hex(8)}"))
        except StoreFailure as failure:
            raise ConfigurationError([self._problem(failure)]) from failure
        except DeadlineExceeded as error:
            late = StoreFailure(Fault.UNREACHABLE, "it did not answer in time")
            raise ConfigurationError([self._problem(late)]) from error

    def _problem(self, failure: StoreFailure) -> str:
        """What the operator should change."""
        place = self._address
        objects = "/".join(part for part in (place.bucket, place.prefix) if part)
        sentence = _PROBLEMS.get(failure.fault, "BUCKET_ENDPOINT_URL: {url} cannot be used; {cause}.")
        return sentence.format(
            url=place.endpoint_url, bucket=place.bucket, objects=objects, region=place.region, cause=failure.cause
        )

    async def upload(self, content: FileContent, key: str, content_type: str, deadline: Deadline) -> str:
        """Store the file under ``key``, over what is there; return the SHA-256 of what was sent.

        It is read once, from disk; when many come at once, some wait for their turn.

        Raises:
            UploadFailed: the store could not be reached, or the file could not be read.
            UploadRefused: the store does not allow it.
            DeadlineExceeded: the deadline passed (phase "deliver").
        """
        object_key = self._address.object_key(key)
        attributes = {"Content-Type": content_type, "Content-Disposition": _inline(key)}
        async with deadline.enforce("deliver"):
            try:
                return await self._send(content, object_key, attributes)
            except StoreFailure as failure:
                kind = UploadFailed if failure.passing else UploadRefused
                raise kind(f"{self.name}/{object_key}", failure.cause) from failure
            except OSError as error:
                cause = f"its file cannot be read ({error.strerror})"
                raise UploadFailed(f"{self.name}/{object_key}", cause) from error

    async def _send(self, content: FileContent, object_key: str, attributes: Mapping[str, str]) -> str:
        size_bytes = await asyncio.to_thread(content.size_bytes)
        if size_bytes <= WHOLE_BYTES:
            async with self._memory.hold(max(size_bytes, LEAST_HELD_BYTES)):
                digest = hashlib.sha256()
                whole = await asyncio.to_thread(content.read, digest, size_bytes)
                await self._store.put(object_key, whole, attributes)
                return digest.hexdigest()
        parts = FileParts(content, size_bytes)
        async with self._memory.hold(PARTS_IN_MEMORY * PART_BYTES), aclosing(parts.read()) as blocks:
            await self._store.put_parts(object_key, blocks, attributes)
        return parts.sha256

    def url(self, key: str) -> tuple[str, datetime | None]:
        """An address to fetch the object from, and the moment (UTC) until which it works; None: for ever.

        Nothing is sent. The address is BUCKET_PUBLIC_URL's, or else presigned.

        Raises:
            UploadRefused: no object can have this key.
        """
        object_key = self._address.object_key(key)
        if self._public_url is not None:
            return f"{self._public_url}/{quote(object_key, safe='/')}", None
        try:
            return self._store.presigned_get(object_key, self._url_lifetime_seconds)
        except StoreFailure as failure:
            raise UploadRefused(f"{self.name}/{object_key}", failure.cause) from failure

    def address_of(self, key: str) -> str:
        """The object as a job's input names it: ``s3://NAME/KEY``, with BUCKET_PREFIX."""
        return f"s3://{self.name}/{self._address.object_key(key)}"

    async def delete(self, key: str, deadline: Deadline) -> None:
        """Delete an object, or do nothing if there is none.

        Raises:
            UploadFailed: the store could not be reached.
            UploadRefused: the store does not allow it.
            DeadlineExceeded: the deadline passed (phase "delete").
        """
        object_key = self._address.object_key(key)
        async with deadline.enforce("delete"):
            try:
                await self._store.delete(object_key)
            except StoreFailure as failure:
                kind = UploadFailed if failure.passing else UploadRefused
                raise kind(f"{self.name}/{object_key}", failure.cause) from failure

    def records(self, patience: Patience) -> Records:
        """Its small objects, each of them written under a condition; nothing is sent."""
        return Records(Store(self._address, self._keys, patience), self._address)

    async def download(
        self, key: str, target: Path, deadline: Deadline, budget: ByteBudget | None = None
    ) -> Downloaded:
        """Bring an object of the bucket to ``target``, which appears only when it is whole.

        ``key`` is the whole one of ``s3://NAME/KEY``: BUCKET_PREFIX is not put before it.

        Raises:
            DownloadFailed: there is no such object, access was denied, it is too large, or cannot be written.
            DownloadInterrupted: the store did not answer, or broke off.
            DeadlineExceeded: the deadline passed (phase "download").
        """
        address = f"s3://{self.name}/{key}"
        partial = target.with_name(f".{target.name}.partial")
        async with deadline.enforce("download"):
            try:
                return await self._fetch(key, partial, target, budget)
            except StoreFailure as failure:
                kind = DownloadInterrupted if failure.passing else DownloadFailed
                raise kind(address, failure.cause) from failure
            except OSError as error:
                raise DownloadFailed(address, f"it cannot be written ({error.strerror})") from error
            finally:
                partial.unlink(missing_ok=True)

    async def _fetch(self, key: str, partial: Path, target: Path, budget: ByteBudget | None) -> Downloaded:
        found = await self._reading_store.get(key, BLOCK_BYTES)
        if budget is not None:
            budget.take(found.size_bytes, f"s3://{self.name}/{key}")
        digest = hashlib.sha256()
        async with opened(lambda: partial.open("wb")) as file:
            async for block in found.blocks:
                # One thread hop per block: a volume may be slow, and the event loop must not wait for it.
                await asyncio.to_thread(_write, file, digest, block)
        await asyncio.to_thread(partial.replace, target)
        return Downloaded(found.size_bytes, digest.hexdigest(), found.content_type)


def _missing(settings: Settings) -> list[str]:
    """What is needed besides the settings that are given."""
    given = {
        "BUCKET_ENDPOINT_URL": settings.bucket_endpoint_url,
        "BUCKET_ACCESS_KEY_ID": settings.bucket_access_key_id,
        "BUCKET_SECRET_ACCESS_KEY": settings.bucket_secret_access_key,
    }
    others = {"BUCKET_NAME": settings.bucket_name, "BUCKET_PUBLIC_URL": settings.bucket_public_url}
    cause = next((name for name, value in (given | others).items() if value is not None), None)
    if cause is None:
        return []
    return [f"{name}: is missing, but {cause} is set." for name, value in given.items() if value is None]


async def _probe(store: Store, key: str) -> None:
    """Write, read and delete."""
    await store.put(key, _PROBE)
    content = b"".join([bytes(block) async for block in (await store.get(key)).blocks])
    if content != _PROBE:
        raise StoreFailure(Fault.OTHER, "it gives back something else than was stored")
    try:
        await store.delete(key)
    except StoreFailure as failure:
        if failure.fault is not Fault.PERMISSION:
            raise
        event("bucket_probe_stays", WARNING, key=key, cause=failure.cause)


def _write(file: BinaryIO, digest: hashlib._Hash, block: bytes) -> None:
    file.write(block)
    digest.update(block)


def _inline(key: str) -> str:
    """``Content-Disposition``: a browser shows the file, and saves it under its name (RFC 6266, RFC 8187)."""
    return f"inline; filename*=UTF-8''{quote(key.rsplit('/', 1)[-1], safe='', errors='replace')}"
