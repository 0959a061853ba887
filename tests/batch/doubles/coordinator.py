"""A coordinator in one process, for the pods' side of its protocol: it hands out items, and counts what it is told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from comfypod.batch.documents import Asset, BatchState, Condition, Item, Offer, Orders, Pulse, Record, Welcome, Work
from tests.batch.doubles.threads import loop_in_a_thread

TOKEN = "token-of-the-batch"


@dataclass
class Coordinator:
    """Serves ``/v1/pods/NAME/…``. What a test changes counts from the next request on."""

    items: Sequence[Item]
    assets: Sequence[Asset] = ()
    results: dict[str, Any] = field(default_factory=dict)
    state: BatchState = "running"
    session_items: int = 8
    lease_seconds: float = 600.0
    ends_in: float = 3600.0
    offer: Offer | None = None
    is_away: bool = False
    refuses: int | None = None
    """This HTTP status is its answer to everything."""
    hides_until_present: bool = True
    url: str = ""
    conditions: list[Condition] = field(default_factory=list)
    pulses: list[Pulse] = field(default_factory=list)
    byes: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    """What counts: the first of each item."""
    told: Counter[str] = field(default_factory=Counter)
    """How often each item was told of by a request that was answered."""
    leased: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Pod and end of the lease, by item."""
    given: Counter[str] = field(default_factory=Counter)
    revoked: set[str] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        return len(self.records) == len(self.items)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/pods/{pod}/{action}", self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _problem(401, "unauthorised", "wrong token")
        if self.is_away:
            return _problem(503, "store_busy", "away", retryable=True)
        if self.refuses is not None:
            return _problem(self.refuses, "refused", "no more of you")
        answer = getattr(self, f"_{request.match_info['action']}")(request.match_info["pod"], await request.json())
        return web.Response(text=answer if isinstance(answer, str) else answer.model_dump_json())

    def _hello(self, pod: str, body: dict[str, Any]) -> Welcome:
        self.conditions.append(Condition.model_validate(body))
        return Welcome(
            batch="b" * 16,
            state=self._state(),
            assets=tuple(self.assets),
            results=self.results or {"kind": "http", "url": f"{self.url}/results"},
            lease_seconds=self.lease_seconds,
            session_items=self.session_items,
            ends_at=time.time() + self.ends_in,
            offer=self.offer,
        )

    def _state(self) -> BatchState:
        return "over" if self.is_over and self.state == "running" else self.state

    def _lease(self, pod: str, body: dict[str, Any]) -> Work:
        present, now = set(body["present"]), time.monotonic()
        free = [
            item
            for item in self.items
            if item.identifier not in self.records
            and (item.identifier not in self.leased or self.leased[item.identifier][1] < now)
            and (not self.hides_until_present or present.issuperset(item.assets))
        ]
        chosen = free[: body["items"]] if self._state() == "running" else []
        for item in chosen:
            self.leased[item.identifier] = (pod, now + self.lease_seconds)
            self.given[item.identifier] += 1
        return Work(state=self._state(), items=tuple(chosen), lease_seconds=self.lease_seconds, retry_seconds=0.5)

    def _records(self, pod: str, body: dict[str, Any]) -> str:
        accepted, already = [], []
        for record in map(Record.model_validate, body["records"]):
            self.told[record.identifier] += 1
            (already if record.identifier in self.records else accepted).append(f'"{record.identifier}"')
            self.records.setdefault(record.identifier, record)
            self.leased.pop(record.identifier, None)
        return f'{{"accepted": [{", ".join(accepted)}], "already": [{", ".join(already)}], "refused": []}}'

    def _pulse(self, pod: str, body: dict[str, Any]) -> Orders:
        pulse = Pulse.model_validate(body)
        self.pulses.append(pulse)
        now = time.monotonic()
        gone = set(self.revoked)
        for identifier in pulse.in_hand:
            holder, _ = self.leased.get(identifier, (pod, 0.0))
            if pulse.is_leaving:
                self.leased.pop(identifier, None)
            elif holder != pod or identifier in self.records:
                gone.add(identifier)
            else:
                self.leased[identifier] = (pod, now + self.lease_seconds)
        return Orders(state=self._state(), revoked=tuple(gone), ends_at=time.time() + self.ends_in)

    def _bye(self, pod: str, body: dict[str, Any]) -> str:
        self.byes.append(body)
        for identifier in [identifier for identifier, (holder, _) in self.leased.items() if holder == pod]:
            del self.leased[identifier]
        return "{}"


def _problem(status: int, code: str, message: str, *, retryable: bool = False) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message, "retryable": retryable}}, status=status)


@contextmanager
def coordinating(coordinator: Coordinator, *others: web.RouteDef) -> Iterator[Coordinator]:
    """Serve it, and ``others`` beside it, in a thread of their own."""
    with loop_in_a_thread() as call:
        application = web.Application(client_max_size=64 * 1024**2)
        application.add_routes([*coordinator.routes(), *others])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)

        async def start() -> None:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()

        call(start())
        coordinator.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield coordinator
        finally:
            call(runner.cleanup())


async def until(is_true: Any, seconds: float = 60.0) -> None:
    """Look again and again; fails after so long."""
    async with asyncio.timeout(seconds):
        while not is_true():
            await asyncio.sleep(0.02)
