"""What a fleet needs of the endpoint that its workers serve."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from comfypod.emulator.platform.jobs import Demand


@dataclass(frozen=True, slots=True)
class WorkerActivity:
    """What the endpoint knows of a worker that it has heard of."""

    job_ids: tuple[str, ...] = ()
    is_unhealthy: bool = False
    """Whether it said itself that a fitness check failed."""


class WorkerHost(Protocol):
    """The endpoint, as the fleet sees it."""

    def worker_environment(self, worker_id: str) -> dict[str, str]:
        """The variables that tell the worker where its endpoint is and who it is; ``RUNPOD_POD_ID`` is among them."""

    def demand(self) -> Demand:
        """How much there is to do."""

    def activity(self, worker_ids: Collection[str]) -> Mapping[str, WorkerActivity]:
        """What these workers do, by id; one that has not been heard of, or not for long, is missing."""

    async def stop_jobs(self, worker_id: str) -> None:
        """Tell the worker to stop its running jobs; return when it has heard it, or after a short deadline."""

    def release(self, worker_id: str) -> None:
        """The worker is told to end, or frozen: answer its held requests, and give it no more jobs."""

    def revive(self, worker_id: str) -> None:
        """The worker was frozen and goes on: it may have jobs again, and was not heard of yet."""

    def forget(self, worker_id: str) -> None:
        """The worker's process is gone."""
