"""Where a tenant's webhooks go, and where they may: not into the gateway's own network, unless its operator allows."""

from __future__ import annotations

from comfypod.errors import DownloadFailed, WebhookRefused
from comfypod.gateway.desk import Desk
from comfypod.storage.addresses import AddressPolicy, show_address

_EVERYWHERE = "0.0.0.0/0, ::/0"


def webhook_policy(*, allows_private: bool) -> AddressPolicy:
    """Which addresses may be posted to: public ones, or all of them."""
    return AddressPolicy.from_lists(_EVERYWHERE, "") if allows_private else AddressPolicy()


class WebhookAddresses:
    """The addresses that are kept in the store, and the check that each passes before anything is posted."""

    def __init__(self, desk: Desk, policy: AddressPolicy) -> None:
        self._desk = desk
        self._policy = policy

    def checked(self, url: str) -> str:
        """The address, if nothing speaks against it before its name is looked up; the sender looks again.

        Raises:
            WebhookRefused: it is no address for a webhook.
        """
        try:
            return str(self._policy.check_url(url))
        except DownloadFailed as error:
            raise WebhookRefused(show_address(url), str(error.cause)) from error

    async def default(self, tenant: str) -> str | None:
        """Where a tenant wants to be told of jobs that name no address."""
        return await self._desk.ask(self._desk.store.webhook_url, tenant)

    async def set_default(self, tenant: str, url: str | None) -> None:
        """Keep another address, or none.

        Raises:
            WebhookRefused: it is no address for a webhook.
        """
        kept = None if url is None else self.checked(url)
        await self._desk.ask(self._desk.store.set_webhook_url, tenant, kept)
