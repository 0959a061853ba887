"""When to look at which job again, so that a sweep does not look at every one of them. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

# Below this many entries there is nothing to be gained by clearing out.
_FEW = 64


class Deadlines:
    """One moment for each id, the one that was noted last; an id is reported once, and then not known any more."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        # Holds every id's moment, and those that were overtaken until they come up or are cleared out.
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """How many entries take up memory: never more than about twice the ids."""
        return len(self._heap)

    def note(self, moment: float, job_id: str) -> None:
        """Report the job at this moment, and at none that was noted before."""
        if self._moments.get(job_id) == moment:
            return
        self._moments[job_id] = moment
        heapq.heappush(self._heap, (moment, job_id))
        self._clear_out()

    def forget(self, job_id: str) -> None:
        """Do not report the job."""
        if self._moments.pop(job_id, None) is not None:
            self._clear_out()

    def passed(self, now: float) -> Iterator[str]:
        """The jobs whose moment has come; what is noted meanwhile for a moment that has passed is reported too."""
        while self._heap and self._heap[0][0] <= now:
            moment, job_id = heapq.heappop(self._heap)
            if self._moments.get(job_id) == moment:
                del self._moments[job_id]
                yield job_id

    def _clear_out(self) -> None:
        """A job of a second notes the day that it could have lived, which would stay for as long."""
        if len(self._heap) > _FEW + 2 * len(self._moments):
            self._heap = [(moment, job_id) for job_id, moment in self._moments.items()]
            heapq.heapify(self._heap)
