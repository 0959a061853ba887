r"""Faults that the built-in ComfyUI engine can be told to have: written as a SPEC, planned, counted. Pure.

A SPEC is ``KIND[:key=value[,key=value...]]``, such as ``exit:node=ImageInvert,code=139``; inside a value ``\,`` is a
comma and ``\\`` a backslash. The kinds stand in `comfypod.emulator.fault_kinds` and in ``docs/reference/faults.md``.
What a fault does is done by `comfypod.emulator.engine.striking` and `comfypod.emulator.engine.wire_faults`.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.emulator.fault_kinds import KINDS, Kind, Place, nearest

logger = logging.getLogger(__name__)

# A comma that no odd number of backslashes stands before.
_COMMA = re.compile(r"(?<!\\)(?:\\\\)*,")
_ESCAPED = re.compile(r"\\([\\,])")


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
        spec = spec.strip()
        name, colon, rest = spec.partition(":")
        kind = KINDS.get(name)
        if kind is None:
            raise ValueError(f"There is no fault {name!r}. {nearest(name, KINDS)}")
        values = {key: rule.default for key, rule in kind.keys.items() if rule.default is not None}
        values |= _given(name, kind, rest) if colon else {}
        missing = [key for key, rule in kind.keys.items() if rule.required and key not in values]
        if missing:
            raise ValueError(f"Fault {name} needs {' and '.join(f'{key}=' for key in missing)}.")
        fields: dict[str, Any] = {**values}
        return cls(spec, name, **fields)

    def __str__(self) -> str:
        return self.spec

    @property
    def place(self) -> Place:
        """Where it strikes."""
        return KINDS[self.kind].place

    def concerns_node(self, node_id: str, class_type: str) -> bool:
        """Whether it is about this node: its ``node`` is the id, the class, or not given."""
        return self.node is None or self.node in (node_id, class_type)


def _given(name: str, kind: Kind, text: str) -> Mapping[str, Any]:
    """Return the values that a SPEC gives, by key."""
    values: dict[str, Any] = {}
    for piece in _pieces(text):
        key, equals, value = piece.partition("=")
        rule = kind.keys.get(key)
        if not equals:
            raise ValueError(f"Fault {name}: {piece!r} is not key=value (inside a value, write a comma as \\,).")
        if rule is None:
            raise ValueError(f"Fault {name} has no key {key!r}. {nearest(key, kind.keys)}")
        if key in values:
            raise ValueError(f"Fault {name}: {key} is given twice.")
        try:
            values[key] = rule.parse(_ESCAPED.sub(r"\1", value))
        except ValueError as error:
            raise ValueError(f"Fault {name}: {key} {error}") from error
    if {"code", "signal"} <= values.keys():
        raise ValueError(f"Fault {name}: give code or signal, not both.")
    return values


def _pieces(text: str) -> Iterator[str]:
    start = 0
    for match in _COMMA.finditer(text):
        yield text[start : match.end() - 1]
        start = match.end()
    yield text[start:]


@dataclass(slots=True)
class _Planned:
    fault: Fault
    occasions: int = 0
    struck: int = 0

    @property
    def is_spent(self) -> bool:
        return 0 < self.fault.times <= self.struck

    def meet(self) -> bool:
        """Count an occasion; True if the fault strikes."""
        self.occasions += 1
        strikes = self.occasions > self.fault.after and not self.is_spent
        self.struck += strikes
        return strikes

    def to_json(self) -> dict[str, Any]:
        return {
            "fault": str(self.fault),
            "occasions": self.occasions,
            "struck": self.struck,
            "spent": self.is_spent,
        }


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
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()
        self._booted = False
        self.add(faults)

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter([planned.fault for planned in self._planned])

    def add(self, faults: Iterable[Fault]) -> None:
        """Plan more faults; all or none of them.

        Raises:
            ValueError: one would end a process that is not the engine's own, or strikes at boot, which is over.
        """
        added = list(faults)
        for fault in added:
            self._check(fault)
        with self._lock:
            self._planned = [*self._planned, *(_Planned(fault) for fault in added)]

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
        with self._lock:
            self._planned = []

    def to_json(self) -> list[dict[str, Any]]:
        """Return ``{fault, occasions, struck, spent}`` for each planned fault; spent ones stay in the list."""
        with self._lock:
            return [planned.to_json() for planned in self._planned]

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
        if not self._planned:
            return []
        with self._lock:
            met = [planned for planned in self._planned if planned.fault.place is place and concerns(planned.fault)]
            struck = [planned.fault for planned in met if planned.meet()]
        for fault in struck:
            logger.warning("fault %s strikes %s", str(fault).replace("\n", "\\n"), occasion)
        return struck
