"""The S3 protocol by way of obstore: the one place that knows the library, its errors and its traps.

Facts about obstore 0.12 (object_store 0.14 beneath), from its source and tried against a server that checks signatures:

- Every store starts from the process's AWS_* variables (``AmazonS3Builder::from_env``, pyo3-object_store
  ``aws/store.rs``). What would change where a request goes or who signs it is therefore always given here, keys by
  ``credential_provider``: only that keeps AWS_SESSION_TOKEN out, and the instance's metadata service unasked.
  Left to them is how objects are stored (AWS_SERVER_SIDE_ENCRYPTION and the like).
- It sends no checksum headers or trailers unless told to (``Request::with_payload``, ``aws/client.rs``). AWS's own SDKs
  do by now, which "some 3rd party S3 compatible services currently do not support" (docs.aws.amazon.com/sdk-for-cpp,
  "MD5 Checksum Fallback"). Where nothing else protects the body, the signature covers its SHA-256 (`_is_protected`).
- ``delete`` uses DeleteObjects, which Google and RunPod do not have, unless ``disable_bulk_delete`` is set.
- A read timeout runs from the request's start to the answer's first byte, and from there between two bytes.
- A conditional PUT is one request with If-None-Match or If-Match. After a broken connection it is not sent again, since
  it is not idempotent; after a 5xx it is, and may then be refused because of itself (``client/retry.rs``). So what a
  refusal means only the object tells that is there.
- A 412, and a 409 of two writers at the same moment, are told alike (``aws/mod.rs``, ``put_opts``).
- A writer that is dropped forgets its multipart upload and leaves its parts in the bucket: `Store.put_parts` ends it.
  What a killed process leaves behind only a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) removes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from mmap import mmap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store
from pydantic import SecretStr

from comfypod.storage.buckets.address import BucketAddress, is_key
from comfypod.storage.buckets.faults import Fault, StoreFailure, explained

if TYPE_CHECKING:
    from obstore import AsyncWritableFile, Attributes, BytesStream, PutMode
    from obstore.store import S3Credential

Block = bytes | mmap
"""Some of a file's content, not copied again."""

WHOLE_BYTES = 16 * 1024**2
"""Up to this size a file goes in one request, which a picture nearly always does; in parts it would take three."""
PART_BYTES = 6 * 1024**2
"""Size of a larger one's parts: whole huge pages, over the 5 MiB that S3 asks for. 10,000 of them at most: 58 GiB."""
PARTS_AT_ONCE = 2
PARTS_IN_MEMORY = PARTS_AT_ONCE + 1
"""What one large upload holds: the parts on their way, and the one that waits to go."""
ABORT_SECONDS = 2.0
"""How long an upload that was given up may hold up its caller; after that its end goes on in the background."""


@dataclass(frozen=True, slots=True)
class BucketKeys:
    """Who signs."""

    access_key_id: SecretStr
    secret_access_key: SecretStr


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may wait for its answer, or between two bytes of it; and how long it is sent again.

    A part that takes longer than ``stall_seconds`` to send counts as unanswered, too.
    """

    stall_seconds: float = 30
    retry_seconds: float = 45
    retries: int = 1_000


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is being read; ``blocks`` can be gone through once."""

    size_bytes: int
    content_type: str | None
    blocks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """A small object as it was read; ``etag`` names this version of it, ``stored_at`` is by the store's clock (UTC).

    The moment has whole seconds only: it comes as an HTTP date.
    """

    content: bytes
    etag: str
    stored_at: datetime


class Store:
    """A client of one bucket. Nothing is sent before a method that says so."""

    def __init__(self, address: BucketAddress, keys: BucketKeys, patience: Patience = PATIENCE) -> None:
        self._store = _open(address, keys, patience)

    async def put(self, key: str, content: Block, attributes: Mapping[str, str] = MappingProxyType({})) -> None:
        """Store an object in one request, over what is there; ``attributes`` are headers to store with it.

        Raises:
            StoreFailure: the store refused, or could not be reached for as long as its `Patience` says.
        """
        with explained():
            await obstore.put_async(
                self._store, _checked(key), content, attributes=dict(attributes), use_multipart=False
            )

    async def put_parts(self, key: str, parts: AsyncIterator[Block], attributes: Mapping[str, str]) -> None:
        """Store an object from parts of `PART_BYTES`, like `put`; only the last one may be shorter.

        An upload that fails or is cancelled leaves no parts in the bucket. Raises `StoreFailure`.
        """
        writer = obstore.open_writer_async(
            self._store,
            _checked(key),
            attributes=dict(attributes),
            buffer_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
        try:
            first = await anext(parts)
            with explained():
                await _begin(writer, first)
            del first  # it is in memory for as long as anybody names it
            async for part in parts:
                with explained():
                    await writer.write(part)
        except BaseException as error:
            await _abort(writer, error)
            raise
        with explained():
            await _complete(writer)

    async def get(self, key: str, block_bytes: int = PART_BYTES) -> StoredObject:
        """Ask for an object; its blocks are read afterwards. Both raise `StoreFailure`."""
        with explained():
            result = await obstore.get_async(self._store, _checked(key))
            stream = result.stream(min_chunk_size=block_bytes)
        return StoredObject(result.meta["size"], result.attributes.get("Content-Type"), _blocks(stream))

    async def put_if(self, key: str, content: bytes, etag: str | None) -> str | None:
        """Store an object if it still has this ``etag``, or with None if there is none yet; return its new one.

        Returns:
            None where the condition does not hold, or two wrote at the same moment: look at what is there. It may even
            be what this call has written.

        Raises:
            StoreFailure: the store refused, or did not answer; in the latter case it may have been written.
        """
        mode: PutMode = "create" if etag is None else {"e_tag": etag}
        attributes: Attributes = {"Content-Type": "application/json"}
        try:
            with explained():
                result = await obstore.put_async(
                    self._store, _checked(key), content, attributes=attributes, mode=mode, use_multipart=False
                )
        except StoreFailure as failure:
            if failure.fault is Fault.CONDITION:
                return None
            raise
        return _named(result["e_tag"])

    async def read(self, key: str, limit_bytes: int) -> Record | None:
        """A small object as a whole, or None if there is none. Raises `StoreFailure`."""
        try:
            with explained():
                result = await obstore.get_async(self._store, _checked(key))
                is_small = result.meta["size"] <= limit_bytes
                content = bytes(await result.bytes_async()) if is_small else b""
        except StoreFailure as failure:
            if failure.fault is Fault.NO_OBJECT:
                return None
            raise
        if not is_small:
            raise StoreFailure(Fault.OTHER, f"the object has {result.meta['size']:,} bytes, far too many")
        return Record(content, _named(result.meta["e_tag"]), result.meta["last_modified"])

    async def delete(self, key: str) -> None:
        """Delete an object, or do nothing if there is none. Raises `StoreFailure`."""
        with explained():
            await obstore.delete_async(self._store, _checked(key))

    def presigned_get(self, key: str, lifetime_seconds: int) -> tuple[str, datetime]:
        """An address from which whoever has it may fetch the object, and the moment (UTC) until which it works.

        Nothing is sent.

        Raises:
            StoreFailure: no object can have this key.
        """
        lifetime = timedelta(seconds=lifetime_seconds)
        # The signature takes its own moment, also in whole seconds, and no sooner than this one.
        expiry = datetime.now(UTC).replace(microsecond=0) + lifetime
        with explained():
            return obstore.sign(self._store, "GET", _checked(key), lifetime), expiry

    def presigned_put(self, key: str, lifetime_seconds: int) -> str:
        """An address to which whoever has it may upload the object, like `presigned_get`."""
        with explained():
            return obstore.sign(self._store, "PUT", _checked(key), timedelta(seconds=lifetime_seconds))


def _open(address: BucketAddress, keys: BucketKeys, patience: Patience) -> S3Store:
    def credential() -> S3Credential:
        return {
            "access_key_id": keys.access_key_id.get_secret_value(),
            "secret_access_key": keys.secret_access_key.get_secret_value(),
            "token": None,
            "expires_at": None,
        }

    virtual = address.addressing == "virtual"
    return S3Store(
        address.bucket,
        # By this name, because AWS_ENDPOINT_URL_S3 would go before what is given as `endpoint`.
        aws_endpoint_url_s3=address.bucket_url if virtual else address.endpoint_url,
        region=address.region,
        virtual_hosted_style_request=virtual,
        s3_express=False,
        skip_signature=False,
        unsigned_payload=_is_protected(address.endpoint_url),
        request_payer=False,
        conditional_put="etag",
        disable_bulk_delete=True,
        credential_provider=credential,
        client_options={
            "allow_http": address.endpoint_url.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(5, patience.stall_seconds)),
            "read_timeout": timedelta(seconds=patience.stall_seconds),
            "timeout": timedelta(days=1),  # the default of 30 s cuts long downloads; deadlines end what is too long
        },
        retry_config={
            "max_retries": patience.retries,
            "retry_timeout": timedelta(seconds=patience.retry_seconds),
            "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    )


def _is_protected(endpoint_url: str) -> bool:
    """Whether nobody can change what is sent on its way, so that its hash need not be signed.

    TLS sees to that, and what stays on this machine has no way. Amazon's own client decides in the same manner for TLS:
    botocore 1.44, ``auth.py``, ``S3SigV4Auth._should_sha256_sign_payload``.
    """
    parts = urlsplit(endpoint_url)
    try:
        is_here = ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_here = parts.hostname == "localhost"
    return parts.scheme == "https" or is_here


def _named(etag: str | None) -> str:
    if etag is None:
        raise StoreFailure(Fault.OTHER, "it gives its objects no ETag")
    return etag


def _checked(key: str) -> str:
    if not is_key(key):
        cause = "the key is empty or too long, or has an empty part, '.', '..' or a control character"
        raise StoreFailure(Fault.NAME, cause)
    return key


async def _blocks(stream: BytesStream) -> AsyncIterator[bytes]:
    while True:
        with explained():
            block = await anext(stream, None)
        if block is None:
            return
        yield block


async def _begin(writer: AsyncWritableFile, first: Block) -> None:
    """Write the first block, which begins the multipart upload.

    A cancellation lets go of this without ending it: an upload whose beginning was not answered yet is unknown to the
    writer, and would stay in the bucket. The writer does one thing after the other, so that the abort waits for it.
    """
    beginning = asyncio.ensure_future(writer.write(first))
    beginning.add_done_callback(_forget)
    await asyncio.shield(beginning)


async def _abort(writer: AsyncWritableFile, error: BaseException) -> None:
    # Leaving the writer's context with an error is how its abort is called.
    ending = asyncio.ensure_future(writer.__aexit__(type(error), error, None))
    ending.add_done_callback(_forget)
    await asyncio.wait({ending}, timeout=ABORT_SECONDS)


async def _complete(writer: AsyncWritableFile) -> None:
    """Send the parts that are left, and make an object of them.

    A cancellation lets go of this without ending it: only the writer knows the multipart upload, and it has given it up
    to this call. So the parts on their way stay in memory a little longer than their upload has a place there, and the
    object may yet come to be, under a key that a repetition of the job writes again.
    """
    completing = asyncio.ensure_future(writer.close())
    completing.add_done_callback(_forget)
    await asyncio.shield(completing)


def _forget(future: asyncio.Future[Any]) -> None:
    """Take note of the outcome of what nobody waits for any more."""
    if not future.cancelled():
        future.exception()
