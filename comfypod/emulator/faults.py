"""Faults that the built-in ComfyUI engine can be told to have: read from a SPEC, planned, counted. Pure.

How a SPEC is written stands in `comfypod.emulator.fault_specs`; the kinds stand in `comfypod.emulator.fault_kinds` and
in ``docs/reference/faults.md``. What a fault does is done by `comfypod.emulator.engine.striking` and
`comfypod.emulator.engine.wire_faults`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from comfypod.emulator.fault_kinds import KINDS, Place
from comfypod.emulator.fault_specs import Plan, read_spec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault; made by `Fault.parse`. Only the fields that ``kind`` has keys for mean anything."""

    spec: str
    kind: str
    times: int = 1
    """How often it strikes; 0: always."""
    after: int = 0
    """How many occasions pass untouched before it strikes."""
    path: str = "/"
    status: int = 500
    seconds: float = 0.0
    message: str = ""
    node: str | None = None
    step: int | None = None
    code: int = 1
    signal: int | None = None
    type: str = ""
    form: str = ""
    pack: str = ""
    reason: str = ""

    @classmethod
    def parse(cls, spec: str) -> Fault:
        """Read a SPEC; ``str(fault)`` gives it back.

        Raises:
            ValueError: a kind, a key or a value is unknown; the sentence names what is valid and looks like it.
        """
        kind, values = read_spec(spec, KINDS)
        return cls(spec.strip(), kind, **values)

    def __str__(self) -> str:
        return self.spec

    @property
    def place(self) -> Place:
        """Where it strikes."""
        return KINDS[self.kind].place

    def concerns_node(self, node_id: str, class_type: str) -> bool:
        """Whether it is about this node: its ``node`` is the id, the class, or not given."""
        return self.node is None or self.node in (node_id, class_type)


class FaultPlan:
    """The faults of one engine, counted; every method may be called from any thread.

    The ``at_…`` methods are the engine's hooks: each counts one occasion and returns the faults that strike, in the
    order in which they were planned. Every strike is logged, so that the engine's output tells that it is emulated.
    """

    def __init__(self, faults: Iterable[Fault] = (), *, own_process: bool = False) -> None:
        """Plan faults.

        Args:
            faults: what is planned from the start; the only place for what strikes at boot.
            own_process: whether the engine may end its process.

        Raises:
            ValueError: a fault would end the process, and it is not the engine's own.
        """
        self._own_process = own_process
        self._plan: Plan[Fault] = Plan(self._check)
        self._booted = False
        self.add(faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._plan)

    def add(self, faults: Iterable[Fault]) -> None:
        """Plan more faults; all or none of them.

        Raises:
            ValueError: one would end a process that is not the engine's own, or strikes at boot, which is over.
        """
        self._plan.add(faults)

    def _check(self, fault: Fault) -> None:
        if KINDS[fault.kind].ends_process and not self._own_process:
            raise ValueError(
                f"Fault {fault} ends the whole process: it is only for an engine in a process of its own "
                "(comfypod emulate comfyui --fault SPEC)."
            )
        if fault.place is Place.BOOT and self._booted:
            raise ValueError(f"Fault {fault} strikes at boot, which is over: plan it before the engine starts.")

    def clear(self) -> None:
        """Forget all faults and counts."""
        self._plan.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """Return ``{fault, occasions, struck, spent}`` for each planned fault; spent ones stay in the list."""
        return self._plan.to_json()

    def at_boot(self) -> list[Fault]:
        """Return what strikes before the port opens; from now on nothing can be planned for that."""
        self._booted = True
        return self._strike(Place.BOOT, "at boot", lambda _: True)

    def at_request(self, method: str, path: str) -> list[Fault]:
        """Return what strikes a request; the path is taken without ComfyUI's ``/api`` prefix as well."""
        paths = (path, path.removeprefix("/api") or "/")
        return self._strike(
            Place.REQUEST, f"{method} {path}", lambda fault: any(p.startswith(fault.path) for p in paths)
        )

    def at_message(self, message_type: str) -> list[Fault]:
        """Return what strikes a message (``binary`` for a frame that is not text) that has at least one receiver."""
        return self._strike(
            Place.MESSAGE, f"message {message_type}", lambda fault: fault.message in ("any", message_type)
        )

    def at_node(self, node_id: str, class_type: str, step: int | None) -> list[Fault]:
        """Return what strikes a node as it starts (step None) or as it has reported progress for the step-th time."""
        place = f"node {node_id} ({class_type})" + ("" if step is None else f" at step {step}")
        return self._strike(
            Place.NODE, place, lambda fault: fault.step == step and fault.concerns_node(node_id, class_type)
        )

    def at_output(self, node_id: str, class_type: str) -> list[Fault]:
        """Return what strikes the output that a node shows."""
        return self._strike(
            Place.OUTPUT, f"node {node_id} ({class_type})", lambda fault: fault.concerns_node(node_id, class_type)
        )

    def at_end(self, prompt_id: str) -> list[Fault]:
        """Return what strikes a prompt that has run, however it ended."""
        return self._strike(Place.END, f"prompt {prompt_id}", lambda _: True)

    def _strike(self, place: Place, occasion: str, concerns: Callable[[Fault], bool]) -> list[Fault]:
        struck = [one.fault for one in self._plan.strike(lambda fault: fault.place is place and concerns(fault))]
        for fault in struck:
            logger.warning("fault %s strikes %s", str(fault).replace("\n", "\\n"), occasion)
        return struck
