"""A command on a terminal of its own: what it writes, what its screen shows, and what terminals answer to questions."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

ROWS, COLUMNS = 40, 100
CELL_WIDTH, CELL_HEIGHT = 10, 20
SECONDS = 20.0
_STRING = re.compile(rb"\x1b[P_]")

Answer = Callable[[bytes], bytes]
"""What the terminal answers to what was just written, as a rule nothing."""


def silent(_: bytes) -> bytes:
    """A terminal that answers no question."""
    return b""


def knows_sixels(written: bytes) -> bytes:
    """What xterm answers to "who are you" (DA1); 4 stands for sixels."""
    return b"\x1b[?62;4;22c" if b"\x1b[c" in written else b""


def knows_kitty(written: bytes) -> bytes:
    """kitty: no sixels, and OK to the query of its graphics protocol, under the number that was asked with."""
    answer = b"\x1b[?62c" if b"\x1b[c" in written else b""
    if b"a=q" in written:
        number = written.partition(b"\x1b_Gi=")[2].partition(b",")[0]
        answer += b"\x1b_Gi=" + number + b";OK\x1b\\"
    return answer


class Terminal:
    """Runs ``comfypod …`` with stdin and stderr, and stdout unless ``stdout`` says where, on a pseudo terminal."""

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        answer: Answer = silent,
        stdout: int | None = None,
        tells_pixels: bool = True,
    ) -> None:
        self.written = b""
        self._answer = answer
        self._pending = b""
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        pixels = (COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT) if tells_pixels else (0, 0)
        size = struct.pack("HHHH", ROWS, COLUMNS, *pixels)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "comfypod", *arguments],
            cwd=folder,
            env={**environment, "TERM": environment.get("TERM_HERE", "xterm-256color")},
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (so that keys are signals)
            start_new_session=True,
        )
        os.close(theirs)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def title(self) -> str:
        return str(self._screen.title)

    def colours(self, character: str) -> set[str]:
        """The foreground colours in which a character stands on the screen."""
        cells = [cell for row in self._screen.buffer.values() for cell in row.values()]
        return {cell.fg for cell in cells if cell.data == character}

    def read_until(self, condition: Callable[[], bool], what: str) -> None:
        """Read until it is so."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"in vain waited for {what}; the screen: {self.lines}"
            assert self._read() or condition(), f"it ended before {what}; the screen: {self.lines}"

    def end(self) -> int:
        """Read to its end; the exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < deadline, f"it does not end; the screen: {self.lines}"
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(SECONDS)
        os.close(self._ours)

    def _read(self) -> bool:
        """Read what there is; whether there may be more."""
        readable, _, _ = select.select([self._ours], [], [], 0.05)
        if not readable:
            return True
        try:
            block = os.read(self._ours, 65536)
        except OSError:  # what Linux says when the other side is closed
            return False
        self.written += block
        self._show(block)
        if answer := self._answer(block):
            os.write(self._ours, answer)
        return bool(block)

    def _show(self, block: bytes) -> None:
        """Show a block, without pictures (DCS and APC strings), which pyte would print as text."""
        self._pending += block
        while (begin := _STRING.search(self._pending)) is not None:
            end = self._pending.find(b"\x1b\\", begin.end())
            self._stream.feed(self._pending[: begin.start()])
            self._pending = self._pending[begin.start() :]
            if end < 0:
                return  # the rest of it is still to come
            self._pending = self._pending[end + 2 - begin.start() :]
        kept = len(self._pending) - self._pending.endswith(b"\x1b")
        self._stream.feed(self._pending[:kept])
        self._pending = self._pending[kept:]
