"""How much of something one tenant has at once, in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from comfypod.errors import ComfyPodError


class Places:
    """So many for each tenant; ``refusal`` is what the next one hears."""

    def __init__(self, most: int, refusal: ComfyPodError) -> None:
        self._most = most
        self._refusal = refusal
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, tenant: str) -> Iterator[None]:
        """Have a place for as long as the body runs. Raises the refusal."""
        if self._taken[tenant] >= self._most:
            raise self._refusal
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]
