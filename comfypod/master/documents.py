"""What the store keeps and gives: requests, and what is to be told of them. Pure; nothing here changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from comfypod.errors import InvalidRequest
from comfypod.master.fairness import Priority
from comfypod.master.states import ENDED, State

SEEDS = ("seed", "noise_seed")
SECRETS = ("comfy_org_api_key", "api_key_comfy_org")  # of a job's input; docs/reference/job.md


@dataclass(frozen=True, slots=True)
class Notification:
    """Who is to be told when a request ends.

    Args:
        kind: which sender takes it: "webhook", "discord".
        target: what that sender needs; opaque to everybody else, and never logged.
    """

    kind: str
    target: dict[str, Any] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"kind": self.kind, "target": self.target}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Notification:
        """As it was stored."""
        return cls(document["kind"], document["target"])


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """What is asked for.

    Args:
        tenant: who is accounted: an API key's owner, a Discord server.
        user: whose turn it is, within the tenant.
        idempotency_key: the caller's name for it, unique within the tenant.
        job_input: the job's input, as docs/reference/job.md describes it, without ``idempotency_key`` and ``once``.
        priority: one class before the next.
        labels: the caller's own names and values.
        origin: what its front end keeps with it; opaque to the master, and never logged.
        notify: who is to be told when it ends.
        trace_id: 32 hex digits that follow it through every log.
        timeout_seconds: of its job; the endpoint's own limit if none.
    """

    tenant: str
    user: str
    idempotency_key: str
    job_input: dict[str, Any] = field(repr=False)
    priority: Priority = "normal"
    labels: dict[str, str] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict, repr=False)
    notify: tuple[Notification, ...] = ()
    trace_id: str | None = None
    timeout_seconds: float | None = None

    def content_hash(self) -> str:
        """What two requests of the same idempotency key must have in common.

        Not who is told, what its front end keeps, and keys: those differ when the same is asked for again.
        """
        return digest([without_secrets(self.job_input), self.priority, self.labels, self.timeout_seconds])


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it stands; the job's input is apart (``Store.job_input``), for it may be large.

    Args:
        key: 32 hex digits, in the order of time: its identity everywhere.
        turn: what the queue sorts by, lower first.
        run: 1, and one more with each replay.
        attempt: how many jobs were posted for it, in all runs; 0: none.
        endpoint: where the last attempt went.
        job_id: RunPod's name of that job; None until it answered.
        queued_at: when its turn was given: at first ``created_at``, then that of its last replay.
        started_at: when a worker first worked on it, in this run.
        progress: the job's last progress without its preview.
        output: what was committed.
        error: ``code, message, class, retryable, details``; also of the attempt that another follows (``waiting``).
        version: one more with each change.
        workflow_hash: what a quarantine goes by.
        timings: milliseconds: ``queued_ms``, ``run_ms``, ``gpu_ms``, …
    """

    key: str
    tenant: str
    user: str
    idempotency_key: str
    priority: Priority
    turn: int
    state: State
    run: int
    attempt: int
    version: int
    workflow_hash: str
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    endpoint: str | None = None
    job_id: str | None = None
    worker_id: str | None = None
    progress: dict[str, Any] | None = None
    output: dict[str, Any] | None = field(default=None, repr=False)
    error: dict[str, Any] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict, repr=False)
    notify: tuple[Notification, ...] = ()
    timings: dict[str, int] = field(default_factory=dict)
    trace_id: str | None = None
    timeout_seconds: float | None = None

    @property
    def is_ended(self) -> bool:
        """Whether it changes no more, but by a replay."""
        return self.state in ENDED

    @property
    def workflow_id(self) -> str:
        """The name of the durable workflow that works on this run."""
        return f"{self.key}-{self.run}"


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission; ``is_new`` is false if the request was there."""

    request: Request
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ends; ``state`` is one of ENDED."""

    state: State
    output: dict[str, Any] | None = field(default=None, repr=False)
    error: dict[str, Any] | None = None
    worker_id: str | None = None
    timings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signal:
    """What a master watches of a request that it works on."""

    version: int
    is_cancelled: bool
    is_hinted: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """The newest preview of a running request; ``number`` is one more with each."""

    content_type: str
    data: bytes = field(repr=False)
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """Something that somebody must be told.

    Args:
        identifier: stable over all tries; a receiver may know it by this.
        key: the request, ``tenant`` its own.
        kind: which sender takes it.
        event: "request.succeeded", "request.failed" or "request.cancelled".
        attempts: how often it was taken, this time included.
        cause: why the last try failed.
    """

    identifier: str
    key: str
    tenant: str
    kind: str
    event: str
    target: dict[str, Any] = field(repr=False)
    attempts: int
    created_at: datetime
    due_at: datetime
    cause: str | None = None
    delivered_at: datetime | None = None
    dead_at: datetime | None = None


def canonical(document: object) -> str:
    """JSON that is the same for the same content, and ASCII: a database takes it, whatever text is inside.

    Raises:
        InvalidRequest: there is something in it that JSON does not know, or it is too deep.
    """
    try:
        return json.dumps(document, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"This is not a JSON document: {error}") from error


def digest(document: object) -> str:
    """The SHA-256 of a document's canonical form, in hex."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def workflow_hash(job_input: Mapping[str, Any]) -> str:
    """What a job runs, whatever its seeds and files: 16 hex digits.

    Raises:
        InvalidRequest: it is no JSON, or too deep.
    """
    asked = {name: job_input.get(name) for name in ("workflow", "prompt", "parameters")}
    try:
        return digest(_without_seeds(asked))[:16]
    except RecursionError as error:
        raise InvalidRequest("The workflow is too deep") from error


def without_secrets(job_input: Mapping[str, Any]) -> dict[str, Any]:
    """A job's input as it may be kept for good."""
    return {name: value for name, value in job_input.items() if name not in SECRETS}


def secrets_of(job_input: Mapping[str, Any]) -> dict[str, Any]:
    """The rest."""
    return {name: value for name, value in job_input.items() if name in SECRETS}


def _without_seeds(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(value, Mapping):
        return {name: _without_seeds(item) for name, item in value.items() if not _is_seed(name)}
    return [_without_seeds(item) for item in value] if isinstance(value, list) else value


def _is_seed(name: object) -> bool:
    return isinstance(name, str) and name.rpartition(".")[2] in SEEDS
