"""Who holds how many GPUs of which type, and for how much. Pure.

A free one goes to whoever asks. Where none is free, whoever pays the full price takes it from an interruptible pod, and
whoever bids more takes it from the lowest bid below theirs (docs.runpod.io, "Pod pricing", before May 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SMALLEST_STEP = 0.001
"""Dollars: by so much a bid must be higher than another; RunPod does not document it."""


class Full(Exception):
    """Nothing is free, and nobody can be displaced."""


@dataclass(slots=True)
class Stock:
    """One type of GPU."""

    gpu: str
    memory_gigabytes: int
    capacity: int
    """How many there are, whoever has them."""
    on_demand_dollars: float
    """Per hour."""
    minimum_bid_dollars: float
    rivals: list[float] = field(default_factory=list)
    """What other users bid for those that they have."""
    held: dict[str, float | None] = field(default_factory=dict)
    """Our pods, by id, and their bids; None: at the full price."""

    @property
    def free(self) -> int:
        """How many nobody has."""
        return max(0, self.capacity - len(self.rivals) - len(self.held))

    @property
    def least_bid(self) -> float:
        """The lowest bid that gets one now."""
        if self.free or not (bids := self._bids()):
            return self.minimum_bid_dollars
        return max(self.minimum_bid_dollars, min(bids) + SMALLEST_STEP)

    def take(self, pod_id: str, bid: float | None) -> str | None:
        """Our pod gets one; answers the id of our pod that loses its own for it, if one does.

        Raises:
            Full: there is none to get.
        """
        if bid is not None and bid < self.minimum_bid_dollars:
            raise Full
        loser = None
        if not self.free:
            loser = self._displace(bid)
        self.held[pod_id] = bid
        return loser

    def leave(self, pod_id: str) -> None:
        """Our pod has none any more."""
        self.held.pop(pod_id, None)

    def rival(self, bid: float) -> str | None:
        """Another user bids; answers the id of our pod that loses its GPU to them, if one does.

        Raises:
            Full: they do not get one.
        """
        loser = None
        if not self.free:
            loser = self._displace(bid)
        self.rivals.append(bid)
        return loser

    def _displace(self, bid: float | None) -> str | None:
        """Have the lowest bid below this one lose; None: it was another user's."""
        ours = {pod_id: own for pod_id, own in self.held.items() if own is not None}
        lowest = min([*ours.values(), *self.rivals], default=None)
        if lowest is None or (bid is not None and bid < lowest + SMALLEST_STEP):
            raise Full
        if lowest in self.rivals:
            self.rivals.remove(lowest)
            return None
        loser = next(pod_id for pod_id, own in ours.items() if own == lowest)
        self.leave(loser)
        return loser

    def _bids(self) -> list[float]:
        return [*self.rivals, *(bid for bid in self.held.values() if bid is not None)]


def default_market() -> Mapping[str, Stock]:
    """Four types of RunPod's, with prices of the right size; they are invented: nothing publishes those of pods."""
    rows = (
        ("NVIDIA RTX A4000", 16, 6, 0.17, 0.09),
        ("NVIDIA A40", 48, 4, 0.35, 0.20),
        ("NVIDIA RTX A6000", 48, 2, 0.33, 0.25),
        ("NVIDIA GeForce RTX 4090", 24, 4, 0.44, 0.29),
    )
    return {row[0]: Stock(*row) for row in rows}
