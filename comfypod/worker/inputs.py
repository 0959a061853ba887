"""The files of a job, put where ComfyUI's loaders find them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.deadline import Deadline
from comfypod.errors import (
    DiskFailed,
    DownloadFailed,
    InputFetchFailed,
    InputSourceUnavailable,
    InvalidJobInput,
)
from comfypod.files.content_check import check_content
from comfypod.schema.job import InputFile
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.download import ByteBudget, Downloader
from comfypod.worker.tasks import for_each
from comfypod.worker.workspace import Workspace

FILES_AT_ONCE = 4
BLOCK_CHARACTERS = 4 * 256 * 1024
"""Base64 is decoded by the piece: a multiple of 4 characters."""

_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class InputSources:
    """Where files may come from, and how much of them; ``bucket`` is the worker's own, if it has one."""

    downloader: Downloader
    bucket: Bucket | None
    maximum_bytes: int
    maximum_pixels: int


class InputPlacer:
    """Brings the files of one job into ComfyUI's input folder: written there if it is local, uploaded if not."""

    def __init__(self, sources: InputSources, http: ComfyUIHTTP, workspace: Workspace, deadline: Deadline) -> None:
        self._sources = sources
        self._http = http
        self._workspace = workspace
        self._deadline = deadline
        self._budget = ByteBudget(sources.maximum_bytes)

    async def place(self, files: Sequence[InputFile], flat: frozenset[str]) -> dict[str, str]:
        """The names by which nodes load the files, by the names that the job gave them.

        Args:
            files: of the job.
            flat: names of those that must lie in the input folder itself, and not in the job's.

        Raises:
            InvalidJobInput: a file is not base64.
            InputFetchFailed: a file cannot be had, is too large, or is not what its name says.
        """
        placed = await for_each(files, lambda file: self._place(file, file.name in flat), FILES_AT_ONCE)
        return {file.name: name for file, name in zip(files, placed, strict=True)}

    async def _place(self, file: InputFile, is_flat: bool) -> str:
        folder = "" if is_flat else str(Path(self._workspace.folder) / file.path.parent)
        name = f"{self._workspace.folder}-{file.path.name}" if is_flat else file.path.name
        local = self._workspace.local
        target = local.input / folder / name if local else self._workspace.scratch_file()
        if local and is_flat:
            self._workspace.add_stray(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            await self._bring(file, target)
            await asyncio.to_thread(check_content, target, file.name, self._sources.maximum_pixels)
            if local is None:
                return await self._http.upload_input(target, name, folder)
        except OSError as error:
            raise DiskFailed(f"the file {file.name!r}", error.strerror or str(error)) from error
        return f"{folder}/{name}" if folder else name

    async def _bring(self, file: InputFile, target: Path) -> None:
        try:
            if file.url is None:
                await self._workspace.in_thread(self._decode, file, target)
            elif file.url.lower().startswith("s3://"):
                bucket, key = self._own_bucket(file)
                await bucket.download(key, target, self._deadline, self._budget)
            else:
                await self._sources.downloader.fetch(file.url, target, self._deadline, budget=self._budget)
        except DownloadFailed as error:
            failure = InputSourceUnavailable if error.retryable else InputFetchFailed
            raise failure(file.name, str(error)) from error

    def _own_bucket(self, file: InputFile) -> tuple[Bucket, str]:
        """The worker's bucket and the key in it that ``s3://BUCKET/KEY`` means; no other bucket is read."""
        name, _, key = str(file.url)[len("s3://") :].partition("/")
        bucket = self._sources.bucket
        if bucket is None or bucket.name != name or not key:
            known = f"s3://{bucket.name}/KEY" if bucket else "none (BUCKET_ENDPOINT_URL is not set)"
            raise InputFetchFailed(file.name, f"only the worker's own bucket can be read: {known}")
        return bucket, key

    def _decode(self, file: InputFile, target: Path) -> None:
        """Write what ``data`` holds."""
        data = _base64_of(file)
        try:
            if 0 <= data.find("=") < len(data) - 2:  # it would end a piece, and pass there
                raise binascii.Error("padding in the middle")  # noqa: TRY301
            with target.open("wb") as content:
                for start in range(0, len(data), BLOCK_CHARACTERS):
                    block = base64.b64decode(data[start : start + BLOCK_CHARACTERS], validate=True)
                    self._budget.take(len(block))
                    content.write(block)
        except (binascii.Error, ValueError) as error:
            raise InvalidJobInput([f"files: {file.name!r} is not valid base64 ({error})"]) from error


def _base64_of(file: InputFile) -> str:
    """The base64 text of a file, which may stand in a data URI and have line breaks."""
    data = file.data or ""
    if data.startswith("data:"):
        header, comma, data = data.partition(",")
        if not comma or not header.endswith(";base64"):
            raise InvalidJobInput([f"files: {file.name!r}: the data URI must be base64 (data:TYPE;base64,…)"])
    # Line breaks are common in base64; anything else that does not belong there is damage, not decoration.
    return _SPACE.sub("", data) if _SPACE.search(data) else data
