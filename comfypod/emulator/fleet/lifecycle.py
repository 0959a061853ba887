"""The life of one worker's process: started, seen to its end, and ended in order or by force."""

from __future__ import annotations

import asyncio
import logging
import time

from comfypod.emulator.events import log_event
from comfypod.emulator.fleet.host import WorkerHost
from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.fleet.scaling import WorkerState
from comfypod.emulator.fleet.worker import Worker
from comfypod.emulator.fleet.worker_process import WorkerProcess, clean_environment

SHORT_LIFE_SECONDS = 10.0
"""A worker that ends by itself sooner than this after its start has failed to start."""
# How long a killed process may take to be gone; only one stuck in the kernel takes longer.
_KILL_SECONDS = 5.0


class FailedStart(Exception):
    """A worker could not be started, or ended too soon to have been of use."""


class Lifecycle:
    """Starts the workers of one endpoint, each with the endpoint's address and an id of its own."""

    def __init__(self, host: WorkerHost, options: FleetOptions) -> None:
        self._host = host
        self._options = options

    async def live(self, worker: Worker) -> None:
        """Start the worker's process and return when nothing of it is left.

        It ends by itself, when ``worker.order_to_end`` is set, or when this is cancelled: then it hears first that its
        running jobs are stopped, because SIGTERM lets those finish. Cancelling this a second time kills it at once.

        Raises:
            FailedStart: it could not be started, or ended too soon to have been of use.
        """
        options = self._options
        environment = {**clean_environment(), **options.environment, **self._host.worker_environment(worker.id)}
        try:
            process = await WorkerProcess.start(
                worker.id, options.command, environment, options.directory, options.log_of(worker.id)
            )
        except OSError as error:
            raise FailedStart(str(error)) from error
        worker.process = process
        log_event("worker_started", worker_id=worker.id, pid=process.pid)
        is_stopping = True
        try:
            await process.wait_for_end_or(worker.order_to_end)
            is_stopping = False
        finally:
            was_frozen = worker.state is WorkerState.FROZEN
            await self._end(worker, process, stop_jobs=is_stopping)
        if not was_frozen and _has_failed(worker):
            raise FailedStart(f"exit code {process.exit_code}")

    async def _end(self, worker: Worker, process: WorkerProcess, *, stop_jobs: bool) -> None:
        """End the worker in order, and then in any case.

        Cancelling this kills at once.
        """
        is_listening = process.exit_code is None and worker.state is not WorkerState.FROZEN
        if worker.state is not WorkerState.UNHEALTHY:
            worker.enter(WorkerState.ENDING, time.monotonic())
        try:
            if is_listening:
                if stop_jobs:
                    await self._host.stop_jobs(worker.id)
                process.terminate()
                self._host.release(worker.id)
                if not await process.wait(self._options.stop_seconds):
                    after = self._options.stop_seconds
                    log_event("worker_killed", logging.WARNING, worker_id=worker.id, after_seconds=after)
        finally:
            process.kill()
            self._host.forget(worker.id)
            await _until_gone(process)
        log_event("worker_ended", worker_id=worker.id, exit_code=process.exit_code)


async def _until_gone(process: WorkerProcess) -> None:
    """Wait for a killed process, also if this is cancelled meanwhile: a loop that ends before it leaves it behind."""
    waiting = asyncio.ensure_future(process.wait(_KILL_SECONDS))
    try:
        await asyncio.shield(waiting)
    except asyncio.CancelledError:
        await waiting
        raise


def _has_failed(worker: Worker) -> bool:
    """Whether it was of no use: it never came up, or died soon after its start."""
    is_told = worker.order_to_end.is_set()
    return not worker.was_up if is_told else _age_seconds(worker) < SHORT_LIFE_SECONDS or not worker.was_up


def _age_seconds(worker: Worker) -> float:
    return time.monotonic() - worker.started
