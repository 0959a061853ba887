"""The way of a job's progress to the platform: the newest state, in order, not too often, none after the result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp

from comfypod.logs import event
from comfypod.worker.progress import ProgressTracker

SEND_TIMEOUT_SECONDS = 5.0
"""An update that takes longer is given up: a newer one is worth more."""

SendProgress = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[None]]
"""``send(job, value)``: tell the platform; returns when it has been told."""


class ProgressReporter:
    """Sends the newest state of a tracker to the platform, in order, at most once per ``interval_seconds``.

    As an async context manager: when the body has ended, no update is under way, so none can arrive after the result.
    Without ``send`` (no platform to tell) it is silent.
    """

    def __init__(
        self, tracker: ProgressTracker, job: Mapping[str, Any], send: SendProgress | None, interval_seconds: float
    ) -> None:
        self._tracker = tracker
        self._job = job
        self._send = send
        self._interval_seconds = interval_seconds
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._send is not None:
            self._task = asyncio.create_task(self._report(self._send))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is None:
            return
        self._closing.set()
        if kind is None or issubclass(kind, Exception):
            await self._task  # bounded by SEND_TIMEOUT_SECONDS
        else:  # cancelled: nobody waits for an update any more
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _report(self, send: SendProgress) -> None:
        sequence = 0
        while not self._closing.is_set():
            sequence += 1
            self._tracker.changed.clear()
            await self._send_one(send, self._tracker.snapshot(sequence).to_json())
            await _wait(self._closing, self._interval_seconds)
            await _first(self._tracker.changed, self._closing)

    async def _send_one(self, send: SendProgress, value: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await send(self._job, value)
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            # The job goes on without: the next update says more than this one did.
            event("progress_not_sent", logging.WARNING, cause=repr(error))


async def _wait(signal: asyncio.Event, seconds: float) -> None:
    """Return when the signal is set, or after ``seconds``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await signal.wait()


async def _first(*signals: asyncio.Event) -> None:
    """Return when one of the signals is set."""
    waits = [asyncio.create_task(signal.wait()) for signal in signals]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
