"""Files read into the page cache before they are needed: models, while ComfyUI imports its libraries."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from comfypod.logs import event

CHUNK_BYTES = 8 * 1024**2
MEMORY_SHARE = 0.5
"""Of the memory that is available: beyond that, what is read would drive out what was read before it."""
STOP_SECONDS = 2.0
_MEMORY_INFO = Path("/proc/meminfo")
_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""A container's own limit and use, in both versions of control groups."""
_RECLAIMABLE = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)
"""The part of the use that is page cache nobody needs now (``memory.stat``; ``total_``: with the groups below)."""


def named_files(workflow: Mapping[str, Any], folders: Mapping[str, Sequence[Path]]) -> Iterator[Path]:
    """The model files that a workflow's inputs name, in the order of its nodes; ``folders`` are those of each kind.

    Which kind an input is of only ComfyUI knows: every text is tried in every folder. The first of a kind counts, as in
    ComfyUI (``folder_paths.get_full_path``).
    """
    found: set[Path] = set()
    for name in dict.fromkeys(_texts(workflow)):
        for paths in folders.values():
            folder = next((path for path in paths if _has_file(path, name)), None)
            if folder is not None and folder / name not in found:
                found.add(folder / name)
                yield folder / name


def _texts(workflow: Mapping[str, Any]) -> Iterator[str]:
    for node in workflow.values():
        yield from (value for value in node.get("inputs", {}).values() if isinstance(value, str) and "." in value)


def _has_file(folder: Path, name: str) -> bool:
    path = Path(name)
    try:
        return not path.is_absolute() and ".." not in path.parts and (folder / path).is_file()
    except (OSError, ValueError):  # a prompt is no file name: too long, or with a zero byte
        return False


class ReadAhead:
    """Reads files in a thread of its own, for as long as the body of the context manager runs, or until they are read.

    In that thread ``files`` is gone through as well: to look for a file on a volume may take for ever. No more is read
    than ``most_bytes`` (None: `MEMORY_SHARE` of the memory that is available). The log says what was.
    """

    def __init__(self, files: Iterable[Path], most_bytes: int | None = None) -> None:
        self._files = files
        self._most_bytes = most_bytes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read ahead", daemon=True)
        self.read_bytes = 0

    def __enter__(self) -> Self:
        """Begin to read; returns at once."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; a read that hangs on a dead volume is left behind."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def wait(self, timeout_seconds: float) -> bool:
        """Whether all has been read by then."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _read(self) -> None:
        begun = time.monotonic()
        most = int(_available_bytes() * MEMORY_SHARE) if self._most_bytes is None else self._most_bytes
        names, is_whole = [], True
        for file in self._files:
            names.append(file.name)
            try:
                is_whole &= self._read_file(file, most)
            except OSError as error:
                is_whole = False
                event("read_ahead_failed", logging.WARNING, file=file, cause=error)
        if names:
            seconds = round(time.monotonic() - begun, 2)
            event("read_ahead", files=names, bytes=self.read_bytes, seconds=seconds, is_whole=is_whole)

    def _read_file(self, file: Path, most: int) -> bool:
        """Read it piece by piece, so that the page cache has it, and throw the pieces away; whether to its end."""
        piece = memoryview(bytearray(CHUNK_BYTES))
        with file.open("rb", buffering=0) as source:
            if hasattr(os, "posix_fadvise"):  # Linux: reads further ahead than it does by itself
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while self.read_bytes < most and not self._stopping.is_set():
                size = source.readinto(piece[: most - self.read_bytes])
                if not size:
                    return True
                self.read_bytes += size
            return source.tell() == os.fstat(source.fileno()).st_size


def _available_bytes() -> int:
    """Memory that can be had without anything else being driven out; 0 where the system does not say (no Linux)."""
    free = _machine_bytes()
    for folder, limit, usage in _GROUPS:
        try:
            left = int((folder / limit).read_text()) - int((folder / usage).read_text())
            reclaimable = max(map(int, _RECLAIMABLE.findall((folder / "memory.stat").read_text())), default=0)
        except (OSError, ValueError):  # not this version, or "max": no limit
            continue
        free = min(free, max(0, left + reclaimable))
    return free


def _machine_bytes() -> int:
    try:
        lines = _MEMORY_INFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    available = next((line for line in lines if line.startswith("MemAvailable:")), "MemAvailable: 0 kB")
    return int(available.split()[1]) * 1024
