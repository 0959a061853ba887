"""The workers of an emulated endpoint: started and ended as its jobs ask for it, replaced when they die, and billed."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import time

from comfypod.emulator.events import log_event
from comfypod.emulator.fleet.billing import Ledger, Spend
from comfypod.emulator.fleet.host import WorkerHost
from comfypod.emulator.fleet.lifecycle import SHORT_LIFE_SECONDS, FailedStart, Lifecycle
from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.fleet.process_tree import FrozenGuard
from comfypod.emulator.fleet.scaling import Decision, WorkerState, decide
from comfypod.emulator.fleet.worker import Worker
from comfypod.emulator.fleet.worker_process import WorkerProcess

# How often the workers are compared with what there is to do.
_TICK_SECONDS = 0.1
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0


class Fleet:
    """Keeps as many workers as the options and the jobs ask for, until `stop`.

    Call `start`, then `replace` whenever a worker asks for it, and `stop` in a ``finally``. The command may end at any
    time: another worker is started where one is needed, after a pause that grows while workers fail to start. One that
    failed stays listed as unhealthy until another is started in its place.
    """

    def __init__(self, host: WorkerHost, options: FleetOptions) -> None:
        self.options = options
        # How many workers in a row failed to start: more than a few means that the command is broken.
        self.failed_starts = 0
        self.wanted = options.min_workers
        self.ledger = Ledger(options.price_per_second, bill_initializing=options.bill_initializing)
        self._host = host
        self._lifecycle = Lifecycle(host, options)
        self._workers: dict[str, Worker] = {}
        self._failed: dict[str, Worker] = {}
        self._guard = FrozenGuard()
        self._lives: set[asyncio.Task[None]] = set()
        self._governor: asyncio.Task[None] | None = None
        self._next_start = 0.0

    def members(self) -> list[Worker]:
        """Every worker as it is now, the oldest first; before them those that failed and wait for their replacement."""
        self._look()
        return [*self._failed.values(), *self._workers.values()]

    def states(self) -> dict[str, WorkerState]:
        """The state of every worker, by id."""
        return {worker.id: worker.state for worker in self.members()}

    @property
    def workers(self) -> dict[str, WorkerProcess]:
        """The processes that were started and are not known to be gone, by the worker's id."""
        return {worker.id: worker.process for worker in self._workers.values() if worker.process is not None}

    def spend(self) -> Spend:
        """What all workers so far have cost."""
        return self.ledger.spend(time.monotonic())

    def start(self) -> None:
        """Begin to look after the workers, in the background.

        Raises:
            FileNotFoundError: there is no such program, or no folder for it or for its log.
        """
        _check(self.options)
        self._governor = asyncio.create_task(self._govern())
        self._governor.add_done_callback(tell_failure)

    def replace(self, worker_id: str) -> bool:
        """Let the worker finish within the stop deadline; False if it is not one of ours.

        Another is started when it is gone, if one is still needed.
        """
        worker = self._workers.get(worker_id)
        if worker is not None:
            self._order_to_end(worker, "replaced")
        return worker is not None

    async def stop(self) -> None:
        """Stop every worker and wait for it. If this is cancelled, they are killed at once.

        Each worker first hears that its running jobs are stopped, because SIGTERM lets those finish.
        """
        if self._governor is not None:
            self._governor.cancel()
        for life in self._lives:
            life.cancel()
        try:
            await asyncio.gather(*self._lives, return_exceptions=True)
        finally:
            for worker in list(self._workers.values()):
                if worker.process is not None:
                    worker.process.kill()
                self._remove(worker)
            self._guard.close()

    async def _govern(self) -> None:
        while True:
            self._look()
            now = time.monotonic()
            self._act(self._decide(now), now)
            await asyncio.sleep(_TICK_SECONDS)

    def _look(self) -> None:
        now = time.monotonic()
        activity = self._host.activity(list(self._workers))
        for worker in self._workers.values():
            problem = worker.observe(activity.get(worker.id), now, self.options.start_limit_seconds)
            if problem is not None:
                log_event("worker_is_unhealthy", logging.ERROR, worker_id=worker.id, reason=problem)
                self._order_to_end(worker, "unhealthy")

    def _decide(self, now: float) -> Decision:
        views = [worker.view(now) for worker in self._workers.values()]
        return decide(self._host.demand(), views, self.options)

    def _act(self, decision: Decision, now: float) -> None:
        """Carry it out. Nothing is awaited between what was seen and this: no worker can have taken a job meanwhile."""
        if decision.wanted != self.wanted:
            log_event("workers_wanted", count=decision.wanted, before=self.wanted)
            self.wanted = decision.wanted
        for worker_id in decision.stop:
            self._scale_down(self._workers[worker_id], now)
        for _ in range(decision.start):
            self._scale_up(now)

    def _scale_up(self, now: float) -> None:
        frozen = [worker for worker in self._workers.values() if worker.state is WorkerState.FROZEN]
        if frozen:
            worker = frozen[-1]
            self._host.revive(worker.id)
            self._guard.remove(worker.id)
            worker.thaw(now)
            log_event("worker_revived", worker_id=worker.id)
        elif now >= self._next_start:
            self._start_one(now)

    def _scale_down(self, worker: Worker, now: float) -> None:
        # There are never more frozen ones than max workers: none is started anew while one could be revived.
        if self.options.flash_boot and self._is_guarded(worker):
            self._host.release(worker.id)
            worker.freeze(now)
            log_event("worker_frozen", worker_id=worker.id)
        else:
            self._order_to_end(worker, "idle")

    def _is_guarded(self, worker: Worker) -> bool:
        """Have the worker killed if we die while it is frozen; False if nobody can be had who would."""
        try:
            self._guard.add(worker.id)
        except OSError as error:
            log_event("worker_cannot_be_frozen", logging.WARNING, worker_id=worker.id, reason=str(error))
            return False
        return True

    def _order_to_end(self, worker: Worker, reason: str) -> None:
        if not worker.order_to_end.is_set():
            log_event("worker_ending", worker_id=worker.id, reason=reason)
            self._host.release(worker.id)  # first, so that it takes no job between now and its SIGTERM
            worker.order_to_end.set()

    def _start_one(self, now: float) -> None:
        if self._failed:
            del self._failed[next(iter(self._failed))]
        worker_id = f"local-{secrets.token_hex(8)}"
        worker = Worker(worker_id, self.ledger.open(worker_id, now), now)
        self._workers[worker_id] = worker
        life = asyncio.create_task(self._live(worker))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        life.add_done_callback(tell_failure)

    async def _live(self, worker: Worker) -> None:
        try:
            await self._lifecycle.live(worker)
            if worker.was_up and time.monotonic() - worker.started >= SHORT_LIFE_SECONDS:
                self.failed_starts = 0
        except FailedStart as error:
            self._note_failed_start(worker, str(error))
        finally:
            self._remove(worker)

    def _note_failed_start(self, worker: Worker, reason: str) -> None:
        self.failed_starts += 1
        pause_seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(self.failed_starts - 1, 10), _LONGEST_PAUSE_SECONDS)
        self._next_start = time.monotonic() + pause_seconds
        log_event("worker_ended_early", logging.WARNING, reason=reason, next_start_seconds=pause_seconds)
        worker.enter(WorkerState.UNHEALTHY, time.monotonic())
        if len(self._failed) < self.options.max_workers:
            self._failed[worker.id] = worker

    def _remove(self, worker: Worker) -> None:
        """Nothing of it is left: close its bill."""
        if self._workers.pop(worker.id, None) is not None:
            worker.process, worker.job_ids = None, ()
            self.ledger.close(worker.id, time.monotonic())
            self._guard.remove(worker.id)


def _check(options: FleetOptions) -> None:
    """What would fail with every worker is told before the first."""
    if shutil.which(options.command[0], path=os.environ.get("PATH")) is None:
        raise FileNotFoundError(f"The worker's command {options.command[0]!r} was not found, or cannot be executed.")
    if options.directory is not None and not options.directory.is_dir():
        raise FileNotFoundError(f"There is no folder {options.directory} in which workers could run.")
    if options.log is not None and not options.log.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {options.log.parent} for the workers' log.")


def tell_failure(task: asyncio.Task[None]) -> None:
    """Log the error that ended a task of the emulator: nobody awaits it before the end, so it would not be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log_event("emulator_failed", logging.ERROR, error=repr(error))
