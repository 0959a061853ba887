"""A local RunPod for as long as one command needs it."""

from __future__ import annotations

import os
import re
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comfypod.child import Child
from comfypod.deadline import Deadline
from comfypod.errors import CloudUnavailable, ConfigurationError

READY_PREFIX = "ready "
"""What ``comfypod emulate runpod`` prints before its base URL, once it serves."""
EARLY_END = "worker_ended_early"
"""What it logs when a worker was of no use; it then starts another."""
EARLY_ENDS_ALLOWED = 1
_ERROR_LINE = re.compile(r"[a-z_]+: ")
"""How our programs' last word begins: the error's code."""
START_TIMEOUT_SECONDS = 30.0
STOP_GRACE_SECONDS = 15.0


class LocalEndpoint:
    """A local RunPod with one worker, started as a child; its output goes to ``log_file``."""

    endpoint_id = "local"

    def __init__(self, log_file: Path) -> None:
        self.log_file = log_file
        self.api_key = secrets.token_urlsafe(24)
        self._is_ready = threading.Event()
        self._base_url = ""
        self._early_ends = 0
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            self._log = log_file.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError([f"The log {log_file} cannot be written ({error.strerror})."]) from error
        command = [sys.executable, "-m", "comfypod", "emulate", "runpod", "--port", "0", "--endpoint", self.endpoint_id]
        environment = {
            "PROGRESS_INTERVAL_SECONDS": "0.2",  # nobody else uses this endpoint, and somebody is watching
            **os.environ,
            "COMFYPOD_LOCAL_API_KEY": self.api_key,
            "PYTHONUNBUFFERED": "1",
        }
        self._child = Child(command, on_line=self._on_line, environment=environment)

    def _on_line(self, line: str) -> None:
        if line.startswith(READY_PREFIX):
            self._base_url = line.removeprefix(READY_PREFIX).strip()
            self._is_ready.set()
        elif EARLY_END in line:
            self._early_ends += 1
        self._log.write(line + "\n")  # last: it fails when the disk is full
        self._log.flush()

    def base_url(self) -> str:
        """Its address, once it serves.

        Raises:
            CloudUnavailable: it does not.
        """
        deadline = Deadline.after(START_TIMEOUT_SECONDS)
        while self._child.exit_code is None and deadline.remaining_seconds > 0:
            if self._is_ready.wait(timeout=0.1):
                return self._base_url
        raise self._failure("the local RunPod did not start")

    def check(self) -> None:
        """Raise `CloudUnavailable` if its worker does not start: the job would wait for ever."""
        if self._early_ends > EARLY_ENDS_ALLOWED:
            raise self._failure("its worker does not start")

    def _failure(self, cause: str) -> CloudUnavailable:
        reasons = [line for line in self._child.last_lines if _ERROR_LINE.match(line)]
        reason = reasons[-1] if reasons else "it gave no reason"
        return CloudUnavailable("The local RunPod", f"{cause} ({reason}); see {self.log_file}")

    def stop(self) -> None:
        """Stop it, its worker, and the worker's ComfyUI."""
        self._child.stop(STOP_GRACE_SECONDS)
        self._log.close()


@contextmanager
def local_endpoint(log_file: Path = Path(".comfypod/local.log")) -> Iterator[LocalEndpoint]:
    """A local RunPod for as long as the body runs."""
    endpoint = LocalEndpoint(log_file)
    try:
        yield endpoint
    finally:
        endpoint.stop()
