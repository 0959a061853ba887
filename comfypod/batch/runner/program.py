"""The program of a pod of a batch: ComfyUI first, then all else, until there is nothing more to do for it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from comfypod import logs
from comfypod.batch.documents import Condition, Welcome
from comfypod.batch.runner.bell import Bell
from comfypod.batch.runner.coordinator import Coordinator
from comfypod.batch.runner.downloads import Downloads
from comfypod.batch.runner.environment import PodEnvironment
from comfypod.batch.runner.gate import LinkMeter, check, examine, make_folder
from comfypod.batch.runner.ledger import Ledger
from comfypod.batch.runner.making import Maker
from comfypod.batch.runner.results import open_results
from comfypod.batch.runner.runner import LAST_SECONDS, LONGEST_REASON, OUTBID, UNFIT, Runner, RunnerOptions
from comfypod.batch.runner.spool import Spool
from comfypod.batch.runner.uploads import Uploads
from comfypod.cloud.pods.own_pod import end_own_pod
from comfypod.errors import ComfyPodError, CoordinatorRefused, CoordinatorUnavailable, GPUUnavailable, PodUnfit
from comfypod.logs import event
from comfypod.orphans import reap_orphans_as_first_process
from comfypod.retry import backoff_seconds
from comfypod.threads import CallsInThreads
from comfypod.worker.last_resort import exit_in_time
from comfypod.worker.launch import Launch, LaunchSettings
from comfypod.worker.main import WorkerApplication

KILL_SECONDS: Final = 4
"""From SIGTERM to the end, whatever hangs: after 5 s an interruptible pod is killed."""
LONGEST_PAUSE_SECONDS: Final = 30.0
SWITCH_SECONDS: Final = 10.0
SWITCH_LOOK_SECONDS: Final = 2.0
NO_CONDITION: Final = Condition(
    gpu="none", gpu_memory_bytes=0, free_disk_bytes=0, disk_write_bytes_per_second=0.0, download_bytes_per_second=None
)


def run_pod(root: Path, environment: MutableMapping[str, str], options: RunnerOptions | None = None) -> str:
    """Work on a batch as its environment says, with the worker of the repository at ``root``; returns why it ended.

    Where the end of its program does not end a pod, it is ended here, unless that is under way already.

    Raises:
        ConfigurationError: the environment, a setting or a file of the repository is not valid.
        PodUnfit: the machine will not do; the coordinator has been told.
        CoordinatorRefused: the coordinator will not have this pod.
        ComfyUIUnavailable: ComfyUI's port is taken.
    """
    pod = PodEnvironment.take(environment)
    reason = None
    try:
        reason = _run(pod, root, pod.for_worker(root, environment), options or RunnerOptions())
    finally:
        if reason != OUTBID:
            end_own_pod(environment)
    return reason


def _run(pod: PodEnvironment, root: Path, environment: Mapping[str, str], options: RunnerOptions) -> str:
    logs.configure(LaunchSettings.from_environment(environment))
    launch = Launch(root, environment)
    try:
        make_folder(pod.folder)
        launch.start()
        worker = WorkerApplication.from_environment(root, environment, launch)
    except ComfyPodError as error:
        launch.close()
        cause = PodUnfit(error.cause) if isinstance(error, GPUUnavailable) else error
        asyncio.run(_say_before(pod, cause))
        raise cause from error
    with launch, worker:
        reap_orphans_as_first_process()
        return asyncio.run(PodProgram(pod, worker, launch, environment, options).run())


class PodProgram:
    """One pod, from its first look at the machine to its last word."""

    def __init__(
        self,
        pod: PodEnvironment,
        worker: WorkerApplication,
        launch: Launch,
        environment: Mapping[str, str],
        options: RunnerOptions,
    ) -> None:
        self._pod = pod
        self._worker = worker
        self._launch = launch
        self._environment = environment
        self._options = options
        self._condition = NO_CONDITION
        self._runner: Runner | None = None

    async def run(self) -> str:
        """Work until there is no more to do here, or SIGTERM; returns why it ended. Raises as `run_pod` does."""
        main = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end_soon, main)
        _DeadMansSwitch(lambda: self._runner.ends_at if self._runner else self._pod.ends_at).start()
        try:
            return await self._work()
        except asyncio.CancelledError:
            return OUTBID  # before there was anything to be given back

    def _end_soon(self, main: asyncio.Task[str] | None) -> None:
        exit_in_time(KILL_SECONDS)
        if self._runner is not None:
            self._runner.leave(OUTBID)
        elif main is not None:
            main.cancel()

    async def _work(self) -> str:
        pod = self._pod
        async with AsyncExitStack() as stack:
            coordinator = await stack.enter_async_context(Coordinator(pod))
            try:
                self._runner = await self._prepare(stack, coordinator)
            except CoordinatorUnavailable:
                raise  # it would not hear of it
            except ComfyPodError as error:
                await _say_why(coordinator, error, self._condition)
                raise
            return await self._runner.run()

    async def _prepare(self, stack: AsyncExitStack, coordinator: Coordinator) -> Runner:
        """Look at the machine, say hello, and have all that the work needs."""
        pod = self._pod
        condition = self._condition = await examine(pod.folder)
        welcome = await self._say_hello(coordinator, condition)
        bell = Bell()
        downloads = self._downloads(welcome, bell)
        missing = await downloads.missing()
        check(condition, welcome.offer, [asset for asset in welcome.assets if asset.key in missing])
        if welcome.offer is not None:
            downloads.meter = LinkMeter(welcome.offer.download_bytes_per_second)
        ledger, spool = await asyncio.to_thread(self._open_disk, welcome.batch)
        stack.callback(ledger.close)
        results = await stack.enter_async_context(open_results(welcome, pod, self._worker.settings))
        return Runner(
            condition,
            welcome,
            coordinator,
            ledger=ledger,
            spool=spool,
            downloads=downloads,
            uploads=Uploads(ledger, spool, results, coordinator, bell),
            make_maker=lambda: self._make_maker(welcome, spool),
            bell=bell,
            options=self._options,
        )

    async def _say_hello(self, coordinator: Coordinator, condition: Condition) -> Welcome:
        """Until it answers, for as long as this pod lives."""
        pauses = backoff_seconds(longest=LONGEST_PAUSE_SECONDS)
        while True:
            try:
                return await coordinator.hello(condition)
            except CoordinatorRefused:
                raise
            except CoordinatorUnavailable as error:
                pause_seconds = next(pauses)
                if time.time() + pause_seconds > self._pod.ends_at - LAST_SECONDS:
                    raise
                event("hello_waits", logging.WARNING, cause=error)
            await asyncio.sleep(pause_seconds)

    def _downloads(self, welcome: Welcome, bell: Bell) -> Downloads:
        paths = self._launch.model_paths
        folders = paths.by_kind if paths is not None else {}
        return Downloads(welcome.assets, self._worker.settings, folders, self._environment, bell)

    def _open_disk(self, batch: str) -> tuple[Ledger, Spool]:
        ledger = Ledger(self._pod.ledger_file)
        ledger.begin(batch)
        return ledger, Spool(self._pod.made_folder)

    async def _make_maker(self, welcome: Welcome, spool: Spool) -> Maker:
        await CallsInThreads(1).call(self._worker.wait_until_ready)
        about = {"batch": welcome.batch, "pod": self._pod.pod}
        archives = bool(welcome.results.get("archives"))
        return Maker(self._worker.handler(None), spool, self._worker.templates_folder, about, archives=archives)


class _DeadMansSwitch(threading.Thread):
    """Ends the process some time after the pod's end, whatever hangs in it."""

    def __init__(self, ends_at: Callable[[], float]) -> None:
        super().__init__(name="dead man's switch", daemon=True)
        self._ends_at = ends_at

    def run(self) -> None:
        """Look now and then: the end may be moved."""
        while time.time() < self._ends_at() + SWITCH_SECONDS:
            time.sleep(SWITCH_LOOK_SECONDS)
        os._exit(0)


async def _say_before(pod: PodEnvironment, cause: ComfyPodError) -> None:
    """Have the coordinator know why a pod ends that could not even look at its machine."""
    async with Coordinator(pod) as coordinator:
        await _say_why(coordinator, cause, NO_CONDITION)


async def _say_why(coordinator: Coordinator, cause: ComfyPodError, condition: Condition) -> None:
    """Say goodbye; of a machine that will not do, so that it is remembered. Who does not listen hears no more."""
    try:
        if isinstance(cause, PodUnfit):
            await coordinator.hello(condition.model_copy(update={"problem": cause.problem}))
            await coordinator.bye(f"{UNFIT}{cause.problem}", 0)
        else:
            await coordinator.bye(f"{cause.code}: {cause}"[:LONGEST_REASON], 0)
    except ComfyPodError as error:
        event("coordinator_not_told", logging.WARNING, cause=error)
