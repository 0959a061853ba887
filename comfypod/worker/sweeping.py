"""What jobs left in ComfyUI's folders without a word: nodes that were stopped, and nodes that never tell."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from comfypod.comfyui.folders import LocalFolders

CLOCK_SECONDS = 0.05
"""By so much a file's time may be behind the clock."""


class Sweeper:
    """Removes what was written to ComfyUI's output and temp folders while jobs ran, when the last of them has left.

    Only for a ComfyUI that is the worker's own: in another, somebody else may be at work.
    """

    def __init__(self) -> None:
        self._jobs = 0
        self._since = 0.0

    @contextmanager
    def job(self, folders: LocalFolders | None) -> Iterator[None]:
        """A job runs; ``folders`` is None where nothing is to be removed."""
        if self._jobs == 0:
            self._since = time.time() - CLOCK_SECONDS
        self._jobs += 1
        try:
            yield
        finally:
            self._jobs -= 1
            if self._jobs == 0 and folders is not None:
                for folder in (folders.output, folders.temp):
                    _sweep(folder, self._since)


def _sweep(root: Path, since: float) -> None:
    """Remove the files that are newer than ``since``, and the folders that have become empty by it."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):  # somebody was faster, or it is not ours to remove
                if path.lstat().st_mtime >= since:
                    path.unlink()
        if folder != str(root):
            with suppress(OSError):
                if Path(folder).stat().st_mtime >= since:
                    Path(folder).rmdir()
