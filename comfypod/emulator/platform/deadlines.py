"""When to look at which job again, so that a sweep does not look at every one of them. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator


class Deadlines:
    """Moments and ids. An id may be noted more than once, and is reported at each of its moments."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []

    def note(self, moment: float, job_id: str) -> None:
        """Report the job at this moment."""
        heapq.heappush(self._heap, (moment, job_id))

    def passed(self, now: float) -> Iterator[str]:
        """The jobs whose moment has come; what is noted meanwhile for a moment that has passed is reported too."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]
