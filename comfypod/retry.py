"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff_seconds(first: float = 0.2, factor: float = 2.0, longest: float = 10.0) -> Iterator[float]:
    """Delays in seconds without end: growing, capped, with full jitter.

    Full jitter (uniform between 0 and the step) keeps many clients from coming back at the same moment.
    """
    step = first
    while True:
        yield random.uniform(0, step)  # noqa: S311 (not for cryptography)
        step = min(step * factor, longest)
