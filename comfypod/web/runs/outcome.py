"""What a job's answers mean for the page's documents. Pure.

Whatever comes from a worker is a stranger's word: types are checked, and nothing is taken for longer than it may be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from comfypod.cloud.documents import Document
from comfypod.cloud.jobs import JobProgress, JobStatus
from comfypod.cloud.result import Result
from comfypod.errors import ComfyPodError, JobFailed
from comfypod.schema.wire import as_list, as_object, json_safe, shortened
from comfypod.schema.workflow import RANDOM
from comfypod.web.documents import Cost, OutputKind, Run, RunError, RunOutput, RunProgress
from comfypod.web.saving import SavedFile

LONGEST_TEXT = 20_000
_NODE = re.compile(r"node (\S+)[ :]")
LONGEST_SENTENCE = 4_000
MOST_WARNINGS = 50
MOST_TEXTS = 100

Titles = Mapping[str, str]
"""Of the workflow's nodes, by id."""


def titles_of(workflow: Any) -> Titles:  # noqa: ANN401 (any JSON)
    """The titles that people gave to the nodes, else their classes; in API format, or as ComfyUI's page saves it."""
    document = as_object(workflow)
    titles: dict[str, str] = {}
    for node in as_list(document.get("nodes")):
        told = Document(as_object(node))
        titles[str(told.get("id"))] = shortened(told.text("title") or told.text("type") or "")
    for node_id, node in document.items():
        told = Document(as_object(node))
        if class_type := told.text("class_type"):
            titles[node_id] = shortened(Document(as_object(told.get("_meta"))).text("title") or class_type)
    return titles


def progress_of(told: JobProgress, titles: Titles) -> RunProgress:
    """The worker's update as the page has it."""
    node_id = told.current_node
    title = told.current_node_title or titles.get(node_id or "") or told.current_node_class
    return RunProgress(
        stage=told.stage,
        value=None if told.value is None else min(1.0, max(0.0, told.value)),
        message=None if told.message is None else shortened(told.message, LONGEST_SENTENCE),
        node_id=node_id,
        node_title=None if title is None else shortened(title),
        step=told.step,
        steps=told.steps,
        nodes_done=told.nodes_done,
        nodes_total=told.nodes_total,
        eta_seconds=told.eta_seconds,
    )


def outputs_of(run_id: str, files: Sequence[SavedFile], texts: Sequence[Any], titles: Titles) -> list[RunOutput]:
    """The files and texts of a run; the numbers of files are those of ``files``, and texts come behind them."""
    outputs = [_file_output(run_id, index, file, titles) for index, file in enumerate(files)]
    for index, item in enumerate(texts[:MOST_TEXTS], len(files)):
        told = Document(as_object(item))
        node_id = told.text("node_id")
        value = told.get("value")
        text = value if isinstance(value, str) else json.dumps(json_safe(value), ensure_ascii=False)
        outputs.append(
            RunOutput(
                kind="text",
                index=index,
                text=shortened(json_safe(text), LONGEST_TEXT),
                node_id=node_id,
                node_title=titles.get(node_id or ""),
            )
        )
    return outputs


def _file_output(run_id: str, index: int, file: SavedFile, titles: Titles) -> RunOutput:
    told, name = file.artifact, _shown_name(file.path)
    content_type = shortened(told.text("content_type") or "application/octet-stream")
    node_id = told.text("node_id")
    return RunOutput(
        kind=_kind(content_type),
        index=index,
        filename=name,
        content_type=content_type,
        size_bytes=told.whole_number("size_bytes"),
        width=told.whole_number("width"),
        height=told.whole_number("height"),
        url=f"api/runs/{run_id}/files/{index}/{quote(name, safe='')}",
        node_id=node_id,
        node_title=told.text("node_title") or titles.get(node_id or ""),
    )


def _shown_name(path: Path) -> str:
    """The file's name as JSON can have it."""
    return str(json_safe(path.name))


def _kind(content_type: str) -> OutputKind:
    match content_type.partition("/")[0]:
        case "image":
            return "image"
        case "video":
            return "video"
        case "audio":
            return "audio"
    return "file"


def error_of(error: ComfyPodError, titles: Titles) -> RunError:
    """The failure as the page tells it; the worker names the node."""
    node_id = _failed_node(error, titles)
    return RunError(
        code=error.code,
        message=shortened(json_safe(str(error)), LONGEST_SENTENCE),
        node_id=node_id,
        node_title=titles.get(node_id or ""),
        is_retryable=error.retryable,
    )


def _failed_node(error: ComfyPodError, titles: Titles) -> str | None:
    """The node that the error names, or the first of those that were refused."""
    details = as_object(as_object(error.output).get("details")) if isinstance(error, JobFailed) else error.details()
    node_id = details.get("node_id")
    if not isinstance(node_id, str):
        node_id = next(iter(as_object(details.get("node_errors"))), None)
    if node_id is None:  # what cannot run at this endpoint is told in sentences only: "node 4 (…): …"
        named = (_NODE.match(problem) for problem in as_list(details.get("problems")) if isinstance(problem, str))
        node_id = next((match[1] for match in named if match and match[1] in titles), None)
    return None if node_id is None else shortened(node_id)


def account_of(status: JobStatus, dollars_per_second: float | None) -> dict[str, Any]:
    """What is told of a job however it ended, as fields of a `Run`: warnings, timings, cost, who drew the pictures."""
    result = Result(as_object(status.output))
    timings = {
        name: float(value)
        for name, value in as_object(result.get("timings")).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
    }
    if status.delay_ms is not None:
        timings["delay_ms"] = status.delay_ms
    return {
        "warnings": [shortened(text, LONGEST_SENTENCE) for text in result.warnings[:MOST_WARNINGS]],
        "timings": timings or None,
        "cost": cost_of(status, dollars_per_second),
        "is_emulated": as_object(result.get("worker")).get("engine") == "emulator",
    }


def cost_of(status: JobStatus, dollars_per_second: float | None) -> Cost | None:
    """An estimate: RunPod charges for a worker's whole life, and tells of a job how long it was executed."""
    if status.execution_ms is None:
        return None
    seconds = max(0.0, status.execution_ms / 1000)
    return Cost(seconds=seconds, dollars=None if dollars_per_second is None else round(seconds * dollars_per_second, 9))


def parameters_of(run: Run, output: Mapping[str, Any]) -> dict[str, Any]:
    """The run's parameters with the seeds that were drawn, so that the same again gives the same picture."""
    drawn = {name: seed for name, seed in Result(output).seeds.items() if isinstance(seed, int)}
    if not drawn:
        return run.parameters
    # Where all seeds of a workflow were to be drawn, each is told by its own name.
    given = {name: value for name, value in run.parameters.items() if value != RANDOM}
    return {**given, **drawn}
