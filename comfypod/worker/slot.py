"""Whose turn it is on the GPU: one workflow runs, and the next one is in ComfyUI's queue already."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from comfypod.comfyui.diagnosis import is_broken_gpu
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ComfyUIUnavailable, OutOfMemory, PromptFailed, PromptLost, PromptStalled
from comfypod.logs import event


def is_trouble(error: ComfyPodError) -> bool:
    """Whether after this ComfyUI may fail again, or is short of memory."""
    if isinstance(error, PromptFailed) and is_broken_gpu(error.message):
        return True
    return isinstance(error, ComfyUIUnavailable | OutOfMemory | PromptLost | PromptStalled)


class Turn:
    """One job's turn: it waits for a place in ComfyUI, stays in its queue behind another job, and runs.

    Attributes:
        arrival: the place of its job among all that have come to the worker.
        entered: its workflow may be submitted.
        is_first: every job that was before it has left.
        is_running: ComfyUI has told that the workflow runs.
        came_behind: another job was in ComfyUI when this one entered; what fails there may be that one's doing.
    """

    def __init__(self, arrival: int, deadline: Deadline, on_start: Callable[[], None]) -> None:
        self.arrival = arrival
        self.entered = asyncio.Event()
        self.is_first = False
        self.is_running = False
        self.came_behind = False
        self._deadline = deadline
        self._on_start = on_start
        deadline.pause()

    def enter(self, *, behind: bool) -> None:
        """It may be submitted; ``behind`` another one that runs."""
        self.came_behind = behind
        self.entered.set()

    def come_first(self) -> None:
        """Nobody is before it any more: the deadline of its job counts from now on."""
        self.is_first = True
        self._deadline.resume()

    def start(self) -> None:
        """Its workflow runs; may be called again."""
        if not self.is_running:
            self.is_running = True
            self._on_start()


class GPUSlot:
    """Orders the jobs of a worker: the one that runs, the next one in ComfyUI's queue, and those that are ready.

    ComfyUI takes a prompt from its queue at the moment that the one before has ended, so that the GPU need not wait for
    the worker to hear of that. A second one in the queue would gain nothing, and be lost with a ComfyUI that dies.
    After trouble (`is_trouble`) there is none, until a job has succeeded.

    Of the jobs that are ready, the one that came to the worker first goes first, also when it has to run again.
    """

    def __init__(self) -> None:
        self._arrivals = itertools.count()
        self._waiting: list[Turn] = []
        self._inside: list[Turn] = []
        self._is_careful = False

    def arrive(self) -> int:
        """The place of a job that has come to the worker now."""
        return next(self._arrivals)

    @asynccontextmanager
    async def turn(self, arrival: int, deadline: Deadline) -> AsyncIterator[Turn]:
        """The body may submit its workflow, and is to call `Turn.start` when ComfyUI tells that it runs.

        ``deadline`` stands still while other jobs are before this one.
        """
        turn = Turn(arrival, deadline, self._advance)
        bisect.insort(self._waiting, turn, key=lambda waiting: waiting.arrival)
        try:
            self._advance()
            await turn.entered.wait()
            yield turn
            self._is_careful = False
        except ComfyPodError as error:
            if is_trouble(error):
                self._is_careful = True
                event("gpu_slot_careful", logging.WARNING, cause=error.code)
            raise
        finally:
            (self._inside if turn in self._inside else self._waiting).remove(turn)
            turn.come_first()
            self._advance()

    def _advance(self) -> None:
        while self._waiting and self._has_place():
            turn = self._waiting.pop(0)
            turn.enter(behind=bool(self._inside))
            self._inside.append(turn)
        if self._inside:
            self._inside[0].come_first()

    def _has_place(self) -> bool:
        """Behind a job only once that one runs: two that are submitted at a time may come in any order."""
        if not self._inside:
            return True
        return len(self._inside) == 1 and self._inside[0].is_running and not self._is_careful
