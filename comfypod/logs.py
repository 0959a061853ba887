"""Logs: an event and its fields, one line each, with the job's id on every line of a job, and its trace if it has one.

Secrets never get here: a job's keys are `SecretStr`, and neither inputs nor results are logged.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Protocol, TextIO

_job_fields: ContextVar[Mapping[str, str]] = ContextVar("job_fields", default=MappingProxyType({}))

log = logging.getLogger("comfypod")


@contextmanager
def job_context(job_id: str, trace_id: str | None = None) -> Iterator[None]:
    """Put ``job_id``, and ``trace_id`` if there is one, on every line that is logged inside."""
    token = _job_fields.set({"job_id": job_id, **({"trace_id": trace_id} if trace_id else {})})
    try:
        yield
    finally:
        _job_fields.reset(token)


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:  # noqa: ANN401
    """Log that ``name`` happened, with its fields."""
    log.log(level, name, extra={"fields": fields})


class LogSettings(Protocol):
    """What is asked of the log."""

    @property
    def log_level(self) -> str:
        """Name of the least severe level that is logged."""

    @property
    def log_format(self) -> str:
        """``text`` or ``json``."""


def configure(settings: LogSettings) -> None:
    """Send this package's events to stderr in the format that the settings ask for.

    The root logger stays untouched: `import runpod` configures it for itself. ComfyUI's start logs before the settings
    can be read, which takes longer than that start: nothing of theirs is imported here.
    """
    handler = _StandardErrorHandler()
    handler.setFormatter(_JSONFormatter() if settings.log_format == "json" else _TextFormatter())
    log.handlers[:] = [handler]
    log.setLevel(settings.log_level)
    log.propagate = False


class _StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment: who runs a command inside a program of theirs may put another there."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {**_job_fields.get(), **getattr(record, "fields", {})}


class _TextFormatter(logging.Formatter):
    """``12:30:01 INFO    prompt_submitted job_id=… nodes=7``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        pairs = "".join(f" {name}={_text(value)}" for name, value in _fields(record).items())
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{moment} {record.levelname:<7} {record.getMessage()}{pairs}{trace}"


class _JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": record.created, "level": record.levelname, "event": record.getMessage(), **_fields(record)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _text(value: Any) -> str:  # noqa: ANN401
    text = str(value)
    return json.dumps(text) if any(character.isspace() for character in text) else text
