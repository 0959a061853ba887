"""One job, from RunPod's words to RunPod's words."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfypod
from comfypod.comfyui.client import ComfyUI, PromptOptions
from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.server import ServerSource
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, OutputTooLarge
from comfypod.logs import event, job_context
from comfypod.schema.job import JobInput
from comfypod.schema.output import JobOutput, Timings, WorkerInfo, failure_to_json
from comfypod.schema.workflow import Workflow
from comfypod.settings import Settings
from comfypod.worker.costs import LearnedCosts
from comfypod.worker.delivery import deliver_inline, select
from comfypod.worker.inputs import build_workflow, check_selection, upload_files
from comfypod.worker.progress import ProgressTracker
from comfypod.worker.recovery import Recovery
from comfypod.worker.reporting import ProgressReporter, SendProgress


class Handler:
    """What the SDK calls with every job.

    Returns the job's output, also of a job that failed (then with ``error``). Re-raises cancellation, after the prompt
    has left the GPU; anything else that it raises is a bug, which the SDK reports with its traceback.
    """

    def __init__(
        self, settings: Settings, source: ServerSource, templates_folder: Path, send_progress: SendProgress | None
    ) -> None:
        self._settings = settings
        self._source = source
        self._templates_folder = templates_folder
        self._send_progress = send_progress
        self._costs = LearnedCosts()
        self._worker_info: WorkerInfo | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run ``job``: ``{"id": str, "input": …}``."""
        attempt = _Attempt(str(job["id"]), self._settings)
        with job_context(attempt.job_id), self._cancellable():
            try:
                answer = await self._run(job, attempt)
                event("job_succeeded", total_ms=answer["timings"]["total_ms"])
            except ComfyPodError as error:
                event("job_failed", logging.WARNING, code=error.code, error=str(error)[:500])
                answer = failure_to_json(error, attempt.timings(), attempt.warnings)
            return self._ask_for_refresh(answer)

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
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _ask_for_refresh(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Have RunPod replace this worker after the answer, if it should be (``refresh_worker``: the SDK's word)."""
        reason = self._source.refresh_reason
        if reason is None and not self._settings.refresh_worker:
            return answer
        if reason is not None:
            event("refresh_worker", logging.WARNING, reason=reason)
            answer["warnings"] = [*answer["warnings"], f"This worker asked to be replaced: {reason}"]
        return {**answer, "refresh_worker": True}

    async def _run(self, job: Mapping[str, Any], attempt: _Attempt) -> dict[str, Any]:
        request = attempt.accept(JobInput.parse(job.get("input")))
        workflow = build_workflow(request, self._templates_folder)
        check_selection(request, workflow)
        attempt.tracker = tracker = ProgressTracker(workflow, self._costs)

        def begin_again(reason: str) -> None:
            attempt.warnings.append(reason)
            tracker.begin_again()

        async def work(comfyui: ComfyUI) -> JobOutput:
            return await self._execute(comfyui, request, workflow, tracker, attempt)

        recovery = Recovery(self._source, self._settings, begin_again)
        interval_seconds = self._settings.progress_interval_seconds
        async with ProgressReporter(tracker, job, self._send_progress, interval_seconds):
            output = await recovery.run(work, attempt.deadline)
        answer = output.to_json()
        self._check_size(answer)
        tracker.learn()
        return answer

    async def _execute(
        self, comfyui: ComfyUI, request: JobInput, workflow: Workflow, tracker: ProgressTracker, attempt: _Attempt
    ) -> JobOutput:
        deadline = attempt.deadline
        async with deadline.enforce("prepare"):
            worker = await self._worker(comfyui.http)
            maximum_bytes = self._settings.maximum_input_bytes
            workflow = await upload_files(comfyui.http, workflow, request.files, attempt.job_id, maximum_bytes)
        tracker.enter("queue")
        result = await comfyui.run(workflow, deadline, tracker.receive, self._options(request))
        tracker.enter("deliver")
        files, texts = select(result, request.outputs)
        async with deadline.enforce("deliver"):
            artifacts = await deliver_inline(comfyui.http, workflow, files, self._settings.inline_limit_bytes)
        return JobOutput(artifacts, texts, tracker.timings(), worker, attempt.warnings)

    def _options(self, request: JobInput) -> PromptOptions:
        key = request.comfy_org_api_key or self._settings.comfy_org_api_key
        return PromptOptions(request.progress.previews, key.get_secret_value() if key else None)

    async def _worker(self, http: ComfyUIHTTP) -> WorkerInfo:
        if self._worker_info is None:
            system = (await http.system_stats()).get("system") or {}
            self._worker_info = WorkerInfo(
                comfyui=str(system.get("comfyui_version", "unknown")),
                engine="emulator" if system.get("comfypod_emulator") else "comfyui",
                version=comfypod.__version__,
            )
        return self._worker_info

    def _check_size(self, answer: Mapping[str, Any]) -> None:
        """Refuse an answer that the platform would drop without a word."""
        size_bytes = len(json.dumps(answer, ensure_ascii=False).encode())
        if size_bytes > self._settings.inline_limit_bytes:
            raise OutputTooLarge(size_bytes, self._settings.inline_limit_bytes)


class _Attempt:
    """What is known of a job so far, for the answer of one that fails on the way."""

    def __init__(self, job_id: str, settings: Settings) -> None:
        self.job_id = job_id
        self._longest_seconds = settings.job_timeout_seconds
        self.deadline = Deadline.after(self._longest_seconds)
        self.warnings: list[str] = []
        self.tracker: ProgressTracker | None = None

    def accept(self, request: JobInput) -> JobInput:
        """The request is valid: its deadline counts, and its warnings are told."""
        self.warnings += request.warnings()
        wanted, longest = request.timeout_seconds, self._longest_seconds
        if wanted is not None:
            self.deadline = Deadline.after(min(wanted, longest))
            if wanted > longest:
                self.warnings.append(f"timeout_seconds: {wanted:g} is more than this worker allows; {longest:g} counts")
        return request

    def timings(self) -> Timings:
        """Where the time went, as far as the job came."""
        return self.tracker.timings() if self.tracker else Timings()
