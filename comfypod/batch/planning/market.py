"""What pods cost: offers, and how long each of them takes for what is to be planned. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from comfypod.batch.documents import GIGABYTE, Asset, Offer, Signature
from comfypod.batch.planning.demands import Demands
from comfypod.batch.planning.learned import LearnedSpeeds, kind_of

HOUR: Final = 3600.0
_COMPUTATION_BYTES: Final = 2 * GIGABYTE
"""Of GPU memory beside the weights: latents, activations, and what CUDA itself takes."""


@dataclass(frozen=True)
class Market:
    """The offers of a plan, by number, and the sizes of files."""

    offers: tuple[Offer, ...]
    assets: Mapping[str, Asset]
    demands: Demands
    learned: LearnedSpeeds

    def size_bytes(self, keys: frozenset[str]) -> int:
        """To be fetched, of files together."""
        sizes = self.sizes
        return sum(sizes[key] for key in keys)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Of files by key, as they are fetched and kept on a pod: what comes with the image is neither."""
        return {key: 0 if asset.comes_with_image else asset.size_bytes for key, asset in self.assets.items()}

    def memory_bytes(self, signature: Signature) -> int:
        """Of the GPU, for items with this signature: its largest base file, and room for the computation.

        ComfyUI loads text encoders, models and VAEs in turn, so only the largest counts.
        """
        if self.demands.gpu_memory_bytes is not None:
            return self.demands.gpu_memory_bytes
        largest = max((self.assets[key].size_bytes for key in signature.bases), default=0)
        return largest + _COMPUTATION_BYTES

    def speeds(self, signature: Signature) -> tuple[float, ...]:
        """Megapixel-steps per second, by offer."""
        kind = kind_of(signature.bases)
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
