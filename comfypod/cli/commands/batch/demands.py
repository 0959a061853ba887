"""The options by which it is said what a plan has to keep to: the same for every command that makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from comfypod.batch.planning import Demands

_LIMITS = "Limits"

Objective = Annotated[
    Literal["cost", "early", "balanced"],
    typer.Option(help="What the order on each pod is good at: the shortest time, early results, or both."),
]
Deadline = Annotated[str | None, typer.Option(metavar="6h", help="The last pod ends by then.", rich_help_panel=_LIMITS)]
Budget = Annotated[
    float | None,
    typer.Option(
        metavar="DOLLARS", min=0.0, help="It costs no more; a batch that has spent it pauses.", rich_help_panel=_LIMITS
    ),
]
Pods = Annotated[int | None, typer.Option(min=1, max=10_000, help="At least so many.", rich_help_panel=_LIMITS)]
MostPods = Annotated[int | None, typer.Option(min=1, help="At most so many.", rich_help_panel=_LIMITS)]
PayloadCap = Annotated[
    float, typer.Option(metavar="GB", min=0.001, help="Model files on one pod at most.", rich_help_panel=_LIMITS)
]
GPUMemory = Annotated[
    float | None,
    typer.Option(
        metavar="GB",
        min=0.0,
        help="That every item needs. Default: its largest model file and 2 GB.",
        rich_help_panel=_LIMITS,
    ),
]
PAYLOAD_CAP = 120.0


def demands_of(
    *,
    objective: Literal["cost", "early", "balanced"],
    deadline: str | None,
    budget: float | None,
    pods: int,
    most_pods: int | None,
    payload_cap: float,
    gpu_memory: float | None,
) -> Demands:
    """What these options ask for.

    Raises:
        ConfigurationError: the deadline is no duration.
    """
    from comfypod.batch.documents import GIGABYTE
    from comfypod.batch.planning import Demands
    from comfypod.cli.batch.durations import parse_duration

    return Demands(
        objective=objective,
        deadline_seconds=None if deadline is None else parse_duration(deadline),
        budget_dollars=budget,
        payload_cap_bytes=round(payload_cap * GIGABYTE),
        least_pods=pods,
        most_pods=most_pods,
        gpu_memory_bytes=None if gpu_memory is None else round(gpu_memory * GIGABYTE),
    )
