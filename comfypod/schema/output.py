"""A job's output: what the handler returns, of a job that succeeded and of one that failed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from comfypod.errors import ComfyPodError, DeadlineExceeded
from comfypod.schema.artifact import Artifact
from comfypod.schema.wire import json_safe, shortened

LONGEST_SENTENCE = 4000
MOST_WARNINGS = 100
LARGEST_DETAIL_BYTES = 500_000
"""RunPod drops an answer of 10 MB and more without a word, also that of a job that failed."""


@dataclass(frozen=True, slots=True)
class TextOutput:
    """A text, or any other value that is no file, which a node showed under ``key``."""

    node_id: str
    key: str
    value: Any

    def to_json(self) -> dict[str, Any]:
        """The text as JSON."""
        return {"node_id": json_safe(self.node_id), "key": json_safe(self.key), "value": json_safe(self.value)}


@dataclass(slots=True)
class Timings:
    """Where a job's time went, in milliseconds; ``nodes`` by node id, of those that ran."""

    prepare_ms: int = 0
    queue_ms: int = 0
    execute_ms: int = 0
    deliver_ms: int = 0
    total_ms: int = 0
    nodes: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The timings as JSON."""
        return {
            "prepare_ms": self.prepare_ms,
            "queue_ms": self.queue_ms,
            "execute_ms": self.execute_ms,
            "deliver_ms": self.deliver_ms,
            "total_ms": self.total_ms,
            "nodes": json_safe(self.nodes),
        }


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Which ComfyUI made it; ``engine`` is ``emulator`` for the built-in one, so that no one takes it for a model."""

    comfyui: str
    engine: Literal["comfyui", "emulator"]
    version: str

    def to_json(self) -> dict[str, Any]:
        """The worker as JSON."""
        return {"comfyui": self.comfyui, "engine": self.engine, "version": self.version}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a job hands over."""

    artifacts: Sequence[Artifact] = ()
    texts: Sequence[TextOutput] = ()

    def to_json(self) -> dict[str, Any]:
        """``images``, ``files`` and ``texts``."""
        return {
            "images": [artifact.to_json() for artifact in self.artifacts if artifact.is_image],
            "files": [artifact.to_json() for artifact in self.artifacts if not artifact.is_image],
            "texts": [text.to_json() for text in self.texts],
        }


@dataclass(frozen=True, slots=True)
class Account:
    """What is told of every job, however it ended.

    ``seeds`` are those that the worker drew, ``idempotency_key`` is the caller's own name for the job, if it has one.
    """

    timings: Timings
    seeds: Mapping[str, int]
    warnings: Sequence[str]
    idempotency_key: str | None = None

    def to_json(self) -> dict[str, Any]:
        """``timings``, ``warnings``, ``seeds`` if any were drawn, and ``idempotency_key`` if there is one."""
        key = {"idempotency_key": self.idempotency_key} if self.idempotency_key else {}
        seeds = {"seeds": json_safe(self.seeds)} if self.seeds else {}
        warnings = [shortened(warning, LONGEST_SENTENCE) for warning in self.warnings[:MOST_WARNINGS]]
        return {"timings": self.timings.to_json(), **seeds, **key, "warnings": json_safe(warnings)}


def success_to_json(outputs: Outputs, account: Account, worker: WorkerInfo) -> dict[str, Any]:
    """The answer of a job that succeeded."""
    return {"status": "success", **outputs.to_json(), **account.to_json(), "worker": worker.to_json()}


@dataclass(frozen=True, slots=True)
class OnceInfo:
    """What became of a job that is run once: whose result this is, or who is at it (``leased``).

    ``committed``: its own; ``existing``: there was one already; ``lost``: another's came first. ``job_id`` is of who
    made it or is making it; ``expires_at`` (UTC) is until when that one's lease is good, if it is not renewed.
    """

    state: Literal["committed", "existing", "lost", "leased"]
    job_id: str
    expires_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The value of ``once`` in an answer."""
        told = {"state": self.state, "job_id": self.job_id}
        if self.expires_at is None:
            return told
        return {**told, "expires_at": self.expires_at.isoformat(timespec="seconds").replace("+00:00", "Z")}


def duplicate_to_json(account: Account, once: OnceInfo) -> dict[str, Any]:
    """The answer of a job that another run of the same request is at: no result, and no failure."""
    return {"status": "duplicate", **Outputs().to_json(), **account.to_json(), "once": once.to_json()}


def failure_to_json(error: ComfyPodError, account: Account, kept: Outputs | None = None) -> dict[str, Any]:
    """The answer of a job that failed: ``error`` is what RunPod shows beside FAILED, the rest stays in ``output``.

    ``kept`` is what was saved before it failed, of a job that asked for it.
    """
    timed_out = isinstance(error, DeadlineExceeded)
    answer: dict[str, Any] = {
        "error": json_safe(shortened(error, LONGEST_SENTENCE)),
        "status": "timeout" if timed_out else "error",
        "code": error.code,
        "retryable": error.retryable,
        "details": _bounded(json_safe(error.details())),
        **account.to_json(),
    }
    if kept is not None:
        return {**answer, **kept.to_json()}
    return {**answer, "images": None} if timed_out else answer


def size_of(answer: Mapping[str, Any]) -> int:
    """How many bytes the answer has as JSON in UTF-8; files that it holds are counted without being written.

    Base64 has no character that JSON writes in another way.
    """
    held_bytes, short = 0, dict(answer)
    for kind in ("images", "files"):
        artifacts = [dict(artifact) for artifact in answer.get(kind) or ()]
        for artifact in artifacts:
            if artifact["type"] == "base64":
                held_bytes += len(artifact["data"])
                artifact["data"] = ""
        if artifacts:
            short[kind] = artifacts
    return held_bytes + len(json.dumps(short, ensure_ascii=False).encode())


def _bounded(details: dict[str, Any]) -> dict[str, Any]:
    """The details; of those that would make the answer too large, only their size."""
    sizes = {name: len(json.dumps(value)) for name, value in details.items()}
    return {
        name: value if sizes[name] <= LARGEST_DETAIL_BYTES else f"({sizes[name]:,} bytes, left out)"
        for name, value in details.items()
    }
