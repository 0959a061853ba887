"""Runs a workflow on ComfyUI: submits it, follows it, finds out how it ended, and stops it when nobody wants it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.outputs import PromptResult
from comfypod.comfyui.protocol import EventSink, PromptSession, QueueSnapshot
from comfypod.comfyui.server import Server
from comfypod.comfyui.websocket import ClientConnection, ConnectionClosed, connect
from comfypod.deadline import Deadline
from comfypod.errors import (
    ComfyPodError,
    ComfyUIUnavailable,
    ComfyUIUnresponsive,
    PromptLost,
    PromptRejected,
    PromptStalled,
)
from comfypod.logs import event
from comfypod.retry import backoff_seconds
from comfypod.schema.workflow import Workflow

POLL_SECONDS = 0.05
"""Between two questions when the answer is due at any moment."""
QUIET_SPELLS = 2
"""After so many silences in a row the websocket is opened anew."""
STOP_ATTEMPTS = 3
"""So often ComfyUI is asked to stop or to forget a prompt when the connection fails."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client bears what, in seconds.

    Attributes:
        silence_seconds: no message at all; then queue and history are asked, since a message may have been lost.
        reconnect_seconds: nobody takes connections; then ComfyUI counts as unavailable.
        interrupt_seconds: a prompt that nobody wants goes on; then ComfyUI is condemned.
        stall_seconds: a prompt runs and neither says anything nor logs anything; then it is given up.
    """

    silence_seconds: float = 5.0
    reconnect_seconds: float = 10.0
    interrupt_seconds: float = 10.0
    stall_seconds: float = 300.0

    @property
    def listening_seconds(self) -> float:
        """How long to wait for a message before asking: often enough to see that it is another prompt's turn."""
        return min(self.silence_seconds, self.stall_seconds / 3)


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """How a prompt is run: what goes into ``extra_data``, and whether a part of its outputs will do.

    ``ui_workflow`` is kept in the files that it makes, so that ComfyUI's page can open them.
    """

    previews: bool = False
    comfy_org_api_key: str | None = None
    allow_partial: bool = False
    ui_workflow: Mapping[str, Any] | None = None

    def extra_data(self) -> dict[str, Any]:
        """ComfyUI's names for it; ``preview_method`` holds for this prompt only (from ComfyUI 0.5 on)."""
        data: dict[str, Any] = {"preview_method": "auto" if self.previews else "none"}
        if self.comfy_org_api_key:
            data["api_key_comfy_org"] = self.comfy_org_api_key
        if self.ui_workflow is not None:
            data["extra_pnginfo"] = {"workflow": self.ui_workflow}
        return data


class ComfyUI:
    """A client of one ComfyUI; make it with `ComfyUI.at`."""

    def __init__(self, server: Server, http: ComfyUIHTTP, patience: Patience) -> None:
        self.http = http
        self._server = server
        self._patience = patience

    @classmethod
    @asynccontextmanager
    async def at(cls, server: Server, patience: Patience | None = None) -> AsyncIterator[ComfyUI]:
        """A client of ``server``; nothing is sent yet."""
        async with ComfyUIHTTP(server.url) as http:
            yield cls(server, http, patience or Patience())

    @property
    def is_own(self) -> bool:
        """Whether nobody else uses this ComfyUI."""
        return self._server.is_own

    @property
    def failed_imports(self) -> Mapping[str, str]:
        """The custom node packs that failed to import when it started, and why."""
        return self._server.failed_imports

    async def run(
        self, workflow: Workflow, deadline: Deadline, on_event: EventSink, options: PromptOptions | None = None
    ) -> PromptResult:
        """Run a workflow to its end and return what ComfyUI saved.

        If this call is cancelled, the deadline passes or the prompt stalls, the prompt is removed from ComfyUI's queue
        or interrupted; a ComfyUI that does not let go of it is condemned. ``on_event`` must return at once.

        Raises:
            PromptRejected: ComfyUI refused the workflow; ``node_errors`` says why, node by node.
            PromptFailed: a node raised; `OutOfMemory` if memory was short.
            PromptInterrupted, PromptLost: somebody else stopped it, or ComfyUI forgot it.
            PromptStalled: a node gave no sign of life for too long.
            DeadlineExceeded: the deadline passed.
            ComfyUIUnavailable: ComfyUI ended, or takes no connections any more.
        """
        # Ours, so that an unanswered POST /prompt is settled by asking; a UUID, as ComfyUI 0.38 demands.
        options = options or PromptOptions()
        session = PromptSession(str(uuid.uuid4()), workflow, allow_partial=options.allow_partial)
        run = _PromptRun(self._server, self.http, session, on_event, self._patience)
        try:
            async with deadline.enforce("execute"):
                return await run.to_the_end(options)
        finally:
            await run.leave()


class _PromptRun:
    """One prompt between submission and verdict."""

    def __init__(
        self, server: Server, http: ComfyUIHTTP, session: PromptSession, on_event: EventSink, patience: Patience
    ) -> None:
        self._server = server
        self._http = http
        self._session = session
        self._on_event = on_event
        self._patience = patience
        self._client_id = uuid.uuid4().hex
        self._submitted = False
        self._accepted = False
        self._ended = False
        self._last_sign = time.monotonic()
        self._lost_since: float | None = None

    async def to_the_end(self, options: PromptOptions) -> PromptResult:
        """Follow the prompt to its verdict, and give it up when it stalls."""
        try:
            async with asyncio.timeout(None) as scope:
                watch = asyncio.create_task(self._end_when_stalled(scope))
                try:
                    return await self._follow(options)
                finally:
                    watch.cancel()
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self._stalled() from error

    def _stalled(self) -> PromptStalled:
        if not self._session.started:
            self._server.condemn(f"it has not started a prompt for {self._patience.stall_seconds:g} s")
        node = self._session.current_node
        class_type = self._session.workflow.class_type(node) if node else None
        return PromptStalled(node, class_type, self._patience.stall_seconds)

    async def _end_when_stalled(self, scope: asyncio.Timeout) -> None:
        """Let ``scope`` expire when neither messages nor the log of ComfyUI have told anything for too long."""
        while True:
            quiet_seconds = time.monotonic() - max(self._last_sign, self._server.last_output)
            if quiet_seconds >= self._patience.stall_seconds:
                scope.reschedule(asyncio.get_running_loop().time())
                return
            await asyncio.sleep(self._patience.stall_seconds - quiet_seconds)

    async def _follow(self, options: PromptOptions) -> PromptResult:
        """Connect, submit, listen; when the connection is lost, connect again and ask."""
        delays = backoff_seconds(POLL_SECONDS, longest=1.0)
        while True:
            try:
                async with connect(self._http.url, self._client_id) as socket:
                    # Connected first, then submitted or asked: in the other order messages would be missed.
                    result = await (self._ask() if self._submitted else self._submit(options))
                    self._lost_since = None
                    delays = backoff_seconds(POLL_SECONDS, longest=1.0)
                    if result or (result := await self._listen(socket)):
                        return result
            except ComfyUIUnresponsive as error:
                # It is alive and busy (a model that loads can stop its server for long): others decide for how long.
                self._lost_since = None
                event("comfyui_unresponsive", logging.WARNING, cause=error)
            except (ConnectionClosed, ComfyUIUnavailable) as error:
                self._check_lost(error)
                event("connection_lost", prompt_id=self._session.prompt_id, cause=error)
            except PromptLost:
                if self._accepted:
                    raise
                self._submitted = False  # the request never arrived
            await asyncio.sleep(next(delays))

    def _check_lost(self, error: ConnectionClosed | ComfyUIUnavailable) -> None:
        """Raise why there is no ComfyUI to connect to any more; return while there may be one."""
        if death := self._server.death("execute"):
            raise death from error
        self._lost_since = self._lost_since or time.monotonic()
        if time.monotonic() - self._lost_since >= self._patience.reconnect_seconds:
            self._server.condemn(f"it takes no connections any more ({error})")
            raise self._server.death("execute") or _as_unavailable(error) from error

    async def _submit(self, options: PromptOptions) -> None:
        body = {
            "prompt": self._session.workflow.nodes,
            "prompt_id": self._session.prompt_id,
            "client_id": self._client_id,
            "extra_data": options.extra_data(),
        }
        self._submitted, self._ended = True, False  # perhaps, if no answer comes: the next question will tell
        status, answer = await self._http.submit_prompt(body)
        try:
            self._session.receive_answer(status, answer)
        except PromptRejected as error:
            self._submitted = not 400 <= status < 500  # with 200 a part of it runs, and with 500 it may
            raise replace(error, failed_imports=dict(self._server.failed_imports)) from None
        self._accepted = True
        event("prompt_submitted", prompt_id=self._session.prompt_id, nodes=len(self._session.workflow.nodes))

    async def _listen(self, socket: ClientConnection) -> PromptResult | None:
        """Take in messages until the verdict; None when it is so quiet that the connection should be made anew.

        ComfyUI may have forgotten it without a word: when it notices the end of an older connection of ours only now,
        it takes the newer one's registration with it (``server.py: websocket_handler``).
        """
        quiet_spells, heard = 0, time.monotonic()
        while quiet_spells < QUIET_SPELLS:
            quiet_at = heard + self._patience.listening_seconds
            # Announced and not yet there: the history is a moment late.
            seconds = POLL_SECONDS if self._session.end_announced else max(0.0, quiet_at - time.monotonic())
            message = await _receive(socket, seconds)
            if message is not None and self._take(message):
                quiet_spells, heard = 0, time.monotonic()
            elif time.monotonic() >= quiet_at:  # other people's messages are silence
                quiet_spells, heard = quiet_spells + 1, time.monotonic()
            elif not self._session.end_announced:
                continue
            if (quiet_spells or self._session.end_announced) and (result := await self._ask()):
                return result
        return None

    def _take(self, message: str | bytes) -> bool:
        """Hand on what a message says; whether it is about this prompt."""
        for item in self._session.receive_message(message):
            self._on_event(item)
        if not self._session.concerns(message):
            return False
        self._last_sign = time.monotonic()
        return True

    async def _ask(self) -> PromptResult | None:
        """Ask for the verdict: the queue first, then the history.

        In the other order a prompt that ends in between would look lost.
        """
        queue = QueueSnapshot.from_json(await self._http.queue())
        queued = self._session.prompt_id in queue
        history: Mapping[str, Any] = {} if queued else await self._http.history(self._session.prompt_id)
        self._ended = not queued
        if self._session.prompt_id in queue.pending and queue.running:
            self._last_sign = time.monotonic()  # another's turn: its own silence is not ours
        return self._session.receive_snapshot(queue, history)

    async def leave(self) -> None:
        """Leave nothing behind in ComfyUI: no running or waiting prompt, and no history entry."""
        if not self._submitted or self._server.death("interrupt"):
            return
        try:
            async with asyncio.timeout(self._patience.interrupt_seconds):
                if not self._ended:
                    await self._insist(self._stop)
                await self._insist(self._forget)
        except (ComfyPodError, TimeoutError) as error:
            # Said, not raised: how the prompt ended is what the caller must hear.
            event("prompt_left_behind", logging.WARNING, prompt_id=self._session.prompt_id, cause=repr(error))
            if not self._ended:
                self._server.condemn(f"a prompt could not be stopped within {self._patience.interrupt_seconds:g} s")

    async def _insist(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do something that may be done twice, in spite of a connection that fails once or twice."""
        for _ in range(STOP_ATTEMPTS - 1):
            try:
                return await action()
            except ComfyUIUnavailable as error:
                event("connection_lost", prompt_id=self._session.prompt_id, cause=error)
            await asyncio.sleep(POLL_SECONDS)
        return await action()

    async def _forget(self) -> None:
        await self._http.forget(self._session.prompt_id)

    async def _stop(self) -> None:
        """Take the prompt off the queue or the GPU, and see that it is gone."""
        prompt_id = self._session.prompt_id
        await self._http.cancel(prompt_id)
        while prompt_id in QueueSnapshot.from_json(await self._http.queue()):
            await asyncio.sleep(POLL_SECONDS)
            await self._http.cancel(prompt_id)
        self._ended = True
        event("prompt_stopped", prompt_id=prompt_id)


def _as_unavailable(error: ConnectionClosed | ComfyUIUnavailable) -> ComfyUIUnavailable:
    if isinstance(error, ComfyUIUnavailable):
        return error
    return ComfyUIUnavailable("connect", f"the websocket was closed ({error})")


async def _receive(socket: ClientConnection, seconds: float) -> str | bytes | None:
    """The next message, or None after ``seconds`` without one."""
    try:
        async with asyncio.timeout(seconds):
            return await socket.recv()
    except TimeoutError:
        return None
