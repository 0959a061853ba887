"""Metrics in the text format of Prometheus, version 0.0.4. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from comfypod.gateway.operations.counters import Counters
from comfypod.master.states import ACTIVE, ENDED, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What the store says at this moment; ``outbox`` by kind and by ``waiting`` or ``dead``."""

    requests: Mapping[State, int]
    queue_age_seconds: float
    outbox: Mapping[tuple[str, str], int]
    masters: int


def metrics_text(figures: StoreFigures, counters: Counters) -> str:
    """All metrics. None has the name of a tenant: whoever may read them need not know who they are."""
    return "".join(f"{line}\n" for line in (*_of_store(figures), *_of_process(counters)))


def _of_store(figures: StoreFigures) -> Iterator[str]:
    states: list[Sample] = [({"state": state}, figures.requests.get(state, 0)) for state in (*ACTIVE, *ENDED)]
    yield from _metric("comfypod_requests", "gauge", "Requests that are kept, by state.", states)
    age: list[Sample] = [({}, figures.queue_age_seconds)]
    yield from _metric("comfypod_queue_age_seconds", "gauge", "How long the oldest request has waited.", age)
    outbox: list[Sample] = [({"kind": kind, "state": state}, count) for (kind, state), count in figures.outbox.items()]
    yield from _metric("comfypod_outbox_items", "gauge", "What is still to be told, and what was given up.", outbox)
    yield from _metric("comfypod_masters", "gauge", "Masters that are alive.", [({}, figures.masters)])


def _of_process(counters: Counters) -> Iterator[str]:
    answers: list[Sample] = [
        ({"method": method, "status": status}, count) for (method, status), count in sorted(counters.answers.items())
    ]
    yield from _metric("comfypod_gateway_answers_total", "counter", "Requests answered by this process.", answers)
    tries: list[Sample] = [({"outcome": outcome}, count) for outcome, count in sorted(counters.webhooks.items())]
    yield from _metric("comfypod_gateway_webhooks_total", "counter", "Webhooks tried by this process.", tries)
    streams: list[Sample] = [({}, counters.open_streams)]
    yield from _metric("comfypod_gateway_streams", "gauge", "Event streams that are open in this process.", streams)


def _metric(name: str, kind: Literal["gauge", "counter"], text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        pairs = ",".join(f'{label}="{_escaped(item)}"' for label, item in labels.items())
        yield f"{name}{{{pairs}}} {value:g}" if pairs else f"{name} {value:g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
