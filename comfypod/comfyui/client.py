"""A client of one ComfyUI, for one job: what it asks, and the prompts that it runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from comfypod.comfyui.connection import Connection
from comfypod.comfyui.options import Patience, PromptOptions
from comfypod.comfyui.outputs import PromptResult
from comfypod.comfyui.prompt_run import PromptRun
from comfypod.comfyui.protocol import EventSink, PromptSession
from comfypod.comfyui.server import Server
from comfypod.completion import to_the_end
from comfypod.deadline import Deadline
from comfypod.schema.workflow import Workflow

__all__ = ["ComfyUI", "Patience", "PromptOptions"]


class ComfyUI:
    """A client of one ComfyUI; make it with `ComfyUI.at`, or get one from `comfypod.comfyui.clients`."""

    def __init__(self, server: Server, connection: Connection, patience: Patience) -> None:
        self.http = connection.http
        self._server = server
        self._connection = connection
        self._patience = patience
        self._leaving: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def at(cls, server: Server, patience: Patience | None = None) -> AsyncIterator[ComfyUI]:
        """A client of ``server`` with a connection of its own; nothing is sent yet."""
        async with Connection(server.url) as connection, cls.on(connection, server, patience) as comfyui:
            yield comfyui

    @classmethod
    @asynccontextmanager
    async def on(
        cls, connection: Connection, server: Server, patience: Patience | None = None
    ) -> AsyncIterator[ComfyUI]:
        """A client that uses ``connection``, which others may use too; afterwards nothing of its prompts is left."""
        comfyui = cls(server, connection, patience or Patience())
        try:
            yield comfyui
        finally:
            await asyncio.gather(*comfyui._leaving)

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
        run = PromptRun(self._server, self._connection, session, on_event, self._patience)
        try:
            async with deadline.enforce("execute"):
                return await run.to_the_end(options)
        finally:
            if run.has_ended:
                self._leave_meanwhile(run)
            else:
                await to_the_end(run.leave())  # also when it is cancelled a second time

    def _leave_meanwhile(self, run: PromptRun) -> None:
        """Let the history entry be deleted while the caller does something with its content."""
        leaving = asyncio.create_task(run.leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
