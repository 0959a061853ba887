"""Files for jobs: their bytes in the bucket, each once for a tenant, and records of them in the store.

The hash is always computed here; what a program says of its file is compared with it, and never trusted. A file is
found by its hash only by the tenant who uploaded it.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from comfypod.deadline import Deadline
from comfypod.errors import AssetInUse, BlobNotFound, NothingFound, OutputUnavailable
from comfypod.files.content import FileContent
from comfypod.gateway.assets.documents import AssetFile, AssetWishes, bucket_key_of, expiry_of
from comfypod.gateway.assets.receiving import Received
from comfypod.gateway.desk import Desk
from comfypod.gateway.outputs import Output, outputs_of, parse_output_id
from comfypod.master.documents import Request
from comfypod.master.records import Asset
from comfypod.master.states import ACTIVE
from comfypod.storage.buckets.bucket import Bucket

STORING_SECONDS = 300.0
SWEPT_AT_ONCE = 100
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Minted:
    """A record that was made; ``is_new`` if its bytes were not there before, ``is_old`` if the record itself was."""

    asset: Asset
    is_new: bool = False
    is_old: bool = False


class Assets:
    """The files of all tenants."""

    def __init__(self, desk: Desk, bucket: Bucket) -> None:
        self._desk = desk
        self._bucket = bucket

    async def keep(self, tenant: str, received: Received, wishes: AssetWishes) -> Minted:
        """Keep what was uploaded; bytes that are there already are not stored again.

        Raises:
            UploadFailed, UploadRefused, DeadlineExceeded: the bucket does not take it.
        """
        known = await self._desk.ask(self._desk.store.asset_by_hash, tenant, received.hash)
        key = known.bucket_key if known else bucket_key_of(tenant, received.hash)
        if known is None:
            deadline = Deadline.after(STORING_SECONDS)
            await self._bucket.upload(FileContent(received.path), key, wishes.content_type, deadline)
        asset = await self._mint(tenant, received.hash, received.size_bytes, key, wishes)
        return Minted(asset, is_new=known is None)

    async def mint(self, tenant: str, known: Asset, wishes: AssetWishes) -> Minted:
        """Another record of the same bytes; the one that is known, if it says the same of them."""
        if known.file_path == wishes.file_path and tuple(known.tags) == wishes.tags:
            return Minted(known, is_old=True)
        return Minted(await self._mint(tenant, known.hash, known.size_bytes, known.bucket_key, wishes))

    async def known(self, tenant: str, content_hash: str) -> Asset:
        """A record of bytes that the tenant uploaded before.

        Raises:
            BlobNotFound: the tenant has no such bytes.
        """
        known = await self._desk.ask(self._desk.store.asset_by_hash, tenant, content_hash)
        if known is None:
            raise BlobNotFound(content_hash)
        return known

    async def asset(self, tenant: str, asset_id: str) -> Asset:
        """An uploaded file.

        Raises:
            NothingFound: the tenant has none of this id.
        """
        found = await self._desk.ask(self._desk.store.asset, tenant, asset_id)
        if found is None:
            raise NothingFound(f"There is no asset {asset_id[:60]!r}")
        return found

    async def output(self, tenant: str, asset_id: str) -> tuple[Request, Output] | None:
        """A file that a job made, and its request; None if the id is no output's.

        Raises:
            NothingFound: the tenant has no such job, or the job has no such output.
        """
        parsed = parse_output_id(asset_id)
        if parsed is None:
            return None
        request = await self._desk.request(tenant, parsed[0])
        outputs = outputs_of(request)
        if parsed[1] >= len(outputs):
            raise NothingFound(f"There is no output {asset_id!r}")
        return request, outputs[parsed[1]]

    async def delete(self, tenant: str, asset_id: str) -> None:
        """Delete a record, and the bytes when no other record has them.

        Raises:
            NothingFound: the tenant has none of this id.
            AssetInUse: a job that has not ended loads it.
            UploadFailed, UploadRefused: the bucket did not delete the bytes; the record is gone.
        """
        asset = await self.asset(tenant, asset_id)
        async for request in self._active(tenant):
            if asset_id in request.origin.get("assets", ()):
                raise AssetInUse(asset_id)
        await self._remove(asset)

    async def sweep(self) -> int:
        """Delete records whose time is over, and bytes that no record has any more; how many records there were.

        Raises:
            UploadFailed, UploadRefused: the bucket did not delete bytes, which stay there.
        """
        expired = await self._desk.ask(self._desk.store.expired_assets, SWEPT_AT_ONCE)
        for asset in expired:
            await self._remove(asset)
        return len(expired)

    async def files(self, tenant: str, asset_ids: Iterable[str]) -> dict[str, AssetFile]:
        """Those of the assets, and of other jobs' outputs, that a tenant's job may load."""
        found: dict[str, AssetFile] = {}
        for asset_id in asset_ids:
            try:
                name, key = await self._file(tenant, asset_id)
            except (NothingFound, OutputUnavailable):
                continue
            found[asset_id] = AssetFile(name, self._bucket.address_of(key))
        return found

    def address(self, output_or_asset: Output | Asset) -> str:
        """Where the bytes can be fetched from by whoever has this address, for as long as the bucket's settings say.

        Raises:
            OutputUnavailable: it has none.
        """
        if output_or_asset.bucket_key is None:
            raise OutputUnavailable(output_or_asset.identifier)
        return self._bucket.url(output_or_asset.bucket_key)[0]

    async def _remove(self, asset: Asset) -> None:
        """Who uploads the same bytes at this very moment may find them gone when the job runs, and uploads again."""
        await self._desk.ask(self._desk.store.delete_asset, asset.tenant, asset.identifier)
        if not await self._desk.ask(self._desk.store.is_bucket_key_used, asset.bucket_key):
            await self._bucket.delete(asset.bucket_key, Deadline.after(STORING_SECONDS))

    async def _file(self, tenant: str, asset_id: str) -> tuple[str, str]:
        found = await self.output(tenant, asset_id)
        if found is None:
            asset = await self.asset(tenant, asset_id)
            return asset.file_path or asset.identifier, asset.bucket_key
        _, output = found
        if output.bucket_key is None:
            raise OutputUnavailable(asset_id)
        return output.name, output.bucket_key

    async def _mint(self, tenant: str, content_hash: str, size_bytes: int, key: str, wishes: AssetWishes) -> Asset:
        now = datetime.now(UTC)
        asset = Asset(
            identifier=str(uuid.uuid4()),
            tenant=tenant,
            hash=content_hash,
            size_bytes=size_bytes,
            content_type=wishes.content_type,
            file_path=wishes.file_path,
            bucket_key=key,
            tags=wishes.tags,
            created_at=now,
            expires_at=expiry_of(wishes, now),
        )
        await self._desk.ask(self._desk.store.add_asset, asset)
        return asset

    async def _active(self, tenant: str) -> AsyncIterator[Request]:
        before: str | None = None
        while page := await self._desk.ask(
            self._desk.store.list, tenant=tenant, states=ACTIVE, before=before, limit=_PAGE
        ):
            for request in page:
                yield request
            before = page[-1].key
