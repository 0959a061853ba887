"""The state of the endpoint, asked for as seldom as will do: not at all while nobody looks."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from comfypod.errors import ComfyPodError
from comfypod.web.documents import EndpointState, Jobs, Trouble, Wait, WaitKind, Workers, counts

PAUSE_SECONDS = 2.0
"""While something waits or runs, or the endpoint is away."""
IDLE_PAUSE_SECONDS = 10.0


class EndpointWatch:
    """What is known of the endpoint.

    Args:
        state: what is known without asking: its name, and what a worker costs.
        ask: asks for its health.
        on_change: hears every new state.
        is_watched: whether anybody looks.
        is_waited_for: whether a run waits for a worker.
    """

    def __init__(
        self,
        state: EndpointState,
        ask: Callable[[], Awaitable[Mapping[str, Any]]],
        on_change: Callable[[EndpointState], None],
        is_watched: Callable[[], bool],
        is_waited_for: Callable[[], bool],
    ) -> None:
        self.state = state
        self._ask = ask
        self._on_change = on_change
        self._is_watched = is_watched
        self._is_waited_for = is_waited_for
        self._asking = asyncio.Lock()
        self._asked_at = self._answered_at = -math.inf
        self._poked = asyncio.Event()

    async def look(self) -> EndpointState:
        """The state, not older than `PAUSE_SECONDS`. It never fails: that it cannot be asked is a state."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= PAUSE_SECONDS:
                try:
                    health = await self._ask()
                except ComfyPodError as error:
                    self.failed(error)
                else:
                    self._answered_at = time.monotonic()
                    self._know(
                        workers=Workers(**counts(health, "workers")),
                        jobs=_jobs(counts(health, "jobs")),
                        is_reachable=True,
                        error=None,
                    )
                self._asked_at = time.monotonic()
        return self.state

    def failed(self, error: ComfyPodError) -> None:
        """Somebody could not reach it."""
        self._know(is_reachable=False, error=Trouble(code=error.code, message=str(error)))
        self.poke()

    def reached(self) -> None:
        """Somebody could reach it; if nobody could before, it is asked how it is."""
        if not self.state.is_reachable:
            self._asked_at = -math.inf
            self.poke()

    def poke(self) -> None:
        """Somebody began to look, or to wait: think anew about when to ask."""
        self._poked.set()

    async def watch(self) -> None:
        """Ask whenever it is time, for ever."""
        while True:
            self._poked.clear()
            interval = self._interval_seconds()
            left = None if interval is None else self._asked_at + interval - time.monotonic()
            if left is not None and left <= 0:
                await self.look()
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._poked.wait()

    def wait(self, seconds: float) -> Wait:
        """What a job that is queued since ``seconds`` waits for, as far as can be told."""
        is_fresh = time.monotonic() - self._answered_at < IDLE_PAUSE_SECONDS and self.state.is_reachable
        kind = _wait_kind(self.state.workers) if is_fresh else "unknown"
        queued = self.state.jobs.in_queue if is_fresh else None
        return Wait(kind=kind, seconds=round(seconds, 1), jobs_in_queue=queued)

    def _interval_seconds(self) -> float | None:
        if not self._is_watched():
            return None
        is_busy = self.state.workers.running > 0 or self.state.jobs.in_progress > 0
        is_urgent = is_busy or self._is_waited_for() or not self.state.is_reachable
        return PAUSE_SECONDS if is_urgent else IDLE_PAUSE_SECONDS

    def _know(self, **fields: Any) -> None:  # noqa: ANN401 (fields of the state)
        state = self.state.changed(**fields)
        if state != self.state:
            self.state = state
            self._on_change(state)


def _jobs(told: Mapping[str, int]) -> Jobs:
    return Jobs(in_queue=told.get("inQueue", 0), in_progress=told.get("inProgress", 0))


def _wait_kind(workers: Workers) -> WaitKind:
    """Why a job waits: nothing is said that the counts do not show."""
    if workers.running or workers.idle:
        return "queue"
    if workers.initializing:
        return "cold_start"
    return "throttled" if workers.throttled else "unknown"
