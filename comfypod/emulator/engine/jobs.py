"""``/api/jobs``: queue and history in the one shape that ComfyUI has had since 0.8.0. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfypod.emulator.engine.queue import HistoryEntry, QueuedPrompt

STATUSES = ("pending", "in_progress", "completed", "failed")

Job = dict[str, Any]


def queued_job(prompt: QueuedPrompt, status: str) -> Job:
    """Return the job of a prompt that is ``pending`` or ``in_progress``."""
    return _job(prompt.prompt_id, status, prompt.number, prompt.extra_data, {})


def finished_job(entry: HistoryEntry, *, detailed: bool = False) -> Job:
    """Return the job of a history entry; ``detailed`` adds what only ``/api/jobs/{id}`` shows."""
    number, prompt_id, workflow, extra_data, _ = entry["prompt"]
    status = "completed" if entry["status"]["status_str"] == "success" else "failed"
    facts = {**_times(entry), **_outputs(entry["outputs"])}
    for event, data in entry["status"]["messages"]:
        if event == "execution_error":
            facts["execution_error"] = data
    if detailed:
        facts["outputs"] = entry["outputs"]
        facts["execution_status"] = entry["status"]
        facts["workflow"] = {"prompt": workflow, "extra_data": extra_data}
    return _job(prompt_id, status, number, extra_data, facts)


def page(jobs: Iterable[Job], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer of ``/api/jobs``: newest first, filtered by ``status``, cut by ``offset`` and ``limit``.

    Raises:
        ValueError: a number is not one, or a status is unknown.
    """
    wanted = [status for status in query.get("status", "").split(",") if status]
    unknown = [status for status in wanted if status not in STATUSES]
    if unknown:
        raise ValueError(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    limit = int(query["limit"]) if "limit" in query else None
    offset = max(0, int(query.get("offset", "0")))
    if limit is not None and limit <= 0:
        raise ValueError("limit must be a positive integer")
    chosen = [job for job in jobs if not wanted or job["status"] in wanted]
    chosen.sort(key=lambda job: job["create_time"], reverse=True)
    shown = chosen[offset:] if limit is None else chosen[offset : offset + limit]
    has_more = offset + len(shown) < len(chosen)
    pagination = {"offset": offset, "limit": limit, "total": len(chosen), "has_more": has_more}
    return {"jobs": shown, "pagination": pagination}


def _job(prompt_id: str, status: str, number: float, extra_data: Mapping[str, Any], facts: Mapping[str, Any]) -> Job:
    job = {
        "id": prompt_id,
        "status": status,
        "priority": number,
        "create_time": extra_data["create_time"],
        "outputs_count": 0,
        **facts,
    }
    information = extra_data.get("extra_pnginfo")
    workflow = information.get("workflow") if isinstance(information, dict) else None
    if isinstance(workflow, dict) and "id" in workflow:
        job["workflow_id"] = workflow["id"]
    return job


def _times(entry: HistoryEntry) -> Job:
    times = {event: data["timestamp"] for event, data in entry["status"]["messages"]}
    end = next(
        (times[event] for event in ("execution_success", "execution_error", "execution_interrupted") if event in times),
        None,
    )
    return {"execution_start_time": times.get("execution_start"), "execution_end_time": end}


def _outputs(outputs: Mapping[str, Any]) -> Job:
    """Return the number of files that were shown and the one to show for all: a saved one if there is any."""
    files = [
        {**item, "nodeId": node_id, "mediaType": key}
        for node_id, shown in outputs.items()
        for key, items in shown.items()
        if isinstance(items, list)
        for item in items
        if isinstance(item, dict)
    ]
    facts: Job = {"outputs_count": len(files)}
    if files:
        facts["preview_output"] = next((file for file in files if file.get("type") == "output"), files[0])
    return facts
