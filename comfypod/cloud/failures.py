"""A job's failure as an error: the class that the worker raised, and `JobFailed` at once. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from comfypod.errors import CloudError, ComfyPodError, JobFailed

_NO_REASON = "the worker gave no reason"
_made: dict[tuple[type[ComfyPodError] | None, bool], type[JobFailed]] = {}


def job_failure(job_id: str, error: Any, output: Any) -> JobFailed:  # noqa: ANN401 (foreign JSON)
    """The error for what ``/status`` shows of a job that is FAILED.

    Of a job that our worker answered it is an instance of the class with the answer's ``code`` as well, so that
    ``except OutOfMemory`` catches it; the fields of that class are those of ``details``, or None.
    """
    told = output if isinstance(output, dict) else {}
    code, is_retryable = told.get("code"), told.get("retryable")
    worker_class = _class_of(code, is_retryable) if isinstance(code, str) else None
    if not isinstance(is_retryable, bool):
        is_retryable = worker_class is not None and worker_class.retryable
    sentence, crash = _read(error)
    failure = _class_for(worker_class, is_retryable=is_retryable)(job_id, sentence, {**crash, **told})
    if worker_class is not None:
        _fill(failure, worker_class, told.get("details"))
    return failure


def _read(error: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 (foreign JSON)
    """The sentence, and what the SDK tells of a handler that raised.

    The error is then a text that holds JSON: error_type (``<class 'ValueError'>``), error_message, error_traceback,
    hostname, worker_id, runpod_version (runpod-python 1.12.0, rp_job.py, run_job).
    """
    if not isinstance(error, str) or not error.strip():
        return (json.dumps(error)[:1000] if error else _NO_REASON), {}
    try:
        crash = json.loads(error)
    except (ValueError, RecursionError):
        crash = None
    if isinstance(crash, dict) and "error_type" in crash:
        kind = str(crash["error_type"]).removeprefix("<class '").removesuffix("'>")
        return f"The worker has a bug, or met one: {kind}: {crash.get('error_message') or 'no message'}", crash
    if error.startswith("job timed out after"):
        # What RunPod says of a job whose worker fell silent, or never answered (live capture of July 2026).
        return f"RunPod gave the job up, because its worker fell silent: {error}; the worker's log may say why", {}
    return error, {}


def _class_for(worker_class: type[ComfyPodError] | None, *, is_retryable: bool) -> type[JobFailed]:
    """`JobFailed` and the worker's class in one; each is made once, so there are few of them."""
    if worker_class is None and not is_retryable:
        return JobFailed
    source, wanted = worker_class or JobFailed, (worker_class, is_retryable)
    if wanted not in _made:
        members = {
            "__module__": JobFailed.__module__,
            "__doc__": source.__doc__,
            "__reduce__": _reduce,
            "code": source.code,
            "retryable": is_retryable,
        }
        bases: tuple[type, ...] = (JobFailed,) if worker_class is None else (JobFailed, worker_class)
        _made[wanted] = type(f"Job{source.__name__}" if worker_class else source.__name__, bases, members)
    return _made[wanted]


def _reduce(failure: JobFailed) -> tuple[object, ...]:
    """How to make it again in another process, where its class need not exist yet."""
    return job_failure, (failure.job_id, failure.error, dict(failure.output))


def _class_of(code: str, is_retryable: object) -> type[ComfyPodError] | None:
    """The class with this code, of those that a worker raises; the one that is as retryable as told, if there is."""
    classes = [item for item in _classes(ComfyPodError) if item.code == code and not issubclass(item, CloudError)]
    alike = [item for item in classes if item.retryable is is_retryable]
    return next(iter([*alike, *classes]), None)


def _classes(root: type[ComfyPodError]) -> Iterator[type[ComfyPodError]]:
    """The tree below ``root``, parents first."""
    for item in root.__subclasses__():
        yield item
        yield from _classes(item)


def _fill(failure: JobFailed, worker_class: type[ComfyPodError], details: Any) -> None:  # noqa: ANN401
    """Set the fields of the worker's class; those of `JobFailed` stay what they are."""
    if not is_dataclass(worker_class):
        return
    told = details if isinstance(details, Mapping) else {}
    own = {item.name for item in fields(JobFailed)}
    for item in fields(worker_class):
        if item.name not in own:
            default = item.default_factory() if item.default_factory is not MISSING else None
            if item.default is not MISSING:
                default = item.default
            setattr(failure, item.name, told.get(item.name, default))
