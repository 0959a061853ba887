"""How much one visitor, or one address, may do. Pure but for the clock.

What is refused says when to come back. Nothing here is kept over a restart.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from comfypod.errors import TooMany
from comfypod.web.site.options import ADDRESS_FACTOR

_MOST_KEYS = 10_000
_SOON_SECONDS = 5.0


class Pace:
    """At most ``most`` times in ``seconds`` for each key, however they are spread (the generic cell rate algorithm)."""

    def __init__(self, what: str, most: int, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._interval = seconds / most
        self._slack = seconds - self._interval
        self._now = now
        self._free_at: dict[str, float] = {}

    def check(self, key: str) -> None:
        """Refuse if the key has nothing left; takes nothing.

        Raises:
            TooMany: it has not.
        """
        wait = self._free_at.get(key, 0.0) - self._now() - self._slack
        if wait > 0:
            raise TooMany(self._what, wait)

    def take(self, key: str) -> None:
        """Count one.

        Raises:
            TooMany: that would be one too many; it is not counted.
        """
        self.check(key)
        if len(self._free_at) >= _MOST_KEYS:
            self._forget()
        self._free_at[key] = max(self._free_at.get(key, 0.0), self._now()) + self._interval

    def _forget(self) -> None:
        """Leave out keys that have everything left; if none has, the oldest half."""
        now = self._now()
        kept = {key: free_at for key, free_at in self._free_at.items() if free_at > now}
        self._free_at = dict([*kept.items()][-_MOST_KEYS // 2 :])


class VisitorPace:
    """A pace for each visitor, and one for each address."""

    def __init__(self, what: str, most_a_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._visitors = Pace(what, most_a_minute, 60.0, now)
        self._addresses = Pace(f"{what}, from your address", most_a_minute * ADDRESS_FACTOR, 60.0, now)

    def take(self, visitor_id: str, address: str) -> None:
        """Count one.

        Raises:
            TooMany: that would be one too many for either.
        """
        self._addresses.check(address)
        self._visitors.take(visitor_id)
        self._addresses.take(address)


class Places:
    """At most ``most`` at the same time for each key."""

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, key: str) -> Iterator[None]:
        """A place for as long as the body runs.

        Raises:
            TooMany: all are taken.
        """
        if self._taken[key] >= self._most:
            raise TooMany(self._what, _SOON_SECONDS)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


def network_of(address: str) -> str:
    """What counts as one address: an IPv6 host has a whole /64 to itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
