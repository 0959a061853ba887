"""What a webhook says: the job as it ended, in the form that its program knows. Pure."""

from __future__ import annotations

from typing import Any

from comfypod.gateway.job_documents import job_document, moment
from comfypod.gateway.links import Links
from comfypod.master.documents import OutboxItem, Request

WEBHOOK = "webhook"
"""The kind of notification that the gateway's own sender takes."""
JOB_FORM = "job"
RUNPOD_FORM = "runpod"
_STATES = {"request.cancelled": "canceled"}
_PAUSES_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0)


def job_message(item: OutboxItem, request: Request, links: Links) -> dict[str, Any]:
    """A message about a job of the Comfy API: ``{"type", "timestamp", "data"}``, as Standard Webhooks advises."""
    return {
        "type": event_name(item),
        "timestamp": moment(request.ended_at or item.created_at),
        "data": job_document(request, None, links),
    }


def event_name(item: OutboxItem) -> str:
    """``job.`` and the state, in the contract's words."""
    return f"job.{_STATES.get(item.event, item.event.rpartition('.')[2])}"


def pause_seconds(attempts: int) -> float:
    """How long to wait after so many tries that failed: from seconds to hours, a day and more in all."""
    return _PAUSES_SECONDS[min(attempts, len(_PAUSES_SECONDS)) - 1]
