"""Random batches of known shape, the same for the same seed: checkpoints of several families, LoRAs, rows."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from comfypod.batch.documents import GIGABYTE, Asset, Offer
from comfypod.batch.planning.workload import Row

A4000_PER_SECOND = 1.6
"""Megapixel-steps; a picture of 21 takes 13 s."""


@dataclass(frozen=True)
class Family:
    """Checkpoints of one kind, and what an item of it takes."""

    name: str
    gigabytes: float
    work: float
    lora_gigabytes: float


SDXL = Family("sdxl", 7.0, 21.0, 0.2)
MIXED = (Family("sd15", 2.0, 6.0, 0.1), SDXL, Family("flux", 17.0, 63.0, 0.25))


@dataclass(frozen=True)
class Shape:
    """How a batch is made: the popularity of checkpoints and LoRAs falls as in Zipf's law."""

    checkpoints: int
    items: int
    loras: int = 40
    """For each checkpoint."""
    most_loras: int = 3
    """On one item."""
    families: tuple[Family, ...] = (SDXL,)
    zipf: float = 0.95


def catalogue(shape: Shape, seed: int) -> Mapping[str, Asset]:
    """The files: a checkpoint ``checkpoints/N``, its LoRAs ``loras/N-M``; sizes of LoRAs are log-normal."""
    chance = random.Random(seed)  # noqa: S311 (no secret: the same batch again)
    assets = {}
    for number in range(shape.checkpoints):
        family = shape.families[number % len(shape.families)]
        sizes = {f"checkpoints/{number}.safetensors": family.gigabytes}
        for lora in range(shape.loras):
            sizes[f"loras/{number}-{lora}.safetensors"] = family.lora_gigabytes * chance.lognormvariate(0, 0.8)
        for key, size in sizes.items():
            assets[key] = Asset(key=key, size_bytes=round(size * GIGABYTE), entry={"when": "demand"})
    return assets


def rows(shape: Shape, seed: int) -> Iterator[Row]:
    """The items, one by one."""
    chance = random.Random(seed + 1)  # noqa: S311 (no secret: the same batch again)
    checkpoints, loras = _popularity(shape.checkpoints, shape.zipf), _popularity(max(1, shape.loras), shape.zipf)
    numbers, names = range(shape.checkpoints), range(max(1, shape.loras))
    for number in chance.choices(numbers, cum_weights=checkpoints, k=shape.items):
        count = chance.randint(0, shape.most_loras) if shape.loras else 0
        chosen = sorted(set(chance.choices(names, cum_weights=loras, k=count)))
        patches = tuple(f"loras/{number}-{lora}.safetensors" for lora in chosen)
        yield ((f"checkpoints/{number}.safetensors",), patches), shape.families[number % len(shape.families)].work


def a4000(**changes: object) -> Offer:
    """The article's machine: a bid of $0.12, 1576 Mbit/s, eight minutes of set-up."""
    return Offer.model_validate(
        {
            "provider": "example",
            "gpu": "NVIDIA RTX A4000",
            "price_class": "on_demand",
            "dollars_per_hour": 0.12,
            "memory_bytes": 24 * GIGABYTE,
            "megapixel_steps_per_second": A4000_PER_SECOND,
            "download_bytes_per_second": 1576e6 / 8,
            "setup_seconds": 480.0,
            "most_pods": 10_000,
            **changes,
        }
    )


def _popularity(count: int, exponent: float) -> list[float]:
    return list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(count)))
