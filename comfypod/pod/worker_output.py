"""What the worker prints: passed on to the pod's own log, and its last words kept, which say why it ended."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from comfypod.errors import ComfyPodError

_LONGEST_LINE = 16_384
_LAST_LINES = 20
_END_SECONDS = 1.0


class WorkerOutput:
    """A pipe with a name, to be given to the fleet as its workers' log. `close` it when they have ended."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._codes = frozenset(_codes_below(ComfyPodError))
        self._thread = threading.Thread(target=self._pass_on, name="output of the worker", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """Whoever opens it writes into the pipe."""
        return Path(f"/dev/fd/{self._write_end}")

    @property
    def last_words(self) -> str:
        """Of the last lines the newest ``code: sentence``, with which our programs end; else simply the newest."""
        lines = [*self._lines]
        return next((line for line in reversed(lines) if self._code_of(line)), lines[-1] if lines else "")

    @property
    def last_code(self) -> str | None:
        """The code in the last words."""
        return self._code_of(self.last_words)

    def close(self) -> None:
        """Let the rest through. A process that a worker left behind may hold the pipe open; it is not waited for."""
        os.close(self._write_end)
        self._thread.join(_END_SECONDS)

    def _pass_on(self) -> None:
        with os.fdopen(self._read_end, encoding="utf-8", errors="replace") as output:
            while line := output.readline(_LONGEST_LINE):
                if text := line.strip():
                    self._lines.append(text)
                with suppress(OSError, ValueError):  # read on when nobody takes our own output: else the worker blocks
                    sys.stderr.write(line)
                    sys.stderr.flush()

    def _code_of(self, line: str) -> str | None:
        code, colon, _ = line.partition(": ")
        return code if colon and code in self._codes else None


def _codes_below(kind: type[ComfyPodError]) -> Iterator[str]:
    yield kind.code
    for below in kind.__subclasses__():
        yield from _codes_below(below)
