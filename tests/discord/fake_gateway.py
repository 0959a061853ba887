"""The gateway of the fake Discord: HELLO, IDENTIFY, RESUME, heartbeats, and events that none is lost of.

After docs.discord.com, "Gateway": a session outlives its connection, and RESUME replays what was dispatched meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 7, 9, 10, 11
AUTHENTICATION_FAILED, NOT_AUTHENTICATED, UNKNOWN_OPCODE, SERVICE_RESTART = 4004, 4003, 4001, 1012
IDENTIFY_SECONDS = 10


@dataclass
class Session:
    """What a client identified as; ``events`` are all that were dispatched to it, by number from 1."""

    id: str
    shard: tuple[int, int]
    events: list[dict[str, Any]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None
    resumes: int = 0

    async def dispatch(self, name: str, data: dict[str, Any]) -> None:
        self.events.append({"op": DISPATCH, "t": name, "s": len(self.events) + 1, "d": data})
        await self.send(self.events[-1])

    async def send(self, frame: dict[str, Any]) -> None:
        if self.socket is not None and not self.socket.closed:
            await self.socket.send_str(json.dumps(frame))


class FakeGateway:
    """All sessions; ``faults`` says what a client did that Discord forbids."""

    def __init__(
        self, token: str, ready: Callable[[], dict[str, Any]], guilds: Callable[[], list[dict[str, Any]]]
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.identifies = 0
        self.heartbeats = 0
        self.heartbeat_seconds = 41.25
        self.faults: list[str] = []
        self._token = token
        self._ready = ready
        self._guilds = guilds
        self._sockets: set[web.WebSocketResponse] = set()

    def connected(self, shard_id: int | None = None) -> list[Session]:
        """The sessions that have a connection now."""
        return [
            session
            for session in self.sessions.values()
            if session.socket is not None and not session.socket.closed and shard_id in {None, session.shard[0]}
        ]

    async def dispatch(self, guild_id: int, name: str, data: dict[str, Any]) -> None:
        """To every session of the guild's shard: also those whose connection broke, which get it when they resume."""
        for session in list(self.sessions.values()):
            shard_id, count = session.shard
            if (guild_id >> 22) % count == shard_id:
                await session.dispatch(name, data)

    async def drop(self, code: int = SERVICE_RESTART) -> None:
        """Close every connection, as a restart of Discord's gateway does; the sessions live on."""
        for socket in list(self._sockets):
            await socket.close(code=code)

    async def ask_to_reconnect(self) -> None:
        for session in self.connected():
            await session.send({"op": RECONNECT, "d": None})

    def forget(self, session: Session) -> None:
        """Whoever resumes it is told that it is invalid."""
        del self.sessions[session.id]

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        if (request.query.get("v"), request.query.get("encoding")) != ("10", "json"):
            self.faults.append(f"gateway opened with {dict(request.query)}")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await self._talk(socket)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        interval = round(self.heartbeat_seconds * 1000)
        await socket.send_str(json.dumps({"op": HELLO, "d": {"heartbeat_interval": interval}}))
        session: Session | None = None
        while True:
            patience = self.heartbeat_seconds * 2 if session else IDENTIFY_SECONDS
            try:
                message = await socket.receive(timeout=patience)
            except TimeoutError:
                self.faults.append("no heartbeat came" if session else "nobody identified")
                await socket.close(code=4000)
                return
            if message.type is not WSMsgType.TEXT:
                return
            frame = json.loads(message.data)
            if frame["op"] == HEARTBEAT:
                self.heartbeats += 1
                await socket.send_str(json.dumps({"op": HEARTBEAT_ACK}))
            elif frame["op"] == IDENTIFY:
                session = await self._identify(socket, frame["d"])
            elif frame["op"] == RESUME:
                session = await self._resume(socket, frame["d"])
            elif session is None:
                await socket.close(code=NOT_AUTHENTICATED)

    async def _identify(self, socket: web.WebSocketResponse, data: dict[str, Any]) -> Session | None:
        self.identifies += 1
        if data.get("token") != self._token or "intents" not in data or "properties" not in data:
            await socket.close(code=AUTHENTICATION_FAILED)
            return None
        shard = tuple(data.get("shard", (0, 1)))
        session = Session(secrets.token_hex(16), shard, socket=socket)
        self.sessions[session.id] = session
        guilds = [guild for guild in self._guilds() if (int(guild["id"]) >> 22) % shard[1] == shard[0]]
        unavailable = [{"id": guild["id"], "unavailable": True} for guild in guilds]
        ready = {**self._ready(), "session_id": session.id, "shard": list(shard), "guilds": unavailable}
        await session.dispatch("READY", ready)
        for guild in guilds:
            await session.dispatch("GUILD_CREATE", guild)
        return session

    async def _resume(self, socket: web.WebSocketResponse, data: dict[str, Any]) -> Session | None:
        session = self.sessions.get(data.get("session_id", ""))
        if session is None or data.get("token") != self._token or not 0 <= data.get("seq", -1) <= len(session.events):
            await socket.send_str(json.dumps({"op": INVALID_SESSION, "d": False}))
            return None
        session.socket, session.resumes = socket, session.resumes + 1
        for event in session.events[data["seq"] :]:
            await session.send(event)
        await session.dispatch("RESUMED", {})
        return session

    async def wait_connected(self, count: int = 1, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while len(self.connected()) < count:
                await asyncio.sleep(0.02)
