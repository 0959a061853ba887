"""The right to write to a request's message: how long it lasts, and what follows from that. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from comfypod.discord.origin import FRONT_END

LEASE_SECONDS = 20.0


def lease_of(key: str) -> str:
    """Its name."""
    return f"{FRONT_END}:{key}"


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """``lease_seconds`` is how long what a dead process showed is still its own."""

    lease_seconds: float = LEASE_SECONDS

    @property
    def renewed_after_seconds(self) -> float:
        """The age at which it is renewed."""
        return self.lease_seconds / 4

    @property
    def write_seconds(self) -> float:
        """How long writing progress may take: with the lease's age before it, less than the lease lasts."""
        return self.lease_seconds * 0.7

    @property
    def claim_seconds(self) -> float:
        """For how long an end that is to be told is one process's."""
        return self.lease_seconds * 1.5

    @property
    def asked_again_after_seconds(self) -> float:
        """How long a lease that another process has is not asked for: each question is a write."""
        return self.lease_seconds / 2
