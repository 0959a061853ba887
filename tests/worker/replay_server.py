"""A server that plays recorded prompts as ComfyUI did, with one fault at one message of each.

One server holds many stages: each is a ComfyUI of its own below a path of its own (``http://…/17``), takes one prompt,
and plays the recorded messages of one prompt to who submitted it, with the client's ids in place of the recorded ones.
As in ComfyUI, playing goes on whether somebody listens or not, a message that nobody is registered for is lost for
ever, and ``/queue`` and ``/history`` tell how far the playing has come.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

from tests.recordings import Play, with_metadata

TO_THE_END = 10**6
WAIT_SECONDS = 3.0
SETTLE_SECONDS = 0.5
SLOW_SECONDS = 0.3
CHATTER_SECONDS = 0.05

FOREIGN = {"prompt_id": "a prompt of somebody else", "node": "its node", "node_id": "its node", "value": 1, "max": 2}
FOREIGN_MESSAGES: Sequence[str | bytes] = [
    *(json.dumps({"type": kind, "data": FOREIGN}) for kind in ("executing", "progress", "execution_interrupted")),
    json.dumps({"type": "executing", "data": {**FOREIGN, "node": None}}),
    with_metadata(FOREIGN, b"\xff\xd8"),
]

Answer = web.StreamResponse


@dataclass(frozen=True)
class Fault:
    """What goes wrong once, before the message ``at``; the fields say how.

    Attributes:
        socket: what happens to the websocket; "forget": it stays open and silent (as in ``ws_reconnect_overlap``).
        away: new websockets are refused, at least one, until so many further messages have passed.
        waits: playing stands still until the client is back.
        again: after so many further messages the websocket is aborted once more.
        returning: what happens to the next websocket right after its greeting.
        copies: how often the message is sent.
        pause_seconds: the prompt stands still.
        hold_seconds: this message and all behind it are on their way for so long; the prompt goes on.
        late_seconds: the history is written so long after the last message.
        submission: the first ``POST /prompt`` is cut, before or after it was taken in.
        call: how the answer to the first of these calls after the fault fails; "race" is no failure: the prompt ends
            between the answers to the first and the second of them.
        chatter: others' prompts come and go all the time, so that a ``status`` arrives often.
    """

    name: str
    at: int = 0
    socket: Literal["abort", "close", "forget"] | None = None
    away: int = 0
    waits: bool = False
    again: int | None = None
    returning: Literal["abort", "forget"] | None = None
    copies: int = 1
    pause_seconds: float = 0.0
    hold_seconds: float = 0.0
    late_seconds: float = 0.0
    submission: Literal["request lost", "answer lost"] | None = None
    call: tuple[Sequence[str], Literal["slow", "reset", "half", "503", "race"]] | None = None
    chatter: bool = False


class Stage:
    """One ComfyUI that plays one prompt, with one fault."""

    def __init__(self, play: Play, fault: Fault) -> None:
        self.play, self.fault = play, fault
        self.accepted = 0
        self._prompt_id = ""
        self._position = 0
        self._over = False
        self._entry: Mapping[str, Any] | None = None
        self._socket: web.WebSocketResponse | None = None
        self._transports: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._held: list[str | bytes] | None = None
        # What is still to go wrong; each goes wrong once.
        self._returning, self._call, self._submission = fault.returning, fault.call, fault.submission
        # Signs: the fault has happened, a client was refused, all is played; it is connected, has read all, has asked.
        self._struck, self._refused, self._played = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._connected, self._heard, self._asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @property
    def left_behind(self) -> Sequence[str]:
        """Where the prompt still is."""
        return ["queue"] * self._is_queued + ["history"] * (self._entry is not None)

    @property
    def listeners(self) -> int:
        """How many websockets are open."""
        return len(self._transports)

    @property
    def _is_queued(self) -> bool:
        return self.accepted > 0 and not self._over

    async def stop(self) -> None:
        """End what still goes on; raises what went wrong in it."""
        for task in self._tasks:
            task.cancel()
        for transport in self._transports.values():
            transport.abort()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _perform(self) -> None:
        fault = self.fault
        for index, message in enumerate(self.play.messages):
            if index == fault.at:
                await self._strike()
            elif fault.again is not None and index == fault.at + fault.again:
                await self._settle()
                await self._end_socket("abort")
                await self._wait_for(self._connected)
            self._position = index
            if fault.waits and fault.away and index == fault.at + fault.away:
                await self._wait_for(self._connected)
            if index >= self.play.ended and not fault.late_seconds:
                self._finish(self.play.entry)
            for _ in range(fault.copies if index == fault.at else 1):
                await self._publish(message)
            for foreign in FOREIGN_MESSAGES if index in {0, self.play.ended} else ():
                await self._publish(foreign)
        self._position = TO_THE_END
        await asyncio.sleep(fault.late_seconds)
        self._finish(self.play.entry)
        self._played.set()

    def _finish(self, entry: Mapping[str, Any]) -> None:
        """Move the prompt from the queue to the history, in one step."""
        if not self._over:
            self._over, self._entry = True, json.loads(self._for_client(json.dumps(entry)))

    async def _strike(self) -> None:
        """Let the fault happen."""
        fault = self.fault
        if fault.socket or fault.pause_seconds:
            await self._settle()
        if fault.socket:
            await self._end_socket(fault.socket)
        if fault.hold_seconds:
            self._held = []
            self._tasks.append(asyncio.create_task(self._release()))
        self._struck.set()
        await asyncio.sleep(fault.pause_seconds)
        if fault.away:
            await self._wait_for(self._refused)
        elif fault.waits:
            await self._wait_for(self._connected)
        if fault.call and fault.call[1] == "race":
            await self._wait_for(self._asked)

    async def _settle(self) -> None:
        """Wait until the client has read all that was sent: a cut socket loses what is on its way."""
        self._heard.clear()
        with suppress(ConnectionError):
            if self._socket is not None and not self._socket.closed:
                await self._socket.ping()
                await self._wait_for(self._heard, SETTLE_SECONDS)

    async def _wait_for(self, sign: asyncio.Event, seconds: float = WAIT_SECONDS) -> None:
        """Stand still until there is this sign, but not for ever: the client may be gone, or busy."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await sign.wait()

    async def _end_socket(self, how: str) -> None:
        socket, self._socket = self._socket, None
        self._connected.clear()
        if socket is not None and how == "abort":
            self._transports[socket].abort()
        elif socket is not None and how == "close":
            await socket.close()

    async def _publish(self, message: str | bytes) -> None:
        if self._held is not None:
            self._held.append(message)
        else:
            await self._send(message)
        await asyncio.sleep(0)

    async def _release(self) -> None:
        await asyncio.sleep(self.fault.hold_seconds)
        held, self._held = self._held or [], None
        for message in held:
            await self._send(message)

    async def _send(self, message: str | bytes) -> None:
        """To whoever is registered; else the message is lost."""
        if self._socket is None or self._socket.closed:
            return
        with suppress(ConnectionError):
            if isinstance(message, bytes):
                await self._socket.send_bytes(self._frame_for_client(message))
            else:
                await self._socket.send_str(self._for_client(message))

    def _for_client(self, text: str) -> str:
        return text.replace(json.dumps(self.play.prompt_id), json.dumps(self._prompt_id))

    def _frame_for_client(self, frame: bytes) -> bytes:
        event, length = struct.unpack_from(">II", frame)
        if event != 4:
            return frame
        metadata = json.loads(self._for_client(frame[8 : 8 + length].decode()))
        return with_metadata(metadata, frame[8 + length :])

    async def _chatter(self) -> None:
        for number in itertools.count():
            await self._send(_status(1 + number % 2))
            await asyncio.sleep(CHATTER_SECONDS)

    async def connect(self, request: web.Request) -> Answer:
        away = self.fault.away and self._struck.is_set() and self._position < self.fault.at + self.fault.away
        if away and self._is_queued:
            self._refused.set()
            return web.Response(status=503) if self.fault.at % 2 else _reset(request)
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=0)
        await socket.prepare(request)
        assert request.transport is not None
        self._transports[socket], self._socket = request.transport, socket
        await self._greet(request.query["clientId"])
        if self._socket is socket:
            self._connected.set()
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.PONG:
                    self._heard.set()
        finally:
            del self._transports[socket]
            if self._socket is socket:
                self._socket = None
                self._connected.clear()
        return socket

    async def _greet(self, client_id: str) -> None:
        """What ComfyUI sends on connection (``server.py: websocket_handler``)."""
        await self._send(_status(int(self._is_queued), client_id))
        node = self.play.running_node(self._position)
        if node is not None and self._is_queued:
            await self._send(json.dumps({"type": "executing", "data": {"node": node}}))
        if self._struck.is_set() and self._returning:
            how, self._returning = self._returning, None
            await self._end_socket(how)
            if how == "forget":  # Nobody notices, so nobody comes back: playing goes on.
                self._connected.set()

    async def answer(self, request: web.Request) -> Answer:
        call = f"{request.method} {request.match_info['action']}"
        if call not in ACTIONS:
            return web.Response(status=404)
        return await self._failure(call, request) or await ACTIONS[call](self, request)

    async def _failure(self, call: str, request: web.Request) -> Answer | None:
        """The failing answer to this call, if it is the one that is to fail."""
        if not self._struck.is_set() or self._call is None or call not in self._call[0]:
            return None
        how = self._call[1]
        if how == "race":
            if self._asked.is_set():
                await self._wait_for(self._played)
            self._asked.set()
            return None
        self._call = None
        if how == "slow":
            await asyncio.sleep(SLOW_SECONDS)
            return None
        if how == "503":
            return web.Response(status=503, text="no healthy upstream")
        if how == "half":
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"queue_running": [')
        return _reset(request)

    async def submit(self, request: web.Request) -> Answer:
        body = await request.json()
        how, self._submission = self._submission, None
        if how == "request lost":
            return _reset(request)
        self.accepted += 1
        self._prompt_id = body["prompt_id"]
        self._tasks.append(asyncio.create_task(self._perform()))
        if self.fault.chatter:
            self._tasks.append(asyncio.create_task(self._chatter()))
        if how == "answer lost":
            await self._struck.wait()
            return _reset(request)
        return web.json_response({"prompt_id": self._prompt_id, "number": 0, "node_errors": self.play.node_errors})

    async def queue(self, _: web.Request) -> Answer:
        own = [[1, self._prompt_id, dict(self.play.workflow.nodes), {}, []]] if self._is_queued else []
        waiting, foreign = self._position <= self.play.started, [[0, FOREIGN["prompt_id"], {}, {}, []]]
        running, pending = (foreign, own) if own and waiting else (own, [])
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def history(self, request: web.Request) -> Answer:
        known = self._entry and request.match_info["prompt_id"] == self._prompt_id
        return web.json_response({self._prompt_id: self._entry} if known else {})

    async def forget(self, request: web.Request) -> Answer:
        if self._prompt_id in (await request.json())["delete"]:
            self._entry = None
        return web.Response()

    async def delete_queued(self, request: web.Request) -> Answer:
        named = self._prompt_id in (await request.json())["delete"]
        if named and self._is_queued and self._position <= self.play.started:
            self._over = True
            self._cancel()
        return web.Response()

    async def interrupt(self, request: web.Request) -> Answer:
        if self._is_queued and (await request.json())["prompt_id"] == self._prompt_id:
            self._cancel()
            status = {"status_str": "error", "completed": False, "messages": [["execution_interrupted", {}]]}
            self._finish({"outputs": {}, "status": status, "meta": {}})
        return web.Response()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


ACTIONS: Mapping[str, Callable[[Stage, web.Request], Awaitable[Answer]]] = {
    "POST prompt": Stage.submit,
    "GET queue": Stage.queue,
    "POST queue": Stage.delete_queued,
    "POST interrupt": Stage.interrupt,
    "GET history": Stage.history,
    "POST history": Stage.forget,
    "GET ws": Stage.connect,
}


def _status(remaining: int, client_id: str | None = None) -> str:
    sid = {} if client_id is None else {"sid": client_id}
    return json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": remaining}}, **sid}})


def _reset(request: web.Request) -> Answer:
    """End the connection, whatever was answered so far."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class ReplayServer:
    """Holds the stages; use it as an async context manager."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}
        self._numbers = itertools.count()
        self._url = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=2**26)
        for path in ("/{stage}/{action}", "/{stage}/{action}/{prompt_id}"):
            application.router.add_route("*", path, self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for stage in self._stages.values():
            await stage.stop()
        await self._runner.cleanup()

    def open(self, play: Play, fault: Fault) -> tuple[str, Stage]:
        """A new stage, and the address of its ComfyUI."""
        name, stage = str(next(self._numbers)), Stage(play, fault)
        self._stages[name] = stage
        return f"{self._url}/{name}", stage

    async def close(self, url: str) -> None:
        await self._stages.pop(url.rpartition("/")[2]).stop()

    async def _answer(self, request: web.Request) -> Answer:
        stage = self._stages.get(request.match_info["stage"])
        return await stage.answer(request) if stage else web.Response(status=404)
