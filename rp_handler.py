"""The worker that RunPod starts; also ``python rp_handler.py`` with ``test_input.json`` or ``--test_input '{…}'``.

The only file that imports ``runpod``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfypod.errors import ComfyPodError
from comfypod.worker.main import WorkerApplication


def main() -> int:
    """Serve jobs until RunPod ends the worker; the exit code, unless the SDK exits by itself."""
    try:
        with WorkerApplication.from_environment(Path(__file__).resolve().parent) as worker:
            # The SDK's own default, DEBUG, writes whole inputs and results, keys included, to the log.
            os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
            # After ComfyUI has been started: this import takes 2 s, in which ComfyUI boots.
            import runpod  # noqa: PLC0415

            worker.wait_until_ready()
            # A changing value would make the SDK stop taking jobs until all running ones have ended.
            concurrency = worker.settings.worker_concurrency
            config = {"handler": worker.handler(_progress_sender()), "concurrency_modifier": lambda _: concurrency}
            runpod.serverless.start(config)
    except ComfyPodError as error:
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201 (the end of the program)
        return 1
    return 0


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
