"""Files that tenants uploaded, by name; the bytes are in the bucket, and none of the store's business."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from comfypod.master.records import Asset
from comfypod.master.store.schema import ASSETS
from comfypod.master.store.section import Section
from comfypod.master.store.texts import check_name, check_size

MAXIMUM_FILE_PATH = 1000
MAXIMUM_TAGS_BYTES = 8 * 2**10


class Assets(Section):
    """No tenant sees another's."""

    def add_asset(self, asset: Asset) -> None:
        """Keep one; its bytes must be in the bucket by now.

        Raises:
            InvalidRequest: a name in it is empty, too long, or no text.
        """
        for what in ("identifier", "tenant", "hash", "content_type", "bucket_key"):
            check_name(what.replace("_", " "), getattr(asset, what), MAXIMUM_FILE_PATH)
        if asset.file_path is not None:
            check_name("file path", asset.file_path, MAXIMUM_FILE_PATH)
        check_size("The tags", list(asset.tags), MAXIMUM_TAGS_BYTES)
        values = {name: getattr(asset, name) for name in ASSETS.c.keys()} | {"tags": list(asset.tags)}  # noqa: SIM118
        with self._database.write() as connection:
            connection.execute(sa.insert(ASSETS).values(values))

    def asset(self, tenant: str, identifier: str) -> Asset | None:
        """One of a tenant's that has not expired."""
        return self._first(ASSETS.c.tenant == tenant, ASSETS.c.identifier == identifier)

    def asset_by_hash(self, tenant: str, hash: str) -> Asset | None:  # noqa: A002 (the contract's word)
        """The newest of a tenant's with this content that has not expired."""
        return self._first(ASSETS.c.tenant == tenant, ASSETS.c.hash == hash)

    def delete_asset(self, tenant: str, identifier: str) -> bool:
        """Forget one; false if there is none. Its bytes may still be another asset's: see ``is_bucket_key_used``."""
        statement = sa.delete(ASSETS).where(ASSETS.c.tenant == tenant, ASSETS.c.identifier == identifier)
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def is_bucket_key_used(self, bucket_key: str) -> bool:
        """Whether any asset's bytes lie there, expired ones included."""
        query = sa.select(ASSETS.c.identifier).where(ASSETS.c.bucket_key == bucket_key).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def expired_assets(self, limit: int = 100) -> list[Asset]:
        """Those whose time is over, the oldest first: their bytes are to be removed, and then they."""
        query = sa.select(ASSETS).where(ASSETS.c.expires_at <= self._clock()).order_by(ASSETS.c.expires_at)
        with self._database.read() as connection:
            return [_asset(row) for row in connection.execute(query.limit(max(0, limit)))]

    def _first(self, *conditions: sa.ColumnElement[bool]) -> Asset | None:
        is_valid = sa.or_(ASSETS.c.expires_at.is_(None), ASSETS.c.expires_at > self._clock())
        query = sa.select(ASSETS).where(*conditions, is_valid).order_by(ASSETS.c.created_at.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _asset(row)


def _asset(row: sa.Row[Any]) -> Asset:
    fields = dict(row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
    return Asset(**fields | {"tags": tuple(fields["tags"])})
