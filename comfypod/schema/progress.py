"""Progress of a job: the value of ``progress_update``, which ``/status`` shows as ``output`` while IN_PROGRESS."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from comfypod.schema.wire import json_safe

Stage = Literal["prepare", "queue", "execute", "deliver"]


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """A picture of the state so far."""

    node_id: str | None
    content_type: str
    data_base64: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One update. ``value`` is 0..1 over the whole job and never falls; ``sequence`` counts updates from 1."""

    sequence: int
    stage: Stage
    value: float
    nodes_done: int = 0
    nodes_total: int = 0
    current_node: str | None = None
    current_node_class: str | None = None
    current_node_title: str | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    message: str = ""
    preview: PreviewImage | None = None

    def to_json(self) -> dict[str, Any]:
        """The update as JSON; what is not known is left out."""
        return {name: json_safe(value) for name, value in asdict(self).items() if value is not None}
