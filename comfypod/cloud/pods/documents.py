"""What RunPod's two APIs of pods are told and tell. Pure.

REST v2: ``api-reference-v2/openapi.json`` of runpod/docs (August 2026). GraphQL: docs.runpod.io, "Manage Pods"; spot as
before its removal in May 2026.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

GIGABYTE = 10**9
ENDED_STATUSES = frozenset({"EXITED", "ERROR", "TERMINATED"})
"""A word that is not documented may be of a pod that works: it is no end."""

EndReason = Literal["outbid", "terminated", "stopped", "ended by RunPod", "exited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """A pod that is wanted."""

    name: str
    image: str
    gpu: str
    """RunPod's id of the type: ``NVIDIA RTX A4000``."""
    command: Sequence[str]
    """In place of the image's own."""
    environment: Mapping[str, str] = field(repr=False)
    disk_bytes: int

    @property
    def _disk_gigabytes(self) -> int:
        return max(1, -(-self.disk_bytes // GIGABYTE))

    @property
    def _arguments(self) -> str:
        """Quoted as for a shell; how RunPod splits it is not documented, so nothing should need the quotes."""
        return shlex.join(self.command)

    def to_rest(self) -> dict[str, Any]:
        """The body of ``POST /v2/pods``: no ports, no volume; the disk goes with the container."""
        return {
            "name": self.name,
            "image": self.image,
            "gpu": {"id": self.gpu, "count": 1},
            "cloud": "SECURE",
            "disk": self._disk_gigabytes,
            "args": self._arguments,
            "env": dict(self.environment),
        }

    def to_graphql(self, bid_dollars_per_hour: float) -> dict[str, Any]:
        """The input of ``podRentInterruptable``."""
        return {
            "bidPerGpu": bid_dollars_per_hour,
            "cloudType": "SECURE",
            "gpuCount": 1,
            "gpuTypeId": self.gpu,
            "name": self.name,
            "imageName": self.image,
            "dockerArgs": self._arguments,
            "containerDiskInGb": self._disk_gigabytes,
            "volumeInGb": 0,
            "env": [{"key": name, "value": value} for name, value in self.environment.items()],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudPod:
    """A pod as RunPod tells of it."""

    id: str
    name: str
    status: str
    """``PROVISIONING``, ``STARTING``, ``RUNNING``, ``EXITED``, ``ERROR``, ``TERMINATED``."""
    gpu: str
    dollars_per_hour: float
    """0.0 once it does not run."""
    created_at: float
    """0.0: it is not told."""
    started_at: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_live(self) -> bool:
        """Whether it has a machine, or may get one."""
        return self.status not in ENDED_STATUSES

    @classmethod
    def of_rest(cls, document: Mapping[str, Any]) -> CloudPod:
        """Of ``GET /v2/pods``.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is no pod.
        """
        gpu = document.get("gpu") or {}
        environment = document.get("env") or {}
        return cls(
            id=_plain_id(document["id"]),
            name=str(document["name"]),
            status=str(document["status"]),
            gpu=str(gpu.get("id", "")),
            dollars_per_hour=float(document.get("cost") or 0.0),
            created_at=_moment(document.get("createdAt")) or 0.0,
            started_at=_moment(document.get("startedAt")),
            environment={str(name): str(value) for name, value in environment.items()},
        )


@dataclass(frozen=True, slots=True)
class GPUType:
    """A type of GPU, and what it costs now, in dollars per hour."""

    id: str
    memory_bytes: int
    on_demand_dollars: float
    is_available: bool

    @classmethod
    def of_rest(cls, document: Mapping[str, Any]) -> GPUType:
        """Of ``GET /v2/catalog/gpus?include=AVAILABILITY``; the secure cloud's price.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is no type.
        """
        price = float(document["price"]["secure"])
        is_there = bool(document.get("secure", True)) and price > 0 and document.get("availability") != "NONE"
        return cls(str(document["id"]), int(document["memory"]) * GIGABYTE, price, is_there)


def spot_prices(data: Mapping[str, Any]) -> dict[str, float]:
    """The least bid of each type that can be bid for, of the answer to ``gpuTypes``."""
    found = {}
    for item in data.get("gpuTypes") or []:
        price = (item.get("lowestPrice") or {}).get("minimumBidPrice")
        if isinstance(price, int | float) and not isinstance(price, bool) and price > 0:
            found[str(item["id"])] = float(price)
    return found


def end_reason(status: str, last_status_change: object) -> EndReason:
    """Why a pod does not run, of its state and the platform's sentence ``lastStatusChange``.

    ``Outbid: <date>`` is the one cause that the platform records; else it says by whom, spelt ``Runpod`` or ``RunPod``
    (runpodctl, ``internal/podstate/podstate.go``).
    """
    text = last_status_change.lower() if isinstance(last_status_change, str) else ""
    if "outbid" in text:
        return "outbid"
    if "by runpod" in text:
        return "ended by RunPod"
    if "by user" in text:
        return "terminated" if status == "TERMINATED" else "stopped"
    return "exited"


def is_about_money(text: str) -> bool:
    """Whether a refusal is about the account's balance: nothing else can be rented either."""
    words = text.lower()
    return any(word in words for word in ("balance", "insufficient fund", "credit", "spend limit"))


def is_unknown_field(text: str, name: str) -> bool:
    """Whether GraphQL says that it has no such field, as graphql-js words it."""
    return f'cannot query field "{name.lower()}"' in text.lower() or f"unknown field {name.lower()}" in text.lower()


def _plain_id(value: object) -> str:
    """An id that can stand in a path."""
    text = str(value)
    if not text or not all(letter.isalnum() or letter in "-_" for letter in text) or len(text) > 100:
        raise ValueError("a pod's id is no plain word")
    return text


def _moment(value: object) -> float | None:
    """Seconds since 1970; None where there is none, or not as documented (RFC 3339)."""
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
