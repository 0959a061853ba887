"""One item, from its lease to files on this pod's disk: made by the worker's own handler, as a job is."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from comfypod.batch.documents import File, Item, Record
from comfypod.batch.runner.ledger import Made
from comfypod.batch.runner.spool import METADATA_FILE, Spool, job_of
from comfypod.completion import to_the_end
from comfypod.errors import ComfyPodError, DiskFailed
from comfypod.schema.job import JobInput
from comfypod.schema.workflow import SEED_INPUTS, Workflow
from comfypod.worker.workflows import build_workflow, ui_workflow
from comfypod.worker.workspace import plain_name

Handle = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""The worker's `Handler`."""
LONGEST_MESSAGE: Final = 2000
_OURS: Final = frozenset({"delivery", "once", "idempotency_key", "progress", "describe"})
"""Fields of a job that a batch decides."""
_DISK_CODES: Final = frozenset({"disk_failed", "upload_failed"})
"""Of a worker whose disk is full: its results go to no other place than the disk."""


class NoRoom(Exception):
    """The disk did not take an item's files: when others have been sent, it may be made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item; ``refresh_reason`` is why this pod should end after it, None: it need not."""

    made: Made
    refresh_reason: str | None = None


class Maker:
    """Makes items.

    Args:
        handle: the worker's handler, whose results go to ``spool`` (delivery: path).
        spool: where they wait to be sent.
        templates_folder: of the worker.
        about: stands in the metadata of each result, such as the batch and the pod.
        archives: one zip file for each item, with its metadata in it, instead of single files.
    """

    def __init__(
        self,
        handle: Handle,
        spool: Spool,
        templates_folder: Path,
        about: Mapping[str, str],
        *,
        archives: bool = False,
    ) -> None:
        self._handle = handle
        self._spool = spool
        self._templates_folder = templates_folder
        self._about = dict(about)
        self._archives = archives

    async def make(self, item: Item, keep: Callable[[Outcome], Awaitable[None]]) -> None:
        """Make it, and hand it to ``keep`` when its files are whole and on the disk, also those of its metadata.

        A cancellation ends what runs; when it has run, all of the rest is done first.

        Raises:
            NoRoom: the disk is full.
        """
        started_at = time.time()
        own = {name: value for name, value in item.job.items() if name not in _OURS}
        answer = await self._handle({"id": job_of(item.identifier), "input": {**own, "delivery": "path"}})
        await to_the_end(self._hand_over(item, answer, started_at, keep))

    async def _hand_over(
        self, item: Item, answer: Mapping[str, Any], started_at: float, keep: Callable[[Outcome], Awaitable[None]]
    ) -> None:
        reason = next(iter(answer["warnings"][-1:]), "it asked for it") if answer.get("refresh_worker") else None
        if answer["status"] != "success":
            await keep(Outcome(Made(_failure(item, answer, started_at)), reason))
            return
        try:
            made = await asyncio.to_thread(self._keep, item, answer, started_at)
        except DiskFailed as error:
            raise NoRoom from error
        await keep(Outcome(made, reason))

    def _keep(self, item: Item, answer: Mapping[str, Any], started_at: float) -> Made:
        """Have the files on the disk for good, and say what they are."""
        artifacts = [*answer["images"], *answer["files"]]
        folder = item.name or item.identifier
        names = file_names(artifacts)
        files = tuple(
            File(
                name=f"{folder}/{name}",
                sha256=artifact["sha256"],
                size_bytes=artifact["size_bytes"],
                media_type=artifact["content_type"],
            )
            for name, artifact in zip(names, artifacts, strict=True)
        )
        facts = workflow_facts(item, self._templates_folder, answer.get("seeds") or {})
        nodes = answer["timings"]["nodes"]
        record = Record(
            identifier=item.identifier,
            status="succeeded",
            files=files,
            started_at=started_at,
            gpu_seconds=answer["timings"]["execute_ms"] / 1000,
            load_seconds=sum(nodes.get(node_id, 0) for node_id in facts.loaders) / 1000,
        )
        metadata = {
            **self._about,
            "identifier": item.identifier,
            "row": item.row,
            "name": item.name,
            "workflow_sha256": facts.sha256,
            "seeds": dict(facts.seeds),
            "assets": list(item.assets),
            "started_at": started_at,
            "timings": answer["timings"],
            "files": [{"name": name, **_shown(artifact)} for name, artifact in zip(names, artifacts, strict=True)],
            "texts": answer["texts"],
            "warnings": answer["warnings"],
            "worker": answer["worker"],
        }
        paths = [self._spool.relative(Path(artifact["data"])) for artifact in artifacts]
        content = json.dumps(metadata, indent=1).encode()
        if self._archives:
            members = dict(zip(names, paths, strict=True))
            path, archive = self._spool.write_archive(item.identifier, folder, members, content)
            self._spool.settle([path])
            return Made(record.model_copy(update={"files": (archive,)}), (path,))
        path, about = self._spool.write_metadata(item.identifier, folder, content)
        self._spool.settle([*paths, path])
        return Made(record, (*paths, path), about)


def _failure(item: Item, answer: Mapping[str, Any], started_at: float) -> Record:
    if answer["code"] in _DISK_CODES:
        raise NoRoom
    error = {
        "code": str(answer["code"]),
        "message": str(answer["error"])[:LONGEST_MESSAGE],
        "retryable": bool(answer["retryable"]),
    }
    seconds = answer["timings"]["execute_ms"] / 1000
    return Record(identifier=item.identifier, status="failed", started_at=started_at, gpu_seconds=seconds, error=error)


def failed_without(item: Item, error: ComfyPodError) -> Made:
    """The end of an item one of whose assets can never be had."""
    told = {"code": error.code, "message": str(error)[:LONGEST_MESSAGE], "retryable": error.retryable}
    record = Record(identifier=item.identifier, status="failed", started_at=time.time(), gpu_seconds=0.0, error=told)
    return Made(record)


def file_names(artifacts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each file of a result, of its own, and the same for whoever makes the item."""
    plain = [_safe(str(artifact["filename"])) for artifact in artifacts]
    names: list[str] = []
    for name, artifact in zip(plain, artifacts, strict=True):
        with_node = f"{plain_name(str(artifact['node_id']))}-{name}"
        candidates = [*([name] if plain.count(name) == 1 else []), with_node, f"{artifact['index']}-{with_node}"]
        names.append(next(name for name in candidates if name not in names and name != METADATA_FILE))
    return names


def _safe(filename: str) -> str:
    """The last part of a file's name, without what a path or a key could not hold."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    kept = "".join(character if character.isprintable() and character not in '<>:"|?*#%' else "_" for character in name)
    return kept.lstrip(".").strip() or "file"


def _shown(artifact: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in artifact.items() if name not in {"data", "type", "filename"}}


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """What ran: the SHA-256 of the workflow with all that was filled in, its seeds, and which nodes load models."""

    sha256: str
    seeds: Mapping[str, int]
    loaders: Sequence[str]


def workflow_facts(item: Item, templates_folder: Path, drawn: Mapping[str, int]) -> WorkflowFacts:
    """The facts; ``drawn`` are the seeds that the worker drew. Of a workflow of ComfyUI's page, its document's hash."""
    request = JobInput.parse({name: value for name, value in item.job.items() if name not in _OURS})
    document = ui_workflow(request)
    if document is not None:
        return WorkflowFacts(_hash(document), drawn, ())
    workflow: Workflow = build_workflow(request, templates_folder, lambda name: drawn.get(name, 0))
    seeds = {
        f"{node_id}.{name}": value
        for node_id, node in workflow.nodes.items()
        for name in SEED_INPUTS
        if isinstance(value := node.get("inputs", {}).get(name), int)
    }
    loaders = [node_id for node_id in workflow.nodes if "Loader" in (workflow.class_type(node_id) or "")]
    return WorkflowFacts(_hash(dict(workflow.nodes)), seeds, loaders)


def _hash(document: Mapping[str, Any]) -> str:
    content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()
