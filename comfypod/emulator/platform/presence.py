"""The workers that an endpoint has heard of, and the stops that each has still to be told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class _Worker:
    seen: float
    is_unhealthy: bool = False


@dataclass(slots=True)
class _Stops:
    noted: float
    job_ids: list[str]


class Presence:
    """Who is there. A worker exists from its first sign of life until it is forgotten."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        # Also for workers that were not heard of yet: one may have outlived an earlier emulator.
        self._stops: dict[str, _Stops] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._workers)

    def __contains__(self, worker_id: object) -> bool:
        return worker_id in self._workers

    def hear(self, worker_id: str, now: float) -> None:
        """Note that the worker gave a sign of life."""
        self._workers.setdefault(worker_id, _Worker(now)).seen = now

    def judge(self, worker_id: str, *, is_unhealthy: bool) -> None:
        """Note what the worker said about its health."""
        if worker := self._workers.get(worker_id):
            worker.is_unhealthy = is_unhealthy

    def unhealthy(self) -> set[str]:
        """The workers whose fitness checks failed."""
        return {worker_id for worker_id, worker in self._workers.items() if worker.is_unhealthy}

    def forget(self, worker_id: str) -> None:
        """The worker is gone; nobody needs to be told anything."""
        self._workers.pop(worker_id, None)
        self._stops.pop(worker_id, None)

    def forget_silent(self, before: float) -> None:
        """Forget every worker that was last heard of at ``before`` or earlier, and what those were to be told."""
        for worker_id in [worker_id for worker_id, worker in self._workers.items() if worker.seen <= before]:
            self.forget(worker_id)
        for worker_id in [worker_id for worker_id, stops in self._stops.items() if stops.noted <= before]:
            if worker_id not in self._workers:
                del self._stops[worker_id]

    def tell_to_stop(self, worker_id: str, job_ids: Iterable[str], now: float) -> None:
        """Have the worker told to stop these jobs."""
        if job_ids := list(job_ids):
            stops = self._stops.setdefault(worker_id, _Stops(now, []))
            stops.noted = now
            stops.job_ids.extend(job_ids)

    def take_stops(self, worker_id: str) -> list[str]:
        """The jobs that the worker must stop; each is told once."""
        stops = self._stops.pop(worker_id, None)
        return stops.job_ids if stops is not None else []

    def has_stops(self, worker_id: str) -> bool:
        """Whether the worker has still to hear of a stop."""
        return worker_id in self._stops
