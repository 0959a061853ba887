"""The end of a worker that serves jobs: when the platform tells it to end (SIGTERM), or when it asked to be replaced.

The SDK (runpod-python 1.12.0, ``rp_scale.py``) lets running jobs finish, for which the platform does not wait, and then
waits for its open polls, each of up to 90 s. Here a running job is cancelled instead: its prompt leaves the GPU, and
RunPod, which hears nothing more of the job, gives it to another worker. A result that is being sent is sent.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from comfypod.logs import event
from comfypod.worker.handler import Handler
from comfypod.worker.last_resort import exit_in_time

JOBS_SECONDS = 2.0
"""How long cancelled jobs may take to leave ComfyUI, and results to be sent; and after ComfyUI's end once more."""
LOOK_SECONDS = 0.02


class Ending:
    """What stands between the SDK and the handler, so that the worker ends when it is to.

    It is to when it is told to, and when an answer asks for the worker to be replaced (``refresh_worker``): then what
    else it runs is finished, and nothing more taken. Give the SDK `handle` and `concurrency`, and let it run inside
    `expected`.

    Args:
        handler: what runs the jobs.
        concurrency: how many of them at a time. Constant: a changing value would make the SDK stop taking jobs until
            all running ones have ended.
        jobs_held: how many jobs the SDK holds: waiting, running, or with a result that is being sent.
        end_comfyui: ends ComfyUI, if it is the worker's own; it may block.
    """

    def __init__(
        self, handler: Handler, concurrency: int, jobs_held: Callable[[], int], end_comfyui: Callable[[], None]
    ) -> None:
        self._handler = handler
        self._concurrency = concurrency
        self._jobs_held = jobs_held
        self._end_comfyui = end_comfyui
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_taking: Callable[[], object] = lambda: None
        self._end: asyncio.Task[None] | None = None
        self._is_told = False

    @property
    def has_begun(self) -> bool:
        """Whether no more jobs are run."""
        return self._is_told or self._end is not None

    async def handle(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job; one that an open poll brought after the end had begun is left to another worker."""
        if self.has_begun:
            event("job_left", job_id=job["id"], reason="the worker is ending")
            raise asyncio.CancelledError
        answer = await self._handler(job)
        if answer.get("refresh_worker") and self._end is None:
            self._stop_taking()
            self._end = asyncio.create_task(self._end_polls())
        return answer

    def concurrency(self, _: int) -> int:
        """The constant. The SDK calls this in its loop before each poll, once its own signal handlers are set."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._handle_signal()
        return self._concurrency

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Takes the cancellation in which the SDK's loop ends for what it is."""
        try:
            yield
        except asyncio.CancelledError:
            if not self.has_begun:
                raise

    def _handle_signal(self) -> None:
        """Be called at SIGTERM before the SDK, whose own handler makes it start no other poll."""
        previous = signal.getsignal(signal.SIGTERM)
        if callable(previous):
            self._stop_taking = partial(previous, signal.SIGTERM, None)

        def act(*_: object) -> None:
            self._begin()
            self._stop_taking()

        signal.signal(signal.SIGTERM, act)

    def _begin(self) -> None:
        """In a signal handler: the rest is left to the event loop."""
        if self._is_told or self._loop is None or self._loop.is_closed():
            return
        self._is_told = True
        exit_in_time()
        self._loop.call_soon_threadsafe(self._end_in_loop)

    def _end_in_loop(self) -> None:
        event("worker_ending", jobs=self._jobs_held())
        self._handler.cancel_jobs()
        self._end = asyncio.ensure_future(self._end_soon())

    async def _end_soon(self) -> None:
        """Wait for the jobs no longer than need be: one whose node heeds no interrupt ends with ComfyUI."""
        try:
            async with asyncio.timeout(JOBS_SECONDS):
                await self._end_polls()
        except TimeoutError:
            event("jobs_left", logging.WARNING, jobs=self._jobs_held(), reason="the worker is ending")
            await asyncio.to_thread(self._end_comfyui)
            with suppress(TimeoutError):
                async with asyncio.timeout(JOBS_SECONDS):
                    await self._end_polls()
            self._end_loop()

    async def _end_polls(self) -> None:
        """Wait for the jobs, then end the SDK's loop, in which nothing is left but its polls."""
        while self._jobs_held():  # noqa: ASYNC110 (the SDK's count tells nobody of its changes)
            await asyncio.sleep(LOOK_SECONDS)
        self._end_loop()

    def _end_loop(self) -> None:
        """Cancel what runs in it: its polls, each of which may be over already, and what waits for them."""
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
