"""A store on 127.0.0.1 that knows conditional writes, and misbehaves as planned: SeaweedFS does neither on request."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import web

from tests.storage.misbehaving_store import MisbehavingStore


@dataclass
class Gate:
    """Where a PUT of a key that has ``pattern`` in it is held for ever: before it is done, or ``after``."""

    pattern: str
    after: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class ConditionalStore(MisbehavingStore):
    """Honours If-None-Match and If-Match; counts what was stored."""

    gates: list[Gate] = field(default_factory=list)

    writes: int = 0
    moments: dict[str, str] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        for gate in self.gates:
            if request.method == "PUT" and re.search(gate.pattern, request.path):
                if gate.after:
                    await self.right_answer(request)
                gate.reached.set()
                await asyncio.Event().wait()  # until whoever asks is gone
        return await super().handle(request)

    async def right_answer(self, request: web.Request) -> web.StreamResponse:
        stored = self.objects.get(request.path)
        if request.method == "PUT":
            content = await request.read()
            wanted, unwanted = request.headers.get("If-Match"), request.headers.get("If-None-Match")
            if (wanted and (stored is None or etag_of(stored) != wanted)) or (unwanted == "*" and stored is not None):
                return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")
            self.objects[request.path] = content
            self.moments[request.path] = format_datetime(datetime.now(UTC), usegmt=True)
            self.writes += 1
            return web.Response(headers={"ETag": etag_of(content)})
        if stored is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        headers = {"ETag": etag_of(stored), "Last-Modified": self.moments[request.path]}
        return web.Response(headers=headers, body=stored)

    def storing_first(
        self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Does what it was asked to, and then answers something else."""

        async def store_and_answer(request: web.Request) -> web.StreamResponse:
            await self.right_answer(request)
            return await answer(request)

        return store_and_answer


def etag_of(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324 (as S3 does)


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()
