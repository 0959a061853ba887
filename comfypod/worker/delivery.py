"""From ComfyUI's output files to what the caller receives: collected, converted, described, and handed over."""

from __future__ import annotations

import asyncio
import binascii
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
from comfypod.files.content import FileContent
from comfypod.files.facts import MediaInfo, probe
from comfypod.schema.artifact import Artifact, ArtifactType, content_type_of
from comfypod.schema.job import OutputSelection
from comfypod.schema.output import TextOutput
from comfypod.schema.workflow import Workflow
from comfypod.storage.buckets.bucket import OutputBucket
from comfypod.worker.finishing import Finished, finish, is_converted
from comfypod.worker.tasks import for_each
from comfypod.worker.workspace import Workspace, plain_name

FILES_AT_ONCE = 4
BLOCK_BYTES = 1024**2
QUICK_BYTES = 64 * 1024
"""A file up to this size is encoded in 0.15 ms, where it is asked for: a thread would add 0.05 ms."""
NO_SHA256 = "0" * 64
"""In place of a hash that is not known yet; it is as long."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How results may leave: inline up to a number of bytes, into a bucket, onto the volume.

    ``store`` is None where there is no bucket; ``wanted`` is the job's ``delivery``. ``content_folder`` is where in the
    bucket files go under names that their content makes, so that no other run of the job replaces them.
    """

    wanted: str
    inline_limit_bytes: int
    store: OutputBucket | None
    volume: Path
    content_folder: str | None = None


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
    content: FileContent
    filename: str
    content_type: str
    size_bytes: int
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
            if is_converted(selection):
                async with self._conversions:  # one of a large picture takes up to a gigabyte
                    return await self._look_at(file, path, selection)
            return await self._look_at(file, path, selection)
        except OSError as error:
            raise _unreadable(file.filename, error) from error

    async def _look_at(self, file: OutputFile, path: Path, selection: OutputSelection) -> _Described:
        def look() -> tuple[_Described, Sequence[str]]:
            finished = finish(path, file.filename, selection, self._workspace)
            return _described(file, finished), finished.warnings

        described, warnings = await self._workspace.in_thread(look)
        self.warnings += warnings
        return described

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
        """The artifact without its data and hash."""
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
            sha256=NO_SHA256,
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
            if item.size_bytes <= QUICK_BYTES:
                data, sha256 = _encoded(item.content)
            else:
                data, sha256 = await asyncio.to_thread(_encoded, item.content)
        except OSError as error:
            raise _unreadable(item.filename, error) from error
        return replace(artifact, data=data, sha256=sha256)

    async def _upload(self, artifact: Artifact, item: _Described, key: str) -> Artifact:
        if self._ways.store is None:
            msg = "without a bucket nothing is uploaded"
            raise RuntimeError(msg)
        if self._ways.content_folder is not None:
            key = await self._content_key(self._ways.content_folder, item)
        sha256 = await self._ways.store.upload(item.content, key, item.content_type, self._deadline)
        url, expires_at = self._ways.store.url(key)
        moment = expires_at.isoformat(timespec="seconds").replace("+00:00", "Z") if expires_at else None
        uploaded = replace(artifact, type="s3_url", data=url, sha256=sha256, url_expires_at=moment)
        return uploaded if self._ways.content_folder is None else replace(uploaded, bucket_key=key)

    async def _content_key(self, folder: str, item: _Described) -> str:
        """``FOLDER/SHA256-FILENAME``: the name of the same bytes, whoever made them, and of no others."""
        try:
            sha256 = await self._workspace.in_thread(_sha256, item.content)
        except OSError as error:
            raise _unreadable(item.filename, error) from error
        return f"{folder}/{sha256[:16]}-{item.filename}"

    async def _keep(self, artifact: Artifact, item: _Described, key: str) -> Artifact:
        target = self._ways.volume / key
        self._kept.append(target)
        try:
            sha256 = await self._workspace.in_thread(_copy, item.content, target, self._given_up)
        except OSError as error:
            raise UploadFailed(str(target), error.strerror or str(error)) from error
        return replace(artifact, type="path", data=str(target), sha256=sha256)

    def _take_back(self) -> None:
        """Leave nothing on the volume of a delivery that failed; what is on its way there turns back."""
        self._given_up.set()
        for target in self._kept:
            with suppress(OSError):
                target.unlink(missing_ok=True)


def _described(source: OutputFile, finished: Finished) -> _Described:
    content, content_type = finished.content, content_type_of(finished.filename)
    media = probe(content.path, content_type)
    filename = PurePosixPath(finished.filename).name
    return _Described(source, content, filename, content_type, content.size_bytes(), media)


def _encoded(content: FileContent) -> tuple[str, str]:
    """The content as base64, and its SHA-256; read once."""
    digest = hashlib.sha256()
    data = content.read(digest)
    encoded = binascii.b2a_base64(data, newline=False)
    del data  # before the next copy is made
    return encoded.decode("ascii"), digest.hexdigest()


def _sha256(content: FileContent) -> str:
    """Of a file that was just written, so that it is read from memory: 1 ms for a picture of 1 MB."""
    with content.open() as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(filename: str, error: OSError) -> DiskFailed:
    return DiskFailed(f"the output file {filename!r}", error.strerror or str(error))


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


def _copy(content: FileContent, target: Path, given_up: Event) -> str:
    """Copy so that ``target`` is whole or not there, and return the SHA-256 of the copy.

    In a thread, which looks at ``given_up`` now and then.
    """
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with content.open() as reader, partial.open("wb") as writer:
            while (block := reader.read(BLOCK_BYTES)) and not given_up.is_set():
                writer.write(block)
                digest.update(block)
        if not given_up.is_set():
            partial.replace(target)
        if given_up.is_set():  # meanwhile
            target.unlink(missing_ok=True)
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()
