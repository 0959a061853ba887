"""Tenants: their API keys, of which only hashes are kept, their quotas, and where they want to be told."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from comfypod.errors import AccessKeyNotFound
from comfypod.master.keys import identifier_of, new_secret, secret_hash
from comfypod.master.quotas import Quota
from comfypod.master.records import AccessKey, Tenant
from comfypod.master.store.schema import ACCESS_KEYS, TENANTS
from comfypod.master.store.section import Section
from comfypod.master.store.texts import check_name

MAXIMUM_WEBHOOK_URL = 2000


class Tenants(Section):
    """Who may ask, and for how much."""

    def add_key(self, tenant: str, quota: Quota | None = None) -> str:
        """Make an API key for a tenant, who is made if there is none of this name.

        Args:
            tenant: 1 to 200 printable characters.
            quota: the tenant's from now on, for all its keys; None: as it is.

        Returns:
            The secret, which is shown this once and cannot be found again.
        """
        check_name("tenant", tenant)
        secret, now = new_secret(), self._clock()
        with self._database.write() as connection:
            self._upsert(connection, tenant, {} if quota is None else {"quota": quota.to_json()})
            connection.execute(
                sa.insert(ACCESS_KEYS).values(
                    secret_hash=secret_hash(secret), identifier=identifier_of(secret), tenant=tenant, created_at=now
                )
            )
        return secret

    def tenant_of(self, secret: str) -> Tenant | None:
        """Whose API key this is; None if it is nobody's, or was revoked."""
        query = (
            sa.select(TENANTS)
            .join(ACCESS_KEYS, ACCESS_KEYS.c.tenant == TENANTS.c.name)
            .where(ACCESS_KEYS.c.secret_hash == secret_hash(secret), ACCESS_KEYS.c.revoked_at.is_(None))
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _tenant(row)

    def keys(self, tenant: str | None = None) -> list[AccessKey]:
        """All API keys, or a tenant's, the oldest first; also those that were revoked."""
        columns = (column for column in ACCESS_KEYS.c if column.name != "secret_hash")
        query = sa.select(*columns).order_by(ACCESS_KEYS.c.created_at)
        if tenant is not None:
            query = query.where(ACCESS_KEYS.c.tenant == tenant)
        with self._database.read() as connection:
            return [AccessKey(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 (public)

    def revoke(self, identifier: str) -> None:
        """Let an API key open nothing any more, from the next request on.

        Raises:
            AccessKeyNotFound: there is no such one.
        """
        statement = (
            sa.update(ACCESS_KEYS)
            .where(ACCESS_KEYS.c.identifier == identifier)
            .values(revoked_at=sa.func.coalesce(ACCESS_KEYS.c.revoked_at, sa.literal(self._clock(), _MOMENT)))
        )
        with self._database.write() as connection:
            if not connection.execute(statement).rowcount:
                raise AccessKeyNotFound(identifier)

    def tenants(self) -> list[Tenant]:
        """All that have a key, a quota or a webhook, by name."""
        with self._database.read() as connection:
            return [_tenant(row) for row in connection.execute(sa.select(TENANTS).order_by(TENANTS.c.name))]

    def tenant(self, name: str) -> Tenant | None:
        """One of them."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(TENANTS).where(TENANTS.c.name == name)).first()
        return None if row is None else _tenant(row)

    def set_quota(self, tenant: str, quota: Quota) -> None:
        """A tenant's quota from now on, with or without a key."""
        check_name("tenant", tenant)
        with self._database.write() as connection:
            self._upsert(connection, tenant, {"quota": quota.to_json()})

    def webhook_url(self, tenant: str) -> str | None:
        """Where a tenant wants to be told of every request that names no address of its own."""
        found = self.tenant(tenant)
        return None if found is None else found.webhook_url

    def set_webhook_url(self, tenant: str, url: str | None) -> None:
        """The same from now on; whether the address may be called is the caller's to check."""
        check_name("tenant", tenant)
        if url is not None:
            check_name("webhook's address", url, MAXIMUM_WEBHOOK_URL)
        with self._database.write() as connection:
            self._upsert(connection, tenant, {"webhook_url": url})

    def _upsert(self, connection: sa.Connection, tenant: str, values: dict[str, Any]) -> None:
        first = {"quota": Quota().to_json(), "webhook_url": None, **values}
        statement = self._insert(TENANTS).values(name=tenant, created_at=self._clock(), **first)
        if values:
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
        else:
            connection.execute(statement.on_conflict_do_nothing())


_MOMENT = ACCESS_KEYS.c.revoked_at.type


def _tenant(row: sa.Row[Any]) -> Tenant:
    fields = dict(row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
    return Tenant(**fields | {"quota": Quota.from_json(fields["quota"])})
