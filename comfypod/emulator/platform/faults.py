"""Faults that the local RunPod can be told to have: which kinds there are, read from a SPEC, planned, counted. Pure.

How a SPEC is written stands in `comfypod.emulator.fault_specs`, what each kind does in ``docs/reference/faults.md``.
What strikes requests is performed by `comfypod.emulator.platform.striking`; the routes ask here for what strikes jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from comfypod.emulator.events import log_event
from comfypod.emulator.fault_specs import (
    COUNTS,
    LARGEST_COUNT,
    LONGEST_SECONDS,
    SECONDS,
    Key,
    Plan,
    Planned,
    number,
    one_of,
    read_spec,
    some_text,
    whole,
    yes_or_no,
)

# Below /v2/ENDPOINT/; job-take stands for job-take-batch as well.
CLIENT_ROUTES = frozenset(
    {
        "run",
        "runsync",
        "status",
        "status-sync",
        "stream",
        "cancel",
        "retry",
        "purge-queue",
        "health",
        "requests",
        "metrics",
    }
)
WORKER_ROUTES = frozenset({"job-take", "job-done", "job-stream", "job-stop", "ping"})
# Words for several routes at once.
GROUPS: Mapping[str, frozenset[str]] = {
    "client": CLIENT_ROUTES,
    "worker": WORKER_ROUTES,
    "any": CLIENT_ROUTES | WORKER_ROUTES,
}
_NAME_A_JOB = frozenset({"status", "status-sync", "stream", "cancel", "retry", "job-done", "job-stream"})

JobFault = Literal["lose", "duplicate", "drop_progress", "drop_stop"]


@dataclass(frozen=True, slots=True)
class PlatformKind:
    """One kind of fault; ``on_requests``: it strikes requests on a route, whatever they are about."""

    keys: Mapping[str, Key]
    on_requests: bool = False


_COMMON: Mapping[str, Key] = {
    **COUNTS,
    "chance": Key(number(0, 1), 1.0),
    "seed": Key(whole(0, LARGEST_COUNT), 0),
    "job": Key(some_text),
    "worker": Key(some_text),
}
_ROUTE = {"route": Key(one_of({*GROUPS, *GROUPS["any"]}), "any")}
_CODE = {"code": Key(whole(400, 599), 500)}


def _on_requests(keys: Mapping[str, Key]) -> PlatformKind:
    return PlatformKind({**_COMMON, **_ROUTE, **keys}, on_requests=True)


def _on_jobs(keys: Mapping[str, Key]) -> PlatformKind:
    return PlatformKind({**_COMMON, **keys})


PLATFORM_KINDS: Mapping[str, PlatformKind] = {
    "latency": _on_requests({**SECONDS, "jitter": Key(number(0, LONGEST_SECONDS), 0.0)}),
    "status": _on_requests({**_CODE, "acted": Key(yes_or_no, default=False)}),
    "cut": _on_requests({"when": Key(one_of({"before", "after"}), "before")}),
    "hang": _on_requests({"seconds": Key(number(0, LONGEST_SECONDS), 3600.0)}),
    "lose": _on_jobs({}),
    "duplicate": _on_jobs({}),
    "late_progress": _on_jobs({**SECONDS, "shuffle": Key(yes_or_no, default=False)}),
    "drop_progress": _on_jobs({}),
    "drop_stop": _on_jobs({}),
    "refuse_result": _on_jobs(_CODE),
}


@dataclass(frozen=True, slots=True)
class PlatformFault:
    """One planned fault; made by `PlatformFault.parse`. Only the fields that ``kind`` has keys for mean anything."""

    spec: str
    kind: str
    times: int = 1
    """How often it strikes; 0: always."""
    after: int = 0
    """How many occasions pass untouched before it strikes."""
    chance: float = 1.0
    """How likely it strikes at an occasion, from 0 to 1."""
    seed: int = 0
    """Another number makes other draws, because a plan draws from its SPECs; the same plan always draws the same."""
    route: str = "any"
    job: str | None = None
    worker: str | None = None
    seconds: float = 0.0
    jitter: float = 0.0
    code: int = 500
    acted: bool = False
    when: str = "before"
    shuffle: bool = False

    @classmethod
    def parse(cls, spec: str) -> PlatformFault:
        """Read a SPEC; ``str(fault)`` gives it back.

        Raises:
            ValueError: a kind, a key or a value is unknown, or the fault could never strike; the sentence names what is
                valid.
        """
        kind, values = read_spec(spec, PLATFORM_KINDS)
        fault = cls(spec.strip(), kind, **values)
        fault._check()
        return fault

    def __str__(self) -> str:
        return self.spec

    @property
    def routes(self) -> frozenset[str]:
        """The routes whose requests it strikes."""
        return GROUPS.get(self.route) or frozenset({self.route})

    @property
    def lets_act(self) -> bool:
        """Whether the request that it strikes takes effect all the same."""
        return self.kind == "latency" or self.acted or (self.kind == "cut" and self.when == "after")

    @property
    def is_after_acting(self) -> bool:
        """Whether it strikes when the request has taken effect."""
        return self.lets_act and self.kind != "latency"

    def concerns(self, job_id: str | None, worker_id: str | None) -> bool:
        """Whether it is about this job and this worker; None: the occasion has none."""
        return self.job in (None, job_id) and self.worker in (None, worker_id)

    def strikes_on(self, route: str) -> bool:
        """Whether it strikes requests of a route.

        What was taken is sent by the route job-take itself, so nothing is left to go wrong after it; ``lose`` is that.
        """
        is_struck = PLATFORM_KINDS[self.kind].on_requests and route in self.routes
        return is_struck and not (route == "job-take" and self.is_after_acting)

    def _check(self) -> None:
        if not PLATFORM_KINDS[self.kind].on_requests:
            return
        if self.route == "job-take" and self.is_after_acting:
            raise ValueError(f"Fault {self.kind}: it cannot strike after a job was taken; use lose for that.")
        if self.job is not None and not self.routes & _NAME_A_JOB:
            raise ValueError(f"Fault {self.kind}: requests on {self.route} name no job, so job= would never match.")
        if self.worker is not None and not self.routes & WORKER_ROUTES:
            raise ValueError(
                f"Fault {self.kind}: requests on {self.route} name no worker, so worker= would never match."
            )


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that strikes now, and the seconds that were drawn for it."""

    fault: PlatformFault
    seconds: float


class PlatformFaults:
    """The faults of one local RunPod, counted. It may be shared by its routes, and added to while it runs.

    Each method that asks counts one occasion. Every strike is logged, so that the log tells what was planned from what
    went wrong by itself.
    """

    def __init__(self, faults: Iterable[PlatformFault] = ()) -> None:
        self._plan: Plan[PlatformFault] = Plan()
        self._plan.add(faults)

    def __iter__(self) -> Iterator[PlatformFault]:
        return iter(self._plan)

    def add(self, faults: Iterable[PlatformFault]) -> None:
        """Plan more faults."""
        self._plan.add(faults)

    def clear(self) -> None:
        """Forget all faults and counts."""
        self._plan.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """Return ``{fault, occasions, struck, spent}`` for each planned fault; spent ones stay in the list."""
        return self._plan.to_json()

    def at_request(self, route: str, *, job_id: str | None = None, worker_id: str | None = None) -> list[Strike]:
        """Return what strikes a request, in the order in which it was planned; ``route`` is one of `GROUPS` ``any``."""
        return self._strike(
            lambda fault: fault.strikes_on(route) and fault.concerns(job_id, worker_id),
            {"route": route, "job_id": job_id, "worker_id": worker_id},
        )

    def strikes(self, kind: JobFault, *, job_id: str, worker_id: str) -> bool:
        """Whether a fault of this kind strikes a job and its worker.

        ``lose``: the worker took the job; do not send it, and do not put it back either.
        ``duplicate``: the worker got the job; have another one get it too.
        ``drop_progress``: the worker reported progress; forget it.
        ``drop_stop``: the worker is about to be told to stop the job; do not tell it, now or later.
        """
        return bool(self._at_job(kind, job_id, worker_id))

    def progress_delay_seconds(self, *, job_id: str, worker_id: str) -> float:
        """How much later a progress that the worker has reported must be applied: 0.0 unless ``late_progress`` strikes.

        Answer the worker at once, and apply it later even if the job has ended by then: what happens with it in that
        case is a switch of the platform.
        """
        return sum(strike.seconds for strike in self._at_job("late_progress", job_id, worker_id))

    def refusal_code(self, *, job_id: str, worker_id: str) -> int | None:
        """The HTTP status that a result must be answered with, unrecorded; None: it is taken as usual."""
        struck = self._at_job("refuse_result", job_id, worker_id)
        return struck[0].fault.code if struck else None

    def _at_job(self, kind: str, job_id: str, worker_id: str) -> list[Strike]:
        return self._strike(
            lambda fault: fault.kind == kind and fault.concerns(job_id, worker_id),
            {"job_id": job_id, "worker_id": worker_id},
        )

    def _strike(self, concerns: Callable[[PlatformFault], bool], occasion: Mapping[str, str | None]) -> list[Strike]:
        struck = self._plan.strike(concerns, lambda planned: planned.draws.random() < planned.fault.chance)
        known = {name: value for name, value in occasion.items() if value is not None}
        for planned in struck:
            log_event("fault_strikes", logging.WARNING, fault=str(planned.fault), **known)
        return [Strike(planned.fault, _draw_seconds(planned)) for planned in struck]


def _draw_seconds(planned: Planned[PlatformFault]) -> float:
    """How long this strike lasts: a jitter is added, a shuffled progress comes up to twice as late."""
    fault = planned.fault
    spread = fault.seconds if fault.shuffle else fault.jitter
    return fault.seconds + planned.draws.uniform(0, spread) if spread else fault.seconds
