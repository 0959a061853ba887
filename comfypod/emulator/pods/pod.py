"""One emulated pod: what it was asked to be, where it stands, and how both APIs tell of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from comfypod.emulator.fleet.billing import WorkerBill

DISK_DOLLARS_PER_GIGABYTE_HOUR = 0.10 / 730
"""Of a running pod (docs.runpod.io, "Pod pricing": $0.10 per GB and month)."""
_SECONDS_PER_HOUR = 3600.0


class Status(StrEnum):
    """As REST v2 has it (``PodStatus`` of its openapi.json)."""

    PROVISIONING = "PROVISIONING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    ERROR = "ERROR"
    TERMINATED = "TERMINATED"


LIVE = frozenset({Status.PROVISIONING, Status.STARTING, Status.RUNNING})
_ACTIONS: Mapping[Status, Sequence[str]] = {
    Status.PROVISIONING: ("stop", "terminate"),
    Status.STARTING: ("stop", "terminate"),
    Status.RUNNING: ("stop", "restart", "terminate"),
    Status.EXITED: ("start", "terminate"),
    Status.ERROR: ("start", "terminate"),
    Status.TERMINATED: (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOrder:
    """What a client asks for, by whichever API."""

    name: str
    gpu: str
    image: str
    args: str
    environment: Mapping[str, str]
    disk_gigabytes: int
    cloud: str = "SECURE"
    bid: float | None = None
    """Dollars per hour; None: at the full price."""


@dataclass(slots=True)
class EmulatedPod:
    """A pod from its creation on."""

    id: str
    order: PodOrder
    dollars_per_hour: float
    key: str = field(repr=False)
    """Its own, by which it may act on itself."""
    status: Status = Status.PROVISIONING
    last_status_change: str = ""
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    restarts: int = 0
    pid: int | None = None
    starts: bool = True
    """False: it never gets beyond STARTING."""
    has_gpu: bool = True
    bill: WorkerBill = field(default_factory=lambda: WorkerBill(bill_initializing=True))
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """It is to stop running; what it is to be then is in ``next_status``."""
    next_status: Status = Status.EXITED
    next_change: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def is_live(self) -> bool:
        """Whether it has a GPU."""
        return self.status in LIVE

    def leave(self, status: Status, change: str) -> None:
        """Have it end as this; ``change``: by whom, as ``lastStatusChange`` begins."""
        if not self.leaving.is_set() or status is Status.TERMINATED:
            self.next_status, self.next_change = status, change
        self.leaving.set()

    def note(self, change: str) -> None:
        """Say who changed its state, and when, as the platform does."""
        moment = datetime.now(UTC).strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
        self.last_status_change = f"{change}: {moment}"

    def dollars(self, now: float) -> float:
        """What it has cost, by the second."""
        per_hour = self.dollars_per_hour + self.order.disk_gigabytes * DISK_DOLLARS_PER_GIGABYTE_HOUR
        return self.bill.seconds(now) * per_hour / _SECONDS_PER_HOUR

    def to_rest(self) -> dict[str, Any]:
        """As ``GET /v2/pods/ID`` has it."""
        order = self.order
        is_running = self.status is Status.RUNNING
        return {
            "id": self.id,
            "name": order.name,
            "image": order.image,
            "args": order.args,
            "disk": order.disk_gigabytes,
            "ports": [],
            "env": dict(order.environment),
            "registry": None,
            "status": self.status.value,
            "actions": list(_ACTIONS[self.status]),
            "mounts": {},
            "gpu": {"id": order.gpu, "count": 1},
            "cloud": order.cloud,
            "dataCenterId": "EMULATED-1",
            "cudaVersion": "12.8",
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": self.dollars_per_hour if self.is_live else 0.0,
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": {"uptime": self._uptime(), "ports": []} if is_running else None,
            "createdAt": _rfc3339(self.created_at),
            "startedAt": None if self.started_at is None else _rfc3339(self.started_at),
        }

    def to_graphql(self) -> dict[str, Any]:
        """As GraphQL's ``Pod`` has it; its states are fewer."""
        order = self.order
        desired = "RUNNING" if self.is_live else "TERMINATED" if self.status is Status.TERMINATED else "EXITED"
        return {
            "id": self.id,
            "name": order.name,
            "imageName": order.image,
            "dockerArgs": order.args,
            "env": [f"{name}={value}" for name, value in order.environment.items()],
            "machineId": "emulated",
            "machine": {"podHostId": f"{self.id}-emulated", "gpuDisplayName": order.gpu, "gpuTypeId": order.gpu},
            "desiredStatus": desired,
            "lastStatusChange": self.last_status_change,
            "costPerHr": self.dollars_per_hour,
            "containerDiskInGb": order.disk_gigabytes,
            "volumeInGb": 0,
            "gpuCount": 1,
            "createdAt": _rfc3339(self.created_at),
            "runtime": {"uptimeInSeconds": self._uptime(), "ports": [], "gpus": []}
            if self.status is Status.RUNNING
            else None,
        }

    def to_state(self, now: float) -> dict[str, Any]:
        """For those who look at the emulator itself."""
        return {
            "id": self.id,
            "name": self.order.name,
            "gpu": self.order.gpu,
            "bid": self.order.bid,
            "status": self.status.value,
            "lastStatusChange": self.last_status_change,
            "pid": self.pid,
            "restarts": self.restarts,
            "billed_seconds": self.bill.seconds(now),
            "dollars": round(self.dollars(now), 6),
        }

    def _uptime(self) -> int:
        return 0 if self.started_at is None else int(time.time() - self.started_at)


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
