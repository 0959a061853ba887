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
            since, self._swept_until = self._swept_until, self._oldest_begun()
            if folders is not None and since < self._swept_until:
                await to_the_end(asyncio.to_thread(self._sweep, folders, since))

    def _oldest_begun(self) -> float:
        return min(self._running, default=math.inf)

    def _sweep(self, folders: LocalFolders, since: float) -> None:
        for root in (folders.output, folders.temp):
            for name, subfolders, files in os.walk(root):
                folder = Path(name)
                subfolders[:] = [subfolder for subfolder in subfolders if self._is_swept(folder / subfolder, root)]
                is_left_behind = folder != root and self._is_left_behind(folder, since)  # before its files change it
                for file in files:
                    with suppress(OSError):  # it is not ours to remove
                        if self._is_left_behind(folder / file, since):
                            (folder / file).unlink()
                if is_left_behind:
                    with suppress(OSError):  # it holds something
                        folder.rmdir()

    def _is_swept(self, path: Path, root: Path) -> bool:
        is_a_jobs = path.parent == root and path.name.startswith(FOLDER_PREFIX)
        return not is_a_jobs and os.path.abspath(path) != self._spared  # noqa: PTH100

    def _is_left_behind(self, path: Path, since: float) -> bool:
        """Asked for each anew: a job may have begun since the sweep did, and have written this one."""
        try:
            return since <= path.lstat().st_mtime < self._oldest_begun()
        except OSError:  # somebody was faster
            return False
