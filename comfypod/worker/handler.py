"""One job, from RunPod's words to RunPod's words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from comfypod.comfyui.client import Patience
from comfypod.comfyui.clients import ComfyUIClients
from comfypod.comfyui.server import ServerSource
from comfypod.errors import ComfyPodError, InvalidJobInput, OutputTooLarge
from comfypod.logs import event, job_context
from comfypod.schema.job import JobInput, trace_id_of
from comfypod.schema.output import Outputs, failure_to_json, size_of, success_to_json
from comfypod.schema.workflow import Workflow
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import OutputBucket
from comfypod.storage.commits import files_folder
from comfypod.worker.costs import LearnedCosts
from comfypod.worker.delivery import Ways
from comfypod.worker.description import JobDescription
from comfypod.worker.facilities import Facilities
from comfypod.worker.job_run import JobRun
from comfypod.worker.job_state import AcceptedJob, JobState
from comfypod.worker.outside import Network
from comfypod.worker.progress import ProgressTracker
from comfypod.worker.recovery import Recovery
from comfypod.worker.reporting import ProgressReporter, SendProgress
from comfypod.worker.slot import GPUSlot
from comfypod.worker.workflows import build_workflow, ui_workflow


class Handler:
    """What the SDK calls with every job.

    ``boot_ms`` is how the worker started: milliseconds until each phase was over, for the first answer.

    Returns the job's output, also of a job that failed (then with ``error``). Re-raises cancellation, after the prompt
    has left the GPU; anything else that it raises is a bug, which the SDK reports with its traceback.
    """

    def __init__(
        self,
        facilities: Facilities,
        source: ServerSource,
        send_progress: SendProgress | None,
        boot_ms: Mapping[str, int] | None = None,
    ) -> None:
        self._facilities = facilities
        self._settings = facilities.settings
        self._source = source
        self._send_progress = send_progress
        self._boot_ms = boot_ms
        self._costs = LearnedCosts()
        self._slot = GPUSlot()
        self._clients = ComfyUIClients(_patience(self._settings))
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run ``job``: ``{"id": str, "input": …}``."""
        state = JobState(job, self._settings)
        with job_context(state.job_id, trace_id_of(job.get("input"))), self._cancellable():
            try:
                answer = await self._run(state)
                event("job_succeeded", total_ms=answer["timings"]["total_ms"])
            except ComfyPodError as error:
                event("job_failed", logging.WARNING, code=error.code, error=str(error)[:500])
                answer = self._failure(error, state)
            return self._ask_for_refresh(self._tell_boot(answer))

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        """Let `cancel_jobs` cancel the task of the body."""
        task = asyncio.current_task()
        if task is None:
            msg = "a job runs in a task"
            raise RuntimeError(msg)
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def cancel_jobs(self) -> None:
        """Cancel every job that runs, as the worker is ending; may be called in a signal handler."""
        for task in list(self._tasks):
            event("job_cancelled", logging.WARNING, reason="the worker is ending")
            task.get_loop().call_soon_threadsafe(self._cancel, task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if task in self._tasks:  # else its result is being sent
            task.cancel()

    def _tell_boot(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Say in the worker's first answer how it started."""
        boot_ms, self._boot_ms = self._boot_ms, None
        return {**answer, "timings": {**answer["timings"], "boot_ms": boot_ms}} if boot_ms else answer

    def _ask_for_refresh(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Have RunPod replace this worker after the answer, if it should be (``refresh_worker``: the SDK's word)."""
        reason = self._source.refresh_reason
        if reason is None and not self._settings.refresh_worker:
            return answer
        if reason is not None:
            event("refresh_worker", logging.WARNING, reason=reason)
            answer["warnings"] = [*answer["warnings"], f"This worker asked to be replaced: {reason}"]
        return {**answer, "refresh_worker": True}

    async def _run(self, state: JobState) -> dict[str, Any]:
        request = state.accept()
        async with self._facilities.outside.open() as network:
            if request.describe:
                return await self._describe(state, request, network)
            work = partial(self._execute, state, request, network)
            if request.once and request.idempotency_key:
                return await self._facilities.once.run(state, request.idempotency_key, work)
            return await work()

    async def _execute(self, state: JobState, request: JobInput, network: Network) -> dict[str, Any]:
        job = self._accept(state, request, network)

        def begin_again(reason: str) -> None:
            state.warn(reason)
            job.tracker.begin_again()

        recovery = Recovery(self._source, self._clients, self._settings, begin_again)
        run = JobRun(self._facilities, network, job, recovery, self._slot).run
        interval_seconds = self._settings.progress_interval_seconds
        async with ProgressReporter(job.tracker, state.job, self._send_progress, interval_seconds):
            outputs, worker = await recovery.run(run, state.deadline)
        answer = success_to_json(outputs, state.account(), worker)
        self._check_size(answer)
        job.tracker.learn()
        return answer

    async def _describe(self, state: JobState, request: JobInput, network: Network) -> dict[str, Any]:
        """Nothing runs, so the job takes no turn on the GPU, and has no progress to tell."""
        state.tracker = ProgressTracker(Workflow({}))
        job = JobDescription(self._facilities, network, state, request)
        recovery = Recovery(self._source, self._clients, self._settings, state.warn)
        description, worker = await recovery.run(job.describe, state.deadline)
        answer = {**success_to_json(Outputs(), state.account(), worker), "description": description}
        self._check_size(answer)
        return answer

    def _accept(self, state: JobState, request: JobInput, network: Network) -> AcceptedJob:
        """What is wrong with the job itself is told at once, and not when a ComfyUI is there."""
        given = state.job.get("s3Config")  # RunPod hands it over beside the input
        if given and request.once:
            raise InvalidJobInput(["s3Config: with once, results go to the worker's own bucket; leave it out"])
        bucket = self._facilities.outside.bucket_of(given, network) if given else None
        ways = self._ways(request, bucket)
        templates = self._facilities.templates_folder
        workflow = None if ui_workflow(request) else build_workflow(request, templates, state.draw_seed)
        tracker = state.tracker = ProgressTracker(workflow or Workflow({}), self._costs)
        return AcceptedJob(state, request, workflow, tracker, ways, self._slot.arrive())

    def _ways(self, request: JobInput, own_bucket: OutputBucket | None) -> Ways:
        """How the job's results may leave; ``own_bucket`` is the one that the request brought along.

        Raises:
            InvalidJobInput: the job wants them where this worker cannot put them.
        """
        volume = Path(self._settings.volume_output_directory)
        if request.once and request.idempotency_key:
            folder = files_folder(request.idempotency_key)
            return Ways("bucket", self._settings.inline_limit_bytes, self._facilities.outside.bucket, volume, folder)
        if request.delivery == "path" and not volume.parent.is_dir():
            problem = f"there is no volume for {volume} (VOLUME_OUTPUT_DIRECTORY)"
            raise InvalidJobInput([f"delivery: {problem}; attach one, or use another delivery"])
        store = own_bucket or self._facilities.outside.bucket
        if request.delivery == "bucket" and store is None:
            raise InvalidJobInput(["delivery: there is no bucket; set BUCKET_ENDPOINT_URL, or send s3Config"])
        wanted = "bucket" if own_bucket and request.delivery == "auto" else request.delivery
        return Ways(wanted, self._settings.inline_limit_bytes, store, volume)

    def _failure(self, error: ComfyPodError, state: JobState) -> dict[str, Any]:
        """The answer of a job that failed; without what it had saved, if that would be too much to be told."""
        answer = failure_to_json(error, state.account(), state.kept)
        try:
            self._check_size(answer)
        except OutputTooLarge as excess:
            state.warn(f"What was saved before the failure is left out. {excess}")
            answer = failure_to_json(error, state.account())
        return answer

    def _check_size(self, answer: Mapping[str, Any]) -> None:
        """Refuse an answer that the platform would drop without a word."""
        size_bytes = size_of(answer)
        if size_bytes > self._settings.inline_limit_bytes:
            raise OutputTooLarge(size_bytes, self._settings.inline_limit_bytes)


def _patience(settings: Settings) -> Patience:
    return Patience(interrupt_seconds=settings.interrupt_timeout_seconds, stall_seconds=settings.stall_timeout_seconds)
