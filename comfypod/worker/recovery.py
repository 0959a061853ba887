"""What becomes of a job when ComfyUI dies under it or runs out of memory: once more, or a truthful end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from comfypod.comfyui.client import ComfyUI
from comfypod.comfyui.clients import ComfyUIClients
from comfypod.comfyui.diagnosis import is_broken_gpu
from comfypod.comfyui.server import Server, ServerSource
from comfypod.deadline import Deadline
from comfypod.errors import (
    ComfyPodError,
    ComfyUIUnavailable,
    OutOfMemory,
    PromptFailed,
    PromptInterrupted,
    PromptLost,
    PromptStalled,
)
from comfypod.logs import event
from comfypod.settings import Settings

EXIT_SECONDS = 2.0
"""For so long after a broken connection the process's exit may still be on its way."""
POLL_SECONDS = 0.02
EXCUSES = 2
"""So often a job is run again because of what may have been another's doing."""

Result = TypeVar("Result")
Work = Callable[[ComfyUI], Awaitable[Result]]
Ending = ComfyUIUnavailable | PromptInterrupted | PromptLost | PromptStalled
"""How ComfyUI may let go of a prompt that has not ended by itself."""
OnRetry = Callable[[str], None]
"""Is told, in a sentence, why the work begins again."""


class Recovery:
    """Runs one job's work on a ComfyUI that works, and again where that can help.

    The work must deliver nothing before it returns: then running it twice is not seen from outside. It is to call
    `check_alive` before it submits its workflow, `check_gpu` when that failed, and `excuse` when another job may have
    been the cause: for what others did it is run again besides.
    """

    def __init__(self, source: ServerSource, clients: ComfyUIClients, settings: Settings, on_retry: OnRetry) -> None:
        self._source = source
        self._clients = clients
        self._on_retry = on_retry
        self._may_repeat = settings.retry_after_crash
        self._may_free_memory = settings.retry_out_of_memory
        self._is_shared = settings.comfyui_shared
        self._excuses = EXCUSES
        self._is_excused = False
        self._has_submitted = False
        self._server: Server | None = None

    async def run(self, work: Work[Result], deadline: Deadline) -> Result:
        """Return what ``work`` returns.

        Raises:
            ComfyUIUnavailable: ComfyUI died, or there is none; with its exit code or signal and its last lines.
            ComfyPodError: whatever else ``work`` raised in its last run.
        """
        while True:
            async with deadline.enforce("start"):
                server = self._server = await self._source.ready(deadline)
            self._is_excused = self._has_submitted = False
            try:
                async with self._clients.of(server) as comfyui:
                    return await work(comfyui)
            except OutOfMemory as error:
                await self._free_memory(server, error, deadline)
            except PromptStalled as error:
                if not self._is_excused:
                    raise
                await self._begin_again(server, error)
            except PromptInterrupted as error:
                if not server.is_own or self._is_shared:
                    raise
                # Not by anybody else: before ComfyUI 0.26 an interrupt may hit the prompt after the one that it meant.
                await self._begin_again(server, error)
            except (ComfyUIUnavailable, PromptLost) as error:
                await self._begin_again(server, error)

    def runs_again(self, error: ComfyPodError) -> bool:
        """Whether the work will be run once more after this error, if memory can be freed."""
        return isinstance(error, OutOfMemory) and self._may_free_memory

    def excuse(self) -> None:
        """What the work raises now may be another job's doing; believed `EXCUSES` times."""
        self._is_excused = self._excuses > 0
        self._excuses -= 1

    def check_alive(self) -> None:
        """Raise why the ComfyUI of this run is gone, if it is: so the work need not try. Then it submits."""
        if self._server is not None and (death := self._server.death("queue")):
            raise death
        self._has_submitted = True

    def check_gpu(self, error: PromptFailed, *, is_first: bool) -> None:
        """Condemn a ComfyUI whose GPU is broken, before another job takes its turn.

        Raises:
            ComfyUIUnavailable: the job that was before this one has broken it.
        """
        if self._server is None or not is_broken_gpu(error.message):
            return
        was_broken = not is_first or self._server.death("execute") is not None
        self._server.condemn(f"its GPU is broken ({error.message.splitlines()[0]})")
        if was_broken and (death := self._server.death("execute")):
            self.excuse()
            raise death from error

    async def _free_memory(self, server: Server, error: OutOfMemory, deadline: Deadline) -> None:
        """Make room for another run; raise ``error`` if there was one already, or ComfyUI does not make room."""
        if not self._may_free_memory:
            raise error
        self._may_free_memory = False
        try:
            async with deadline.enforce("free"), self._clients.of(server) as comfyui:
                await comfyui.http.free_memory()
        except ComfyPodError as reason:
            raise error from reason
        node = f"node {error.node_id} ({error.class_type})"
        self._tell(f"Memory was short in {node}; it was freed, and the job was run again")

    async def _begin_again(self, server: Server, error: Ending) -> None:
        """Return if the work may be run once more, on the next ComfyUI if this one died; else raise why it failed."""
        death = await _death(server, error)
        is_excused = self._is_excused or (death is not None and not self._has_submitted)
        if self._may_repeat or is_excused:
            self._may_repeat = self._may_repeat and is_excused
            self._tell(f"{str(death or error).rstrip('.')}; the job was run again")
            return
        if death is None and isinstance(error, ComfyUIUnavailable):
            server.condemn(f"it does not answer ({error.cause})")
        raise death or error from error

    def _tell(self, reason: str) -> None:
        event("job_run_again", logging.WARNING, reason=reason)
        self._on_retry(reason)


async def _death(server: Server, error: Ending) -> ComfyUIUnavailable | None:
    """Why the server is gone, if it is: its connections end a moment before its process."""
    phase = error.phase if isinstance(error, ComfyUIUnavailable) else "execute"
    deadline = Deadline.after(EXIT_SECONDS if isinstance(error, ComfyUIUnavailable) else 0)
    while (death := server.death(phase)) is None and deadline.remaining_seconds > 0:  # noqa: ASYNC110 (a process)
        await asyncio.sleep(POLL_SECONDS)
    return death
