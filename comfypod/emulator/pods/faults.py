"""What can go wrong with the emulated pod API: which kinds there are, read from a SPEC, planned, counted. Pure.

How a SPEC is written stands in `comfypod.emulator.fault_specs`: ``cut:route=create,when=after`` is a pod that was made
and whose maker never heard of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.emulator.fault_specs import (
    COUNTS,
    LONGEST_SECONDS,
    SECONDS,
    Key,
    Plan,
    number,
    one_of,
    read_spec,
    some_text,
    whole,
    yes_or_no,
)

ROUTES = frozenset({"list", "create", "get", "delete", "action", "gpus", "graphql"})
_ROUTE = {"route": Key(one_of({*ROUTES, "any"}), "any")}
_GPU = {"gpu": Key(some_text)}


@dataclass(frozen=True, slots=True)
class PodKind:
    """One kind of fault; ``on_requests``: it strikes requests on a route, else new pods."""

    keys: Mapping[str, Key]
    on_requests: bool


POD_KINDS: Mapping[str, PodKind] = {
    "latency": PodKind({**COUNTS, **_ROUTE, **SECONDS}, on_requests=True),
    "status": PodKind(
        {**COUNTS, **_ROUTE, "code": Key(whole(400, 599), 500), "acted": Key(yes_or_no, default=False)},
        on_requests=True,
    ),
    "cut": PodKind({**COUNTS, **_ROUTE, "when": Key(one_of({"before", "after"}), "before")}, on_requests=True),
    "never_starts": PodKind({**COUNTS, **_GPU}, on_requests=False),
    "no_gpu": PodKind({**COUNTS, **_GPU}, on_requests=False),
    "slow_start": PodKind({**COUNTS, **_GPU, "seconds": Key(number(0, LONGEST_SECONDS), 60.0)}, on_requests=False),
}


@dataclass(frozen=True, slots=True)
class PodFault:
    """One planned fault; made by `PodFault.parse`."""

    spec: str
    kind: str
    times: int = 1
    after: int = 0
    route: str = "any"
    seconds: float = 0.0
    code: int = 500
    acted: bool = False
    when: str = "before"
    gpu: str | None = None

    @classmethod
    def parse(cls, spec: str) -> PodFault:
        """Read a SPEC; ``str(fault)`` gives it back.

        Raises:
            ValueError: a kind, a key or a value is unknown; the sentence names what is valid.
        """
        kind, values = read_spec(spec, POD_KINDS)
        return cls(spec.strip(), kind, **values)

    def __str__(self) -> str:
        return self.spec

    @property
    def is_after_acting(self) -> bool:
        """Whether it strikes when the request has taken effect."""
        return self.acted or (self.kind == "cut" and self.when == "after")


class PodFaults:
    """The faults of one emulator, counted; each method that asks counts one occasion."""

    def __init__(self, faults: Iterable[PodFault] = ()) -> None:
        self._plan: Plan[PodFault] = Plan()
        self._plan.add(faults)

    def add(self, specs: Iterable[str]) -> None:
        """Plan more of them.

        Raises:
            ValueError: a SPEC is wrong.
        """
        self._plan.add([PodFault.parse(spec) for spec in specs])

    def clear(self) -> None:
        """Plan nothing."""
        self._plan.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """``{fault, occasions, struck, spent}`` for each."""
        return self._plan.to_json()

    def at_request(self, route: str) -> list[PodFault]:
        """What strikes a request on a route."""
        return self._strike(lambda fault: POD_KINDS[fault.kind].on_requests and fault.route in {"any", route})

    def at_pod(self, gpu: str) -> list[PodFault]:
        """What strikes a new pod of this type."""
        return self._strike(lambda fault: not POD_KINDS[fault.kind].on_requests and fault.gpu in {None, gpu})

    def _strike(self, concerns: Any) -> list[PodFault]:  # noqa: ANN401
        return [planned.fault for planned in self._plan.strike(concerns)]
