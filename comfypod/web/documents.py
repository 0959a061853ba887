"""The documents of runs, as they cross the page's HTTP interface. Pure.

A value never changes: what happens to a run makes a new `Run`. Moments are in UTC, as ISO 8601 writes them in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

RunState = Literal["submitting", "queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[RunState] = frozenset({"succeeded", "failed", "cancelled"})
WaitKind = Literal["queue", "cold_start", "throttled", "unknown"]
OutputKind = Literal["image", "video", "audio", "text", "file"]


class Document(BaseModel):
    """A part of the interface."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_json(self) -> dict[str, Any]:
        """The document as JSON."""
        return self.model_dump(mode="json")

    def changed(self, **fields: Any) -> Self:  # noqa: ANN401 (values of the fields)
        """The same with other values in these fields."""
        return self.model_copy(update=fields)


class RunFile(Document):
    """A file that goes with a run: the name that its parameters have for it, and which upload it is."""

    name: str = Field(min_length=1, max_length=200)
    upload: str = Field(min_length=1, max_length=100)


class Wait(Document):
    """What a run waits for, as far as it can be known, and since when; RunPod tells nobody's place in the queue."""

    kind: WaitKind
    seconds: float
    jobs_in_queue: int | None = None


class RunProgress(Document):
    """How far a job is, as its worker told last; ``value`` is 0 to 1 over the whole job."""

    stage: str | None = None
    value: float | None = None
    message: str | None = None
    node_id: str | None = None
    node_title: str | None = None
    step: int | None = None
    steps: int | None = None
    nodes_done: int | None = None
    nodes_total: int | None = None
    eta_seconds: float | None = None


class PreviewNote(Document):
    """That there is a preview; the next one has the next number."""

    number: int
    content_type: str


class RunOutput(Document):
    """A file that a run made, or a text (``text`` then, and neither name nor address)."""

    kind: OutputKind
    index: int
    filename: str | None = None
    content_type: str | None = None
    size_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    url: str | None = None
    text: str | None = None
    node_id: str | None = None
    node_title: str | None = None


class RunError(Document):
    """Why a run failed, as a sentence, and the node that did."""

    code: str
    message: str
    node_id: str | None = None
    node_title: str | None = None
    is_retryable: bool = False


class Cost(Document):
    """An estimate: how long the job was executed, and what that costs where a price is known."""

    seconds: float
    dollars: float | None = None


class Run(Document):
    """One run, from the moment it was asked for until it is removed."""

    id: str
    title: str
    template: str | None = None
    state: RunState
    created_at: datetime
    ended_at: datetime | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    files: list[RunFile] = Field(default_factory=list)
    job_id: str | None = None
    wait: Wait | None = None
    progress: RunProgress | None = None
    preview: PreviewNote | None = None
    outputs: list[RunOutput] = Field(default_factory=list)
    error: RunError | None = None
    warnings: list[str] = Field(default_factory=list)
    timings: dict[str, float] | None = None
    cost: Cost | None = None
    is_cancelling: bool = False
    is_emulated: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED


class RunPage(Document):
    """Some runs, newest first; ``next`` is what to give as ``before`` for the following ones."""

    runs: list[Run]
    next: str | None = None


class Workers(Document):
    """How many workers an endpoint has, by state."""

    idle: int = 0
    initializing: int = 0
    running: int = 0
    throttled: int = 0
    ready: int = 0
    unhealthy: int = 0


class Jobs(Document):
    """How many jobs an endpoint has, anybody's."""

    in_queue: int = 0
    in_progress: int = 0


class Trouble(Document):
    """Why an endpoint cannot be used."""

    code: str
    message: str


class EndpointState(Document):
    """The endpoint as it was seen last; ``dollars_per_second`` is what a worker costs, if that is known."""

    name: str
    is_local: bool = False
    workers: Workers = Workers()
    jobs: Jobs = Jobs()
    dollars_per_second: float | None = None
    is_reachable: bool = True
    error: Trouble | None = None


def counts(document: Mapping[str, Any], name: str) -> dict[str, int]:
    """The whole numbers of a part of what ``/health`` answers; whatever else is there is left out."""
    part = document.get(name)
    items = part.items() if isinstance(part, Mapping) else ()
    return {str(key): value for key, value in items if isinstance(value, int) and not isinstance(value, bool)}
