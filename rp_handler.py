"""The worker that RunPod starts; also ``python rp_handler.py`` with ``test_input.json`` or ``--test_input '{…}'``.

The only file that imports ``runpod``. First ComfyUI is started, then all else is imported, then ComfyUI is awaited,
then jobs are taken. What the first step needs is imported at the top, and must stay quick to import.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comfypod import logs
from comfypod.errors import (
    ComfyPodError,
    ComfyUIUnavailable,
    ConfigurationError,
    GPUUnavailable,
    ModelFetchFailed,
)
from comfypod.worker.boot import BootTimeline
from comfypod.worker.last_resort import exit_in_time
from comfypod.worker.launch import Launch, LaunchSettings

if TYPE_CHECKING:
    from comfypod.worker.main import WorkerApplication

ROOT = Path(__file__).resolve().parent
CHECKS: Mapping[type[ComfyPodError], str] = {
    GPUUnavailable: "gpu_works",
    ConfigurationError: "configuration_is_valid",
    ModelFetchFailed: "models_are_there",
    ComfyUIUnavailable: "comfyui_works",
}
"""The check that RunPod is told has failed, by why the worker cannot serve."""
PROGRESS_KEPT_SECONDS = 60.0
"""So long a connection for progress stays open without an update."""


def main() -> int:
    """Serve jobs until RunPod ends the worker; the exit code, unless the SDK exits by itself."""
    timeline = BootTimeline.from_environment(os.environ)
    timeline.mark("python")
    # As a container's first process it would not be ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, _end_early)
    logs.configure(LaunchSettings.from_environment(os.environ))
    try:
        with Launch(ROOT, os.environ, timeline) as launch:
            # After ComfyUI has been started: these imports take a second, in which it boots.
            from comfypod.orphans import reap_orphans_as_first_process  # noqa: PLC0415
            from comfypod.worker.main import WorkerApplication  # noqa: PLC0415

            reap_orphans_as_first_process()
            with WorkerApplication.from_environment(ROOT, os.environ, launch) as worker:
                _import_sdk()
                timeline.mark("sdk_imported")
                worker.wait_until_ready()
                _serve(worker)
    except ComfyPodError as error:
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201 (the end of the program)
        _tell_platform(error)
        return 1
    return 0


def _end_early(*_: object) -> None:
    """At SIGTERM before there can be jobs: unwind, but not for ever. `Ending` takes over then."""
    exit_in_time()
    sys.exit(0)


def _import_sdk() -> Any:  # noqa: ANN401 (a module without types)
    """``runpod``, without what makes its import slow and its log tell secrets.

    Its import asks ``cpuinfo`` for the processor's name (``serverless/utils/rp_debugger.py``), which takes 1.2 s, and
    has been seen to spin for ever when two processes asked at the same time. Its own default level, DEBUG, writes
    whole inputs and results, keys included, to the log.
    """
    stub = ModuleType("cpuinfo")
    stub.get_cpu_info = lambda: {"brand_raw": platform.processor() or "unknown"}  # type: ignore[attr-defined]
    sys.modules.setdefault("cpuinfo", stub)
    os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    import runpod  # noqa: PLC0415

    return runpod


def _serve(worker: WorkerApplication) -> None:
    """Hand over to the SDK, until the worker is told to end."""
    from comfypod.worker.answer import Answer  # noqa: PLC0415
    from comfypod.worker.ending import Ending  # noqa: PLC0415

    send_progress = _progress_sender()
    ending = Ending(worker.handler(send_progress), worker.settings.jobs_at_a_time, _jobs_held, worker.end_comfyui)

    async def handle(job: Mapping[str, Any]) -> dict[str, Any]:
        answer = await ending.handle(job)
        return answer if send_progress is None else Answer(answer)  # a local run prints the whole of it

    with ending.expected():
        _import_sdk().serverless.start({"handler": handle, "concurrency_modifier": ending.concurrency})


def _jobs_held() -> int:
    """How many jobs the SDK holds: waiting, running, or with a result that is being sent."""
    from runpod.serverless.modules.worker_state import JobsProgress  # noqa: PLC0415

    return int(JobsProgress().get_job_count())


def _tell_platform(problem: ComfyPodError) -> None:
    """Have the SDK tell RunPod why this worker is of no use, which ends the process; returns where there is no RunPod.

    A fitness check that fails is the one way to have a reason shown (runpod-python 1.12.0, rp_fitness.py).
    """
    if "RUNPOD_WEBHOOK_GET_JOB" not in os.environ:
        return

    def check() -> None:
        raise problem

    # They would come after it; to see whether there is a GPU, nvidia-smi is asked before it, for up to 5 s.
    os.environ |= {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}
    check.__name__ = next((name for kind, name in CHECKS.items() if isinstance(problem, kind)), "worker_starts")
    _import_sdk().serverless.register_fitness_check(check)
    import asyncio  # noqa: PLC0415

    from runpod.serverless.modules.rp_fitness import run_fitness_checks  # noqa: PLC0415

    asyncio.run(run_fitness_checks())


def _progress_sender() -> Any:  # noqa: ANN401 (SendProgress or None)
    """What tells RunPod of a job's progress, or None in a local run.

    Awaited and in order, on the SDK's own wire: ``runpod.serverless.progress_update`` starts a thread per call, and its
    updates overtake each other and the result. All go over connections that stay open.
    """
    if not os.environ.get("RUNPOD_WEBHOOK_POST_OUTPUT"):
        return None
    import aiohttp  # noqa: PLC0415
    from runpod.http_client import get_auth_header  # noqa: PLC0415
    from runpod.serverless.modules.rp_http import send_result  # noqa: PLC0415

    from comfypod.worker.kept import Kept  # noqa: PLC0415

    connections = Kept(lambda: aiohttp.TCPConnector(limit=0, keepalive_timeout=PROGRESS_KEPT_SECONDS))
    headers = get_auth_header()

    async def send_progress(job: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        connector = await connections.get()
        # `send_result` leaves the job's id in the headers of its session, which therefore is not shared.
        async with aiohttp.ClientSession(connector=connector, connector_owner=False, headers=headers) as session:
            await send_result(session, {"status": "IN_PROGRESS", "output": value}, job)

    return send_progress


if __name__ == "__main__":
    sys.exit(main())
