"""The websocket connections and the one queue through which all messages leave, with ComfyUI's quirks.

One connection per client id counts. A second one replaces the first, which stays open and silent; when the first one
closes, it takes the second one's registration with it (server.py of 0.8.0, recorded).
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from comfypod.emulator.engine.wire_faults import MessageFaults
from comfypod.emulator.faults import FaultPlan

logger = logging.getLogger(__name__)

# ComfyUI waits for ever. We cut off who has not read for this long, so that a forgotten reader does not stop the rest.
SEND_TIMEOUT_SECONDS = 60.0
CLOSE_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Message:
    kind: str
    payload: str | bytes | Exception
    """An exception if the data is not JSON: ComfyUI finds that out only when it sends the message."""
    client_id: object


class SocketHub:
    """All connections of one server. Call `start` in the event loop, then publish from any thread."""

    def __init__(
        self,
        features: Mapping[str, Any],
        queue_remaining: Callable[[], int],
        current_node: Callable[[str], str | None],
        on_failure: Callable[[BaseException], None],
        plan: FaultPlan,
    ) -> None:
        """Make a hub.

        Args:
            features: what the server answers to a client that announces its features.
            queue_remaining: how many prompts are pending or running.
            current_node: the node that runs for a client id, if one does.
            on_failure: told once, in the event loop, what has ended the sending of messages. It ends ComfyUI's process.
            plan: the faults that strike messages.
        """
        self._features = features
        self._queue_remaining = queue_remaining
        self._current_node = current_node
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._client_features: dict[str, Mapping[str, Any]] = {}
        self._on_failure = on_failure
        self._faults: MessageFaults[_Message] = MessageFaults(plan, self._abort)
        self._open: dict[web.WebSocketResponse, web.Request] = {}
        self._messages: asyncio.Queue[_Message] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._publishing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start sending."""
        self._loop = asyncio.get_running_loop()
        self._publishing = asyncio.create_task(self._publish_loop())
        self._publishing.add_done_callback(self._publishing_ended)

    async def stop(self) -> None:
        """Close every connection and stop sending."""
        for socket in list(self._open):
            try:
                await asyncio.wait_for(socket.close(), CLOSE_TIMEOUT_SECONDS)
            except TimeoutError:
                logger.warning("A websocket did not close in time")
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.wait([self._publishing])

    def publish(self, event: str, data: Mapping[str, Any], client_id: object) -> None:
        """Send ``{type, data}`` to one client, or to all if ``client_id`` is None. Callable from any thread."""
        # Written out here, in the caller's thread, because the data may change before it is sent.
        self._enqueue(_Message(event, _written_out(event, data), client_id))

    def publish_binary(self, frame: bytes, client_id: object) -> None:
        """Send a binary frame to one client, or to all if ``client_id`` is None. Callable from any thread."""
        self._enqueue(_Message("binary", frame, client_id))

    def publish_status(self) -> None:
        """Tell everybody how long the queue is."""
        self.publish("status", self._status(), None)

    def takes_preview_metadata(self, client_id: object) -> bool:
        """Whether this client announced, in its first frame, that it takes binary event 4."""
        features = self._client_features.get(client_id, {}) if isinstance(client_id, str) else {}
        return bool(features.get("supports_preview_metadata"))

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Handle ``/ws``: register the connection, greet it and read it until it ends."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.rel_url.query.get("clientId", "") or uuid.uuid4().hex
        self._sockets[client_id] = socket
        self._client_features[client_id] = {}
        self._open[socket] = request
        try:
            await self._greet(socket, client_id)
            await self._read(socket, client_id)
        finally:
            del self._open[socket]
            # By id, not by connection: this is how a replaced connection silences the one that replaced it.
            self._sockets.pop(client_id, None)
            self._client_features.pop(client_id, None)
        return socket

    async def _greet(self, socket: web.WebSocketResponse, client_id: str) -> None:
        await self._send(socket, json.dumps({"type": "status", "data": {**self._status(), "sid": client_id}}))
        node = self._current_node(client_id)
        if node is not None:
            await self._send(socket, json.dumps({"type": "executing", "data": {"node": node}}))

    async def _read(self, socket: web.WebSocketResponse, client_id: str) -> None:
        """Read until the client closes. Only a first frame with ``feature_flags`` has an effect."""
        first = True
        # Without a deadline on purpose: a client may be silent for as long as it likes.
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            document = _parse_object(frame.data)
            if document is None:
                continue
            if first and document.get("type") == "feature_flags":
                announced = document.get("data", {})
                self._client_features[client_id] = announced if isinstance(announced, dict) else {}
                self.publish("feature_flags", self._features, client_id)
            first = False

    def _status(self) -> dict[str, Any]:
        return {"status": {"exec_info": {"queue_remaining": self._queue_remaining()}}}

    def _enqueue(self, message: _Message) -> None:
        if self._loop is None:
            raise RuntimeError("The hub was not started.")
        try:
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)
        except RuntimeError:
            # The loop is closed: the process is going down while a node that could not be interrupted still runs.
            logger.debug("A message was dropped because the server has stopped")

    async def _publish_loop(self) -> None:
        """Send all messages, for ever. As in ComfyUI, one that cannot be sent ends everything."""
        while True:
            message = await self._messages.get()
            if self._receivers(message.client_id):
                for each in await self._faults.at_message(message.kind, message):
                    await self._deliver(each)

    async def _deliver(self, message: _Message) -> None:
        for socket in self._receivers(message.client_id):
            if isinstance(message.payload, Exception):
                raise message.payload
            await self._send(socket, message.payload)

    def _receivers(self, client_id: Any) -> list[web.WebSocketResponse]:  # noqa: ANN401
        """Return who gets a message; a TypeError is ComfyUI's own, for a client id that is a list or an object."""
        if client_id is None:
            return list(self._sockets.values())
        socket = self._sockets.get(client_id)  # One that is neither text nor one of those two reaches nobody.
        return [] if socket is None else [socket]

    def _publishing_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    def _abort(self) -> None:
        """End every websocket without a close frame."""
        self._sockets.clear()
        for request in self._open.values():
            if request.transport is not None:
                request.transport.abort()

    async def _send(self, socket: web.WebSocketResponse, payload: str | bytes) -> None:
        try:
            sending = socket.send_str(payload) if isinstance(payload, str) else socket.send_bytes(payload)
            await asyncio.wait_for(sending, SEND_TIMEOUT_SECONDS)
        except ConnectionError:
            logger.debug("A message was lost: its websocket is closing")
        except TimeoutError:
            logger.warning("A websocket was cut off: it read nothing for %s s", SEND_TIMEOUT_SECONDS)
            await socket.close(drain=False)


def _written_out(event: str, data: Mapping[str, Any]) -> str | Exception:
    try:
        return json.dumps({"type": event, "data": data})
    except (TypeError, ValueError, RecursionError) as error:
        return error


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
