"""Tells the webhooks of ended jobs, as the platform does.

One POST per end, repeated up to twice if it is not answered 2xx; what becomes of it never changes the job
(docs.runpod.io, "Send API requests"; headers and body from a live capture of July 2026). Addresses are logged by host
alone, because a path may hold a secret. Unlike the platform's, this sender reaches private addresses: it is for
development on one machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.lifecycle import Notice

_PAUSES_SECONDS = {"captured": (5.0, 15.0), "documented": (10.0, 10.0)}


def pauses_of(spacing: str, factor: float) -> Sequence[float]:
    """The seconds before the second and the third try; ``spacing`` is a value of the switch ``webhook_spacing``."""
    return [pause * factor for pause in _PAUSES_SECONDS[spacing]]


class WebhookSender:
    """Delivers notices in the background, until it is left: what is under way then is dropped.

    Use it as an asynchronous context manager. Each try has ``timeout_seconds``. ``on_ended`` hears the id of the job
    whose webhook was delivered or given up.
    """

    def __init__(self, pauses: Sequence[float], timeout_seconds: float, on_ended: Callable[[str], None]) -> None:
        self._pauses = pauses
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._on_ended = on_ended
        self._session: aiohttp.ClientSession | None = None
        self._deliveries: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # The time of a try counts while it waits for a connection: a receiver that hangs must hold up only its own.
            connector=aiohttp.TCPConnector(force_close=True, limit=0, limit_per_host=100),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        deliveries = list(self._deliveries)
        if deliveries:
            log_event("webhooks_dropped", logging.WARNING, count=len(deliveries))
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)
        if session is not None:
            await session.close()

    def send(self, notice: Notice) -> None:
        """Deliver a notice in the background.

        Raises:
            RuntimeError: the sender has not been entered, or has been left.
        """
        if self._session is None:
            raise RuntimeError("Webhooks are sent only between __aenter__ and __aexit__.")
        delivery = asyncio.create_task(self._deliver(self._session, notice))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, session: aiohttp.ClientSession, notice: Notice) -> None:
        host, body = urlsplit(notice.url).hostname, json.dumps(notice.document).encode()
        for number, pause in enumerate((0.0, *self._pauses), 1):
            await asyncio.sleep(pause)
            outcome = await self._try(session, notice.url, body)
            is_delivered = isinstance(outcome, int) and 200 <= outcome < 300
            level = logging.INFO if is_delivered else logging.WARNING
            log_event("webhook_tried", level, job_id=notice.job_id, host=host, number=number, outcome=outcome)
            if is_delivered:
                break
        self._on_ended(notice.job_id)

    async def _try(self, session: aiohttp.ClientSession, url: str, body: bytes) -> int | str:
        """The HTTP status, or the kind of the error; what a receiver has to say beyond its status is not read."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Go-http-client/2.0",
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        }
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                response.close()
                return response.status
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            return type(error).__name__
