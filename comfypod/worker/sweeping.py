"""What jobs left in ComfyUI's folders without a word: nodes that were stopped, and nodes that never tell."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from comfypod.comfyui.folders import LocalFolders
from comfypod.completion import to_the_end
from comfypod.worker.workspace import FOLDER_PREFIX

CLOCK_SECONDS = 0.05
"""By so much a file's time may be behind the clock."""


class Sweeper:
    """Removes what was written to ComfyUI's output and temp folders by jobs that have ended.

    A file is theirs if it is older than every job that still runs. Folders of jobs are left to those; so is ``spared``,
    where results are kept on purpose. Only for a ComfyUI that is the worker's own: in another, somebody else may work.
    """

    def __init__(self, spared: Path) -> None:
        self._spared = os.path.abspath(spared)  # noqa: PTH100 (resolve() would follow links)
        self._running: list[float] = []
        self._swept_until = 0.0

    @asynccontextmanager
    async def job(self, folders: LocalFolders | None) -> AsyncIterator[None]:
        """A job runs; ``folders`` is None where nothing is to be removed."""
        begun = time.time() - CLOCK_SECONDS
        if not self._running:
            self._swept_until = begun
        self._running.append(begun)
        try:
            yield
        finally:
            self._running.remove(begun)
            since, until = self._swept_until, min(self._running, default=math.inf)
            self._swept_until = until
            if folders is not None and since < until:
                await to_the_end(asyncio.to_thread(self._sweep, folders, since, until))

    def _sweep(self, folders: LocalFolders, since: float, until: float) -> None:
        for root in (folders.output, folders.temp):
            for folder, subfolders, names in os.walk(root):
                subfolders[:] = [name for name in subfolders if self._is_swept(Path(folder, name), root)]
                for name in names:
                    _remove(Path(folder, name), since, until)
                if folder != str(root):
                    with suppress(OSError):  # it holds something
                        if since <= Path(folder).stat().st_mtime:
                            Path(folder).rmdir()

    def _is_swept(self, path: Path, root: Path) -> bool:
        is_a_jobs = path.parent == root and path.name.startswith(FOLDER_PREFIX)
        return not is_a_jobs and os.path.abspath(path) != self._spared  # noqa: PTH100


def _remove(path: Path, since: float, until: float) -> None:
    with suppress(OSError):  # somebody was faster, or it is not ours to remove
        if since <= path.lstat().st_mtime < until:
            path.unlink()
