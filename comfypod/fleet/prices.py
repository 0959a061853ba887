"""What a second of a worker costs on RunPod, by its pool of GPUs. Pure.

docs.runpod.io, table of serverless GPU prices, August 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from comfypod.errors import ConfigurationError

DOLLARS_PER_SECOND: Final[Mapping[str, float]] = {
    "AMPERE_16": 0.00016,
    "AMPERE_24": 0.00019,
    "ADA_24": 0.00031,
    "AMPERE_48": 0.00034,
    "ADA_48_PRO": 0.00053,
    "AMPERE_80": 0.00076,
    "ADA_80_PRO": 0.00116,
    "HOPPER_141": 0.00155,
    "BLACKWELL_96": 0.00111,
    "BLACKWELL_180": 0.00240,
}


def price_of(pool: str) -> float:
    """Dollars per second.

    Raises:
        ConfigurationError: there is no such pool.
    """
    if pool not in DOLLARS_PER_SECOND:
        raise ConfigurationError([f"There is no pool {pool[:40]!r}; there are {', '.join(DOLLARS_PER_SECOND)}."])
    return DOLLARS_PER_SECOND[pool]
