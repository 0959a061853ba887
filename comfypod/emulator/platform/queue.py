"""The order in which jobs are given out: those of low priority behind all others. Pure.

docs.runpod.io, "Send API requests", says of ``policy.lowPriority`` that such a job does not make the endpoint scale up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain

from comfypod.emulator.platform.job import Job


class JobQueue:
    """Jobs that wait for a worker. Each has a place, which a restart keeps."""

    def __init__(self) -> None:
        self._normal: OrderedDict[str, Job] = OrderedDict()
        self._low_priority: OrderedDict[str, Job] = OrderedDict()
        self._first_place = 0
        self._next_place = 0

    def __len__(self) -> int:
        return len(self._normal) + len(self._low_priority)

    def __iter__(self) -> Iterator[Job]:
        """Every job, in the order in which they will be given out."""
        return chain(self._normal.values(), self._low_priority.values())

    @property
    def low_priority_count(self) -> int:
        """How many of the jobs must not make the endpoint grow."""
        return len(self._low_priority)

    def normal(self) -> Iterable[Job]:
        """The jobs that count when the endpoint grows."""
        return self._normal.values()

    def append(self, job: Job) -> None:
        """Put a job behind all others of its priority."""
        job.place = self._next_place
        self._next_place += 1
        self._lane(job)[job.id] = job

    def put_first(self, job: Job) -> None:
        """Put a job before all others of its priority: it had its turn already."""
        self._first_place -= 1
        job.place = self._first_place
        lane = self._lane(job)
        lane[job.id] = job
        lane.move_to_end(job.id, last=False)

    def pop(self) -> Job:
        """Take out the job whose turn it is.

        Raises:
            KeyError: there is none.
        """
        return (self._normal or self._low_priority).popitem(last=False)[1]

    def remove(self, job: Job) -> None:
        """Take out this job."""
        del self._lane(job)[job.id]

    def restore(self, jobs: Iterable[Job]) -> None:
        """Put jobs of an earlier process at the places that they had."""
        for job in sorted(jobs, key=lambda job: job.place):
            self._lane(job)[job.id] = job
            self._first_place = min(self._first_place, job.place)
            self._next_place = max(self._next_place, job.place + 1)

    def _lane(self, job: Job) -> OrderedDict[str, Job]:
        return self._low_priority if job.request.is_low_priority else self._normal
