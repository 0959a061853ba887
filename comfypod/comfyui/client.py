"""Runs a workflow on ComfyUI: submits it, follows it, finds out how it ended, and stops it when nobody wants it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.protocol import EventSink, PromptResult, PromptSession
from comfypod.comfyui.websocket import ClientConnection, ConnectionClosed, connect
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ComfyUIUnavailable, PromptRejected
from comfypod.logs import event
from comfypod.retry import backoff_seconds
from comfypod.schema.workflow import Workflow

SILENCE_SECONDS = 5.0
"""Without a message for this long, queue and history are asked: a message may have been lost."""
RECONNECT_SECONDS = 10.0
"""For so long a lost connection is sought anew before ComfyUI counts as unavailable."""
STOP_SECONDS = 5.0
"""For so long a prompt that nobody wants is asked to leave the GPU."""


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What goes into ``extra_data`` besides the workflow."""

    previews: bool = False
    comfy_org_api_key: str | None = None

    def extra_data(self) -> dict[str, Any]:
        """ComfyUI's names for it; ``preview_method`` holds for this prompt only (from ComfyUI 0.8 on)."""
        data: dict[str, Any] = {"preview_method": "auto" if self.previews else "none"}
        if self.comfy_org_api_key:
            data["api_key_comfy_org"] = self.comfy_org_api_key
        return data


class ComfyUI:
    """A client of one ComfyUI; make it with `ComfyUI.at`."""

    def __init__(self, http: ComfyUIHTTP) -> None:
        self.http = http

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator[ComfyUI]:
        """A client of the ComfyUI at ``url``; nothing is sent yet."""
        async with ComfyUIHTTP(url) as http:
            yield cls(http)

    async def run(
        self, workflow: Workflow, deadline: Deadline, on_event: EventSink, options: PromptOptions | None = None
    ) -> PromptResult:
        """Run a workflow to its end and return what ComfyUI saved.

        The prompt is removed from ComfyUI's queue, or interrupted, if this call is cancelled or the deadline passes.
        ``on_event`` must return at once.

        Raises:
            PromptRejected: ComfyUI refused the workflow; ``node_errors`` says why, node by node.
            PromptFailed: a node raised.
            PromptInterrupted, PromptLost: somebody else stopped it, or ComfyUI forgot it.
            DeadlineExceeded: the deadline passed.
            ComfyUIUnavailable: ComfyUI stopped answering.
        """
        # Ours, so that an unanswered POST /prompt is settled by asking; a UUID, as ComfyUI 0.38 demands.
        session = PromptSession(str(uuid.uuid4()), workflow)
        run = _PromptRun(self.http, session, on_event, options or PromptOptions())
        try:
            async with deadline.enforce("execute"):
                return await run.to_the_end()
        finally:
            await run.leave()


class _PromptRun:
    """One prompt between submission and verdict."""

    def __init__(self, http: ComfyUIHTTP, session: PromptSession, on_event: EventSink, options: PromptOptions) -> None:
        self._http = http
        self._session = session
        self._on_event = on_event
        self._options = options
        self._client_id = uuid.uuid4().hex
        self._submitted = False
        self._ended = False

    async def to_the_end(self) -> PromptResult:
        """Connect, submit, listen; when the connection is lost, connect again and ask."""
        delays = backoff_seconds(first=0.05, longest=1.0)
        patience = Deadline.after(RECONNECT_SECONDS)
        while True:
            connected = False
            try:
                async with connect(self._http.url, self._client_id) as socket:
                    connected = True
                    # Connected first, then submitted or asked: in the other order messages would be missed.
                    if not self._submitted:
                        await self._submit()
                    elif result := await self._ask():
                        return result
                    return await self._listen(socket)
            except (ConnectionClosed, ComfyUIUnavailable) as error:
                if connected:  # patience counts from the loss
                    patience = Deadline.after(RECONNECT_SECONDS)
                if not self._submitted or patience.remaining_seconds <= 0:
                    raise _as_unavailable(error) from error
                event("connection_lost", prompt_id=self._session.prompt_id, cause=error)
            await asyncio.sleep(next(delays))

    async def _submit(self) -> None:
        body = {
            "prompt": self._session.workflow.nodes,
            "prompt_id": self._session.prompt_id,
            "client_id": self._client_id,
            "extra_data": self._options.extra_data(),
        }
        self._submitted = True
        try:
            node_errors = await self._http.submit_prompt(body)
        except PromptRejected:
            self._submitted = False
            raise
        except ComfyUIUnavailable:
            # The answer is lost, the prompt perhaps not.
            if self._session.prompt_id not in await self._http.queued_ids() and not await self._history():
                raise
            return
        event("prompt_submitted", prompt_id=self._session.prompt_id, nodes=len(self._session.workflow.nodes))
        if node_errors:
            # ComfyUI would run the outputs that are valid and silently leave the others out.
            raise PromptRejected({"message": "some outputs failed validation"}, node_errors)

    async def _listen(self, socket: ClientConnection) -> PromptResult:
        while True:
            message = await _receive(socket)
            if message is not None:
                for item in self._session.receive_message(message):
                    self._on_event(item)
            if (message is None or self._session.end_announced) and (result := await self._ask()):
                return result

    async def _ask(self) -> PromptResult | None:
        """Ask for the verdict: the queue first, then the history.

        In the other order a prompt that ends in between would look lost.
        """
        queued = await self._http.queued_ids()
        history: Mapping[str, Any] = {} if self._session.prompt_id in queued else await self._history()
        self._ended = self._session.prompt_id not in queued
        return self._session.receive_snapshot(queued, history)

    async def _history(self) -> Mapping[str, Any]:
        return await self._http.history(self._session.prompt_id)

    async def leave(self) -> None:
        """Leave nothing behind in ComfyUI: no running or waiting prompt, and no history entry."""
        if not self._submitted:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                if not self._ended:
                    await self._stop()
                await self._http.forget(self._session.prompt_id)
        except (ComfyPodError, TimeoutError) as error:
            # Said, not raised: how the prompt ended is what the caller must hear.
            event("prompt_left_behind", logging.WARNING, prompt_id=self._session.prompt_id, cause=repr(error))

    async def _stop(self) -> None:
        """Take the prompt off the queue or the GPU, and see that it is gone."""
        prompt_id = self._session.prompt_id
        await self._http.delete_queued(prompt_id)
        await self._http.interrupt(prompt_id)
        while prompt_id in await self._http.queued_ids():
            await asyncio.sleep(0.05)
            # Asked again each time: ComfyUI before 0.38 may miss an interrupt that arrives between two nodes.
            await self._http.interrupt(prompt_id)
        event("prompt_stopped", prompt_id=prompt_id)


async def _receive(socket: ClientConnection) -> str | bytes | None:
    """The next message, or None after `SILENCE_SECONDS` without one."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await socket.recv()
    except TimeoutError:
        return None


def _as_unavailable(error: ConnectionClosed | ComfyUIUnavailable) -> ComfyUIUnavailable:
    if isinstance(error, ComfyUIUnavailable):
        return error
    return ComfyUIUnavailable("connect", f"the websocket was closed ({error})")
