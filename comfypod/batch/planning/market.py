"""What pods cost: offers, and how long each of them takes for what is to be planned. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from comfypod.batch.documents import GIGABYTE, Asset, Offer
from comfypod.batch.planning.demands import Demands
from comfypod.batch.planning.learned import LearnedSpeeds, kind_of
from comfypod.batch.planning.table import Table

HOUR: Final = 3600.0
_COMPUTATION_BYTES: Final = 2 * GIGABYTE
"""Of GPU memory beside the weights: latents, activations, and what CUDA itself takes."""


@dataclass(frozen=True, eq=False)
class Market:
    """The offers of a plan, by number, what is wanted, and what is to be made."""

    offers: tuple[Offer, ...]
    assets: Mapping[str, Asset]
    table: Table
    demands: Demands
    learned: LearnedSpeeds

    @cached_property
    def in_image(self) -> frozenset[int]:
        """Files that come with the image."""
        keys = self.table.keys
        return frozenset(file for file, key in enumerate(keys) if self.assets[key].comes_with_image)

    def memory_bytes(self, bases: frozenset[int]) -> int:
        """Of the GPU, for items with these bases: the largest of the files, and room for the computation.

        ComfyUI loads text encoders, models and VAEs in turn, so only the largest counts.
        """
        if self.demands.gpu_memory_bytes is not None:
            return self.demands.gpu_memory_bytes
        return max((self.assets[self.table.keys[file]].size_bytes for file in bases), default=0) + _COMPUTATION_BYTES

    def speeds(self, bases: frozenset[int]) -> tuple[float, ...]:
        """Megapixel-steps per second of items with these bases, by offer."""
        kind = kind_of(self.table.keys[file] for file in bases)
        return tuple(self.learned.speed(offer, kind) for offer in self.offers)

    def expected_seconds(self, offer: int, first: float, rest: float) -> float:
        """A pod's paid time: until the first item can run, and the rest, interruptions included.

        Each interruption costs what it took until the first item could run once more, on another host.
        """
        begin = self.offers[offer].setup_seconds + first
        return begin + rest * (1.0 + self.offers[offer].interruptions_per_hour * begin / HOUR)

    def dollars(self, offer: int, seconds: float, payload_bytes: int) -> float:
        """Of a pod, GPU and disk."""
        return seconds / HOUR * self.dollars_per_hour(offer, payload_bytes)

    def dollars_per_hour(self, offer: int, payload_bytes: int) -> float:
        """Of a pod that holds so much of model files, and the tool chain."""
        rented = self.offers[offer]
        disk = (payload_bytes + self.demands.tool_chain_bytes) / GIGABYTE
        return rented.dollars_per_hour + rented.disk_dollars_per_gigabyte_hour * disk


def in_reach(offers: Sequence[Offer], most: int = 16) -> tuple[Offer, ...]:
    """The offers that are worth a look: the cheapest for their work, of each size of memory at least the best."""
    ranked = sorted(offers, key=lambda offer: (offer.dollars_per_hour / offer.megapixel_steps_per_second, offer.gpu))
    chosen: list[Offer] = []
    for offer in ranked:
        if len(chosen) < most or all(offer.memory_bytes > other.memory_bytes for other in chosen):
            chosen.append(offer)
    return tuple(chosen)
