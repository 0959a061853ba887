"""Other commands of ours as child processes, for as long as one command needs them."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from comfypod.child import Child
from comfypod.deadline import Deadline
from comfypod.errors import CloudUnavailable, ConfigurationError

READY_PREFIX = "ready "
"""What a command that serves prints before its address, or name, once it does."""
START_SECONDS = 30.0
STOP_GRACE_SECONDS = 15.0
_ERROR_LINE = re.compile(r"[a-z_]+: ")
"""How our programs' last word begins: the error's code."""


class Service:
    """``comfypod ARGUMENTS``, whose output goes to ``log_file``; ``name`` is how messages call it."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._is_ready = threading.Event()
        self._address = ""
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            self._log = log_file.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError([f"The log {log_file} cannot be written ({error.strerror})."]) from error
        self._child = Child(
            [sys.executable, "-m", "comfypod", *arguments],
            on_line=self._on_line,
            environment={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        )

    def _on_line(self, line: str) -> None:
        if line.startswith(READY_PREFIX):
            self._address = line.removeprefix(READY_PREFIX).strip()
            self._is_ready.set()
        self.notice(line)
        self._log.write(line + "\n")  # last: it fails when the disk is full
        self._log.flush()

    def notice(self, line: str) -> None:
        """Called with each line, in a thread of its own."""

    def address(self) -> str:
        """What it printed once it served.

        Raises:
            CloudUnavailable: it does not serve.
        """
        deadline = Deadline.after(START_SECONDS)
        while self._child.exit_code is None and deadline.remaining_seconds > 0:
            if self._is_ready.wait(timeout=0.1):
                return self._address
        raise self.failure(f"{self.name} did not start")

    def check(self) -> None:
        """Raise `CloudUnavailable` if it has ended."""
        if self._child.exit_code is not None:
            raise self.failure(f"{self.name} has ended")

    def failure(self, cause: str) -> CloudUnavailable:
        """An error with the last reason that it gave."""
        reasons = [line for line in self._child.last_lines if _ERROR_LINE.match(line)]
        reason = reasons[-1] if reasons else "it gave no reason"
        return CloudUnavailable(self.name[0].upper() + self.name[1:], f"{cause} ({reason}); see {self.log_file}")

    def stop(self) -> None:
        """Stop it and all that it started."""
        self._child.stop(STOP_GRACE_SECONDS)
        self._log.close()
