"""Small objects of a bucket that several write, each under the condition that nobody else has."""

from __future__ import annotations

from comfypod.storage.buckets.address import BucketAddress
from comfypod.storage.buckets.store import Record, Store

LARGEST_RECORD_BYTES = 16 * 1024**2
"""What would be more is no record: a job's answer has less than 10 MB."""


class Records:
    """Objects by key, without BUCKET_PREFIX. All methods raise `StoreFailure`."""

    def __init__(self, store: Store, address: BucketAddress) -> None:
        self._store = store
        self._address = address

    def target(self, key: str) -> str:
        """``bucket/key``, as errors name it."""
        return f"{self._address.bucket}/{self._address.object_key(key)}"

    async def read(self, key: str) -> Record | None:
        """The object as it is now, or None."""
        return await self._store.read(self._address.object_key(key), LARGEST_RECORD_BYTES)

    async def create(self, key: str, content: bytes) -> str | None:
        """Write the object if there is none, and return its ETag; None: see `Store.put_if`."""
        return await self._store.put_if(self._address.object_key(key), content, None)

    async def replace(self, key: str, content: bytes, etag: str) -> str | None:
        """Write the object if it still has this ETag, and return its new one; None: see `Store.put_if`."""
        return await self._store.put_if(self._address.object_key(key), content, etag)

    async def overwrite(self, key: str, content: bytes) -> None:
        """Write the object, whatever is there."""
        await self._store.put(self._address.object_key(key), content)
