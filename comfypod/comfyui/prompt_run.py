"""One prompt: submitted, followed, asked for its end, and stopped when nobody wants it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from comfypod.comfyui.connection import Connection, Inbox
from comfypod.comfyui.options import Patience, PromptOptions
from comfypod.comfyui.outputs import PromptResult
from comfypod.comfyui.protocol import EventSink, PromptSession, QueueSnapshot
from comfypod.comfyui.server import Server
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

POLL_SECONDS = 0.05
"""Between two questions when the answer is due at any moment."""
QUIET_SPELLS = 2
"""After so many silences in a row the websocket is opened anew, unless other prompts hear something."""
STOP_ATTEMPTS = 3
"""So often ComfyUI is asked to stop or to forget a prompt when the connection fails."""


class PromptRun:
    """One prompt between submission and verdict."""

    def __init__(
        self, server: Server, connection: Connection, session: PromptSession, on_event: EventSink, patience: Patience
    ) -> None:
        self._server = server
        self._connection = connection
        self._http = connection.http
        self._session = session
        self._on_event = on_event
        self._patience = patience
        self._submitted = False
        self._accepted = False
        self._ended = False
        self._last_sign = time.monotonic()
        self._lost_since: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether ComfyUI is known to be through with it."""
        return self._submitted and self._ended

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
        with self._connection.inbox(self._session.prompt_id) as inbox:
            delays = backoff_seconds(POLL_SECONDS, longest=1.0)
            while True:
                try:
                    # Connected first, then submitted or asked: in the other order messages would be missed.
                    await self._connection.open()
                    result = await (self._ask() if self._submitted else self._submit(options))
                    self._lost_since = None
                    delays = backoff_seconds(POLL_SECONDS, longest=1.0)
                    if result or (result := await self._listen(inbox)):
                        return result
                except ComfyUIUnresponsive as error:
                    # It is alive and busy (a model that loads can stop its server long): others decide for how long.
                    self._lost_since = None
                    event("comfyui_unresponsive", logging.WARNING, cause=error)
                except ComfyUIUnavailable as error:
                    self._check_lost(error)
                    event("connection_lost", prompt_id=self._session.prompt_id, cause=error)
                except PromptLost:
                    if self._accepted:
                        raise
                    self._submitted = False  # the request never arrived
                await asyncio.sleep(next(delays))

    def _check_lost(self, error: ComfyUIUnavailable) -> None:
        """Raise why there is no ComfyUI to connect to any more; return while there may be one."""
        if death := self._server.death("execute"):
            raise death from error
        self._lost_since = self._lost_since or time.monotonic()
        if time.monotonic() - self._lost_since >= self._patience.reconnect_seconds:
            self._server.condemn(f"it takes no connections any more ({error})")
            raise self._server.death("execute") or error

    async def _submit(self, options: PromptOptions) -> None:
        body = {
            "prompt": self._session.workflow.nodes,
            "prompt_id": self._session.prompt_id,
            "client_id": self._connection.client_id,
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

    async def _listen(self, inbox: Inbox) -> PromptResult | None:
        """Take in messages until the verdict; None when it was so quiet that the connection may have been forgotten."""
        quiet_spells, heard = 0, time.monotonic()
        while quiet_spells < QUIET_SPELLS:
            quiet_at = heard + self._patience.listening_seconds
            # Announced and not yet there: the history is a moment late.
            seconds = POLL_SECONDS if self._session.end_announced else max(0.0, quiet_at - time.monotonic())
            message = await _next(inbox, seconds)
            if message is not None and self._take(message):
                quiet_spells, heard = 0, time.monotonic()
            elif time.monotonic() >= quiet_at:
                quiet_spells, heard = quiet_spells + 1, time.monotonic()
            elif not self._session.end_announced:
                continue
            if (quiet_spells or self._session.end_announced) and (result := await self._ask()):
                return result
        await self._connection.renew(self._patience.listening_seconds)
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
        """Ask for the verdict: of an end that was announced the history alone, if it knows of it."""
        if self._session.end_announced and (result := await self._ask_history()):
            return result
        # The queue first: in the other order a prompt that ends in between would look lost.
        queue = QueueSnapshot.from_json(await self._http.queue())
        self._ended = self._session.prompt_id not in queue
        history = await self._http.history(self._session.prompt_id) if self._ended else {}
        if self._session.prompt_id in queue.pending and queue.running:
            self._last_sign = time.monotonic()  # another's turn: its own silence is not ours
        return self._session.receive_snapshot(queue, history)

    async def _ask_history(self) -> PromptResult | None:
        history = await self._http.history(self._session.prompt_id)
        self._ended = self._session.prompt_id in history
        return self._session.receive_history(history)

    async def leave(self) -> None:
        """Leave nothing behind in ComfyUI: no running or waiting prompt, and no history entry."""
        if not self._submitted or self._server.death("interrupt"):
            return
        try:
            async with asyncio.timeout(self._leaving_seconds):
                if not self._ended:
                    await self._insist(self._stop)
                await self._insist(self._forget)
        except (ComfyPodError, TimeoutError) as error:
            # Said, not raised: how the prompt ended is what the caller must hear.
            event("prompt_left_behind", logging.WARNING, prompt_id=self._session.prompt_id, cause=repr(error))
            if not self._ended:
                self._server.condemn(f"a prompt could not be stopped within {self._leaving_seconds:g} s")

    @property
    def _leaving_seconds(self) -> float:
        """One that waits is no trouble to a ComfyUI that is busy with another, and does not answer for that."""
        patience = self._patience
        return patience.interrupt_seconds if self._session.started else patience.stall_seconds

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


async def _next(inbox: Inbox, seconds: float) -> str | bytes | None:
    """The next message, or None after ``seconds`` without one; raises how the websocket was lost."""
    try:
        if inbox.empty():
            async with asyncio.timeout(seconds):
                message = await inbox.get()
        else:  # without a timer, which costs more than all else
            message = inbox.get_nowait()
    except TimeoutError:
        return None
    if isinstance(message, ComfyUIUnavailable):
        raise message
    return message
