"""What a plan has to keep to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfypod.batch.documents import GIGABYTE, Objective

PAYLOAD_CAP_BYTES: Final = 120 * GIGABYTE
TOOL_CHAIN_BYTES: Final = 12 * GIGABYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a plan has to keep to, and what it is to be good at.

    Args:
        objective: of the order on each pod: ``cost``, the shortest time; ``early``, the smallest mean time until an
            item is there; ``balanced``, something of both. How many pods there are follows from the deadline.
        deadline_seconds: from the moment in which pods are rented until the last one ends.
        payload_cap_bytes: model files on one pod.
        tool_chain_bytes: what a pod's disk holds beside them: the image, and room for results.
        least_pods: even if fewer were cheaper.
        gpu_memory_bytes: that every item needs; without it, its largest base file and room for the computation.
    """

    objective: Objective = "balanced"
    deadline_seconds: float | None = None
    budget_dollars: float | None = None
    payload_cap_bytes: int = PAYLOAD_CAP_BYTES
    tool_chain_bytes: int = TOOL_CHAIN_BYTES
    least_pods: int = 1
    most_pods: int | None = None
    gpu_memory_bytes: int | None = None
