"""What the gateway is told: where it listens, by which address programs know it, and how much one tenant may do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from comfypod.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds. Quotas of requests are the store's, and hold over restarts.

    An event stream says something every ``comment_seconds``: the SDK takes one that is silent for 45 s as broken.
    """

    json_bytes: int = 10 * 1000**2
    asset_bytes: int = 200 * 1000**2
    upload_seconds: float = 600.0
    answer_seconds: float = 60.0
    streams_at_once: int = 50
    comment_seconds: float = 15.0
    runsync_seconds: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """Where the gateway is, and how it behaves.

    ``public_url`` is the address that programs know it by, where a proxy is in front; without one, it is what each
    request names. ``poll_seconds``: how often the store is asked what has changed; events come no faster. Uploads are
    kept for ``retention``, if their program does not say how long. ``requires_master``: refuse jobs while no master
    runs, rather than keep them until one comes. ``allows_private_webhooks``: for receivers in one's own network.
    """

    host: str = "127.0.0.1"
    port: int = 8766
    public_url: str | None = None
    poll_seconds: float = 0.5
    retention: timedelta = timedelta(days=30)
    requires_master: bool = False
    allows_private_webhooks: bool = False
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigurationError: every problem at once.
        """
        if problems := [*self._problems()]:
            raise ConfigurationError(problems)

    def _problems(self) -> Iterator[str]:
        if self.public_url is not None and not _is_origin(self.public_url):
            yield f"--public-url {self.public_url[:200]!r} is no address such as https://comfy.example."
        if self.poll_seconds <= 0:
            yield "The store must be asked at intervals longer than 0 s."


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.path in {"", "/"} and not parts.query
        )
    except ValueError:
        return False
