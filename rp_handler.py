"""The worker that RunPod starts; also ``python rp_handler.py`` with ``test_input.json`` or ``--test_input '{…}'``.

The only file that imports ``runpod``.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from comfypod.errors import ComfyPodError
from comfypod.worker.handler import Handler
from comfypod.worker.main import WorkerApplication


def main() -> int:
    """Serve jobs until RunPod ends the worker; the exit code, unless the SDK exits by itself."""
    try:
        with WorkerApplication.from_environment(Path(__file__).resolve().parent) as worker:
            # The SDK's own default, DEBUG, writes whole inputs and results, keys included, to the log.
            os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
            # After ComfyUI has been started: this import takes a second, in which ComfyUI boots.
            _leave_out_cpu_query()
            import runpod  # noqa: PLC0415

            _wait_until_ready(worker, runpod.serverless.register_fitness_check)
            # A changing value would make the SDK stop taking jobs until all running ones have ended.
            concurrency = worker.settings.worker_concurrency
            handler = _cancelled_by_sigterm(worker.handler(_progress_sender()))
            runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _: concurrency})
    except ComfyPodError as error:
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201 (the end of the program)
        return 1
    return 0


def _leave_out_cpu_query() -> None:
    """Give the SDK the processor's name without asking for it.

    Its import asks ``cpuinfo`` (``serverless/utils/rp_debugger.py``), which takes 1.2 s, and has been seen to spin for
    ever when two processes asked at the same time.
    """
    stub = ModuleType("cpuinfo")
    stub.get_cpu_info = lambda: {"brand_raw": platform.processor() or "unknown"}  # type: ignore[attr-defined]
    sys.modules.setdefault("cpuinfo", stub)


def _wait_until_ready(
    worker: WorkerApplication, register_fitness_check: Callable[[Callable[[], None]], object]
) -> None:
    """Wait for ComfyUI; on RunPod one that does not work is told to the platform by the SDK, which ends the worker."""
    try:
        worker.wait_until_ready()
    except ComfyPodError as error:
        if "RUNPOD_WEBHOOK_GET_JOB" not in os.environ:
            raise
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201 (the SDK ends the process without a word of ours)
        problem = error

        def comfyui_works() -> None:
            raise problem

        register_fitness_check(comfyui_works)


def _cancelled_by_sigterm(handler: Handler) -> Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]:
    """The handler, whose jobs are cancelled when the worker is told to end.

    The SDK lets running jobs finish, for which the platform does not wait: the prompt would be cut off in the middle,
    and the job be given up by nobody. Its own signal handler, set before the first job, is called as well.
    """
    chained = False

    async def handle(job: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal chained
        if not chained:
            chained = True
            _call_before(signal.SIGTERM, handler.cancel_jobs)
        return await handler(job)

    return handle


def _call_before(number: signal.Signals, action: Callable[[], None]) -> None:
    """Call ``action`` when the signal comes, before whatever was to happen then."""
    previous = signal.getsignal(number)

    def act(received: int, frame: FrameType | None) -> None:
        action()
        if callable(previous):
            previous(received, frame)

    signal.signal(number, act)


def _progress_sender() -> Any:  # noqa: ANN401 (SendProgress or None)
    """What tells RunPod of a job's progress, or None in a local run.

    Awaited and in order, on the SDK's own wire: ``runpod.serverless.progress_update`` starts a thread per call, and its
    updates overtake each other and the result.
    """
    if not os.environ.get("RUNPOD_WEBHOOK_POST_OUTPUT"):
        return None
    from runpod.http_client import AsyncClientSession  # noqa: PLC0415
    from runpod.serverless.modules.rp_http import send_result  # noqa: PLC0415

    async def send_progress(job: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        async with AsyncClientSession() as session:
            await send_result(session, {"status": "IN_PROGRESS", "output": value}, job)

    return send_progress


if __name__ == "__main__":
    sys.exit(main())
