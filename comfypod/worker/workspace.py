"""The places of one job: its folders in ComfyUI's input and output folders, and room for what is under way."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, TypeVar

from comfypod.comfyui.folders import LocalFolders
from comfypod.comfyui.outputs import OutputFile
from comfypod.completion import to_the_end
from comfypod.errors import DiskFailed, ProtocolViolation
from comfypod.logs import event

FOLDER_PREFIX = "job-"

Result = TypeVar("Result")

_OF_A_JOB = re.compile(rf"(^|[/\\]){FOLDER_PREFIX}[A-Za-z0-9_:-]+-[0-9a-f]{{12}}([-/\\]|$)")
_UNSAFE = re.compile(r"[^A-Za-z0-9_:-]+")


def plain_name(text: str) -> str:
    """``text`` as one part of a path: ids come from outside."""
    return _UNSAFE.sub("-", text)[:100] or "-"


def is_of_a_job(name: str) -> bool:
    """Whether a name in ComfyUI's folders is that of a job's folder, or of a file that belongs to one."""
    return _OF_A_JOB.search(name) is not None


class Workspace:
    """The places of one run of a job, removed with all that is in them when the context is left.

    ``folder`` is the name of its folders in ComfyUI; ``local`` says where those are, or is None for a ComfyUI whose
    folders this machine cannot see: what is uploaded there stays there.
    """

    def __init__(self, job_id: str, local: LocalFolders | None) -> None:
        # Random, so that no job can name another's files: job ids are no secrets.
        self.folder = f"{FOLDER_PREFIX}{plain_name(job_id)[:60]}-{uuid.uuid4().hex[:12]}"
        self.local = local
        self._scratch: Path | None = None
        self._strays: list[Path] = []
        self._threads: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        try:
            self._scratch = Path(tempfile.mkdtemp(prefix="comfypod-job-"))
        except OSError as error:
            raise DiskFailed("a folder for the job", error.strerror or str(error)) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await to_the_end(self._leave())

    async def _leave(self) -> None:
        if self._threads:
            await asyncio.wait(self._threads)
        await asyncio.to_thread(self._remove_all)

    def _remove_all(self) -> None:
        folders = [self.scratch]
        if self.local:
            folders += [root / self.folder for root in (self.local.input, self.local.output, self.local.temp)]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                event("files_left_behind", logging.WARNING, path=folder)
        for path in self._strays:
            _remove(path)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401
        """Call what writes files in a thread. A cancelled job does not wait for it; its clean-up does."""
        thread = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
        self._threads.add(thread)
        result = await asyncio.shield(thread)
        self._threads.discard(thread)
        return result

    @property
    def scratch(self) -> Path:
        """A folder for files that are on their way; empty at first."""
        if self._scratch is None:
            msg = "use Workspace as a context manager"
            raise RuntimeError(msg)
        return self._scratch

    def scratch_file(self, filename: str = "") -> Path:
        """A path in `scratch` that is not taken, with the suffix of ``filename``: some readers go by it."""
        return self.scratch / f"{uuid.uuid4().hex}{PurePosixPath(filename).suffix[:20]}"

    def add_stray(self, path: Path) -> None:
        """Remove this file as well: it had to lie outside the job's folders."""
        self._strays.append(path)

    def add_outputs(self, files: Iterable[OutputFile]) -> None:
        """Remove these files as well, wherever nodes put them."""
        if self.local is None:
            return
        for file in files:
            if file.type not in {"output", "temp"}:
                continue  # named by a node, and not its own
            try:
                self.add_stray(self.local.path_of(file))
            except ProtocolViolation as error:
                event("output_left_behind", logging.WARNING, cause=error)

    def unreported(self, files: Iterable[OutputFile]) -> list[Path]:
        """What lies in the job's output folder though no node told of it, as CheckpointSave does.

        The paths are relative to ComfyUI's output folder.
        """
        if self.local is None:
            return []
        told = {self.local.output / file.subfolder / file.filename for file in files}
        found = sorted(path for path in (self.local.output / self.folder).rglob("*") if path.is_file())
        return [path.relative_to(self.local.output) for path in found if path not in told]


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        event("files_left_behind", logging.WARNING, path=path, cause=error)
