"""From ComfyUI's output files to what the caller receives: collected, converted, described, and handed over."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Event

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.outputs import OutputFile, PromptResult
from comfypod.deadline import Deadline
from comfypod.errors import DiskFailed, NoOutput, OutputTooLarge, OutputVanished, UploadFailed
from comfypod.files.facts import MediaInfo, probe
from comfypod.schema.artifact import Artifact, ArtifactType, content_type_of
from comfypod.schema.job import OutputSelection
from comfypod.schema.output import TextOutput
from comfypod.schema.workflow import Workflow
from comfypod.storage.buckets.bucket import OutputBucket
from comfypod.worker.finishing import Finished, finish
from comfypod.worker.tasks import for_each
from comfypod.worker.workspace import Workspace, plain_name

FILES_AT_ONCE = 4
BLOCK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ways:
    """How results may leave: inline up to a number of bytes, into a bucket, onto the volume.

    ``store`` is None where there is no bucket; ``wanted`` is the job's ``delivery``.
    """

    wanted: str
    inline_limit_bytes: int
    store: OutputBucket | None
    volume: Path


def select(result: PromptResult, selection: OutputSelection) -> tuple[list[OutputFile], list[TextOutput]]:
    """The files and texts that the caller asked for.

    Raises:
        NoOutput: there is none.
    """
    wanted = selection.nodes
    mine = [file for file in result.files if wanted is None or file.node_id in wanted]
    files = [file for file in mine if file.type == "output" or (selection.temporary and file.type == "temp")]
    texts = [text for text in result.texts if wanted is None or text.node_id in wanted]
    if not files and not texts:
        raise NoOutput(temporary_files=sum(file.type == "temp" for file in mine))
    return files, texts


@dataclass(frozen=True, slots=True)
class _Described:
    """A file on this machine, and what is told of it."""

    source: OutputFile
    path: Path
    filename: str
    content_type: str
    size_bytes: int
    sha256: str
    media: MediaInfo


class Delivery:
    """Hands over the output files of one job."""

    def __init__(
        self, job_id: str, ways: Ways, workspace: Workspace, deadline: Deadline, conversions: asyncio.Semaphore
    ) -> None:
        self._job_id = job_id
        self._ways = ways
        self._workspace = workspace
        self._deadline = deadline
        self._conversions = conversions
        self._kept: list[Path] = []
        self._given_up = Event()
        self.warnings: list[str] = []

    async def deliver(
        self,
        http: ComfyUIHTTP,
        workflow: Workflow,
        files: Sequence[OutputFile],
        selection: OutputSelection,
        other_bytes: int,
    ) -> list[Artifact]:
        """All of them, or an error; ``other_bytes`` is the size of what the answer holds besides.

        Raises:
            OutputVanished: ComfyUI named a file that is not there.
            OutputTooLarge: they do not fit into the answer, and there is no bucket.
            UploadFailed: the bucket or the volume did not take one.
        """
        described = await for_each(files, lambda file: self._describe(http, file, selection), FILES_AT_ONCE)
        artifacts = [self._artifact(item, workflow) for item in described]
        kind = self._choose(described, artifacts, other_bytes)
        hand_over = {"base64": self._inline, "s3_url": self._upload, "path": self._keep}[kind]
        keys = _keys(self._job_id, described)
        pairs = list(zip(artifacts, described, keys, strict=True))
        is_done = False
        try:
            delivered = await for_each(pairs, lambda pair: hand_over(*pair), FILES_AT_ONCE)
            is_done = True
        finally:
            if not is_done:
                self._take_back()
        return delivered

    async def _describe(self, http: ComfyUIHTTP, file: OutputFile, selection: OutputSelection) -> _Described:
        try:
            path = await self._collect(http, file)
            async with self._conversions:  # one of a large picture takes up to a gigabyte
                finished = await self._workspace.in_thread(finish, path, file.filename, selection, self._workspace)
            self.warnings += finished.warnings
            return await asyncio.to_thread(_described, file, finished)
        except OSError as error:
            raise DiskFailed(f"the output file {file.filename!r}", error.strerror or str(error)) from error

    async def _collect(self, http: ComfyUIHTTP, file: OutputFile) -> Path:
        """The file on this machine: where ComfyUI left it, or fetched."""
        if self._workspace.local:
            path = self._workspace.local.path_of(file)
            if not path.is_file():
                raise OutputVanished(file.node_id, file.filename)
            return path
        path = self._workspace.scratch_file(file.filename)
        await http.fetch(file, path)
        return path

    def _artifact(self, item: _Described, workflow: Workflow) -> Artifact:
        """The artifact without its data."""
        source = item.source
        return Artifact(
            node_id=source.node_id,
            node_title=workflow.title(source.node_id),
            index=source.index,
            filename=item.filename,
            subfolder=_own_subfolder(source.subfolder, self._workspace.folder),
            type="base64",
            data="",
            content_type=item.content_type,
            size_bytes=item.size_bytes,
            sha256=item.sha256,
            width=item.media.width,
            height=item.media.height,
            duration_seconds=item.media.duration_seconds,
            frames=item.media.frames if (item.media.frames or 0) > 1 else None,
        )

    def _choose(self, described: Sequence[_Described], artifacts: Sequence[Artifact], other_bytes: int) -> ArtifactType:
        """All inline if they fit, else all into the bucket; or as the job wants it."""
        ways = self._ways
        if ways.wanted in {"bucket", "path"}:
            return "s3_url" if ways.wanted == "bucket" else "path"
        answer_bytes = other_bytes + len(json.dumps([artifact.to_json() for artifact in artifacts]))
        answer_bytes += sum(4 * -(-item.size_bytes // 3) for item in described)
        if answer_bytes <= ways.inline_limit_bytes:
            return "base64"
        if ways.wanted == "inline" or ways.store is None:
            raise OutputTooLarge(answer_bytes, ways.inline_limit_bytes)
        return "s3_url"

    async def _inline(self, artifact: Artifact, item: _Described, key: str) -> Artifact:
        del key
        try:
            data = await asyncio.to_thread(lambda: base64.b64encode(item.path.read_bytes()).decode("ascii"))
        except OSError as error:
            raise DiskFailed(f"the output file {item.filename!r}", error.strerror or str(error)) from error
        return replace(artifact, data=data)

    async def _upload(self, artifact: Artifact, item: _Described, key: str) -> Artifact:
        if self._ways.store is None:
            msg = "without a bucket nothing is uploaded"
            raise RuntimeError(msg)
        await self._ways.store.upload(item.path, key, item.content_type, self._deadline)
        url, expires_at = self._ways.store.url(key)
        moment = expires_at.isoformat(timespec="seconds").replace("+00:00", "Z") if expires_at else None
        return replace(artifact, type="s3_url", data=url, url_expires_at=moment)

    async def _keep(self, artifact: Artifact, item: _Described, key: str) -> Artifact:
        target = self._ways.volume / key
        self._kept.append(target)
        try:
            await self._workspace.in_thread(_copy, item.path, target, self._given_up)
        except OSError as error:
            raise UploadFailed(str(target), error.strerror or str(error)) from error
        return replace(artifact, type="path", data=str(target))

    def _take_back(self) -> None:
        """Leave nothing on the volume of a delivery that failed; what is on its way there turns back."""
        self._given_up.set()
        for target in self._kept:
            with suppress(OSError):
                target.unlink(missing_ok=True)


def _described(source: OutputFile, finished: Finished) -> _Described:
    content_type = content_type_of(finished.filename)
    with finished.path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        size_bytes = content.tell()
    media = probe(finished.path, content_type)
    filename = PurePosixPath(finished.filename).name
    return _Described(source, finished.path, filename, content_type, size_bytes, digest, media)


def _own_subfolder(subfolder: str, folder: str) -> str:
    """The subfolder that the workflow asked for, without the job's own."""
    path = PurePosixPath(subfolder.replace("\\", "/"))
    if path.parts[:1] == (folder,):
        path = path.relative_to(folder)
    return "" if str(path) == "." else str(path)


def _keys(job_id: str, described: Sequence[_Described]) -> list[str]:
    """``JOB/NODE/FILENAME`` for each; with its number before the name where two would be the same."""
    keys: list[str] = []
    for number, item in enumerate(described):
        folder = f"{plain_name(job_id)}/{plain_name(item.source.node_id)}"
        key = f"{folder}/{item.filename}"
        keys.append(f"{folder}/{number}/{item.filename}" if key in keys else key)
    return keys


def _copy(source: Path, target: Path, given_up: Event) -> None:
    """Copy so that ``target`` is whole or not there; in a thread, which looks at ``given_up`` now and then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with source.open("rb") as reader, partial.open("wb") as writer:
            while (block := reader.read(BLOCK_BYTES)) and not given_up.is_set():
                writer.write(block)
        if not given_up.is_set():
            partial.replace(target)
        if given_up.is_set():  # meanwhile
            target.unlink(missing_ok=True)
    finally:
        partial.unlink(missing_ok=True)
