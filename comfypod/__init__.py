"""comfypod runs ComfyUI workflows on RunPod Serverless.

``from comfypod import Client`` is all that a program needs which has jobs done; how it fails is in `comfypod.errors`.
Names are loaded when they are asked for, so that the worker does not load the client, nor the client the worker.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfypod.cloud.client import Client as Client
    from comfypod.cloud.client import Job as Job
    from comfypod.cloud.jobs import JobProgress as JobProgress
    from comfypod.cloud.jobs import JobState as JobState
    from comfypod.cloud.jobs import JobStatus as JobStatus
    from comfypod.cloud.jobs import PreviewImage as PreviewImage
    from comfypod.cloud.many import Outcome as Outcome
    from comfypod.cloud.result import Result as Result
    from comfypod.cloud.result import ResultFile as ResultFile

__version__ = "0.1.0"

_HOMES = {
    "Client": "comfypod.cloud.client",
    "Job": "comfypod.cloud.client",
    "JobProgress": "comfypod.cloud.jobs",
    "JobState": "comfypod.cloud.jobs",
    "JobStatus": "comfypod.cloud.jobs",
    "Outcome": "comfypod.cloud.many",
    "PreviewImage": "comfypod.cloud.jobs",
    "Result": "comfypod.cloud.result",
    "ResultFile": "comfypod.cloud.result",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 (all of them are texts)


def __getattr__(name: str) -> object:
    """Load what is asked for, once (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
