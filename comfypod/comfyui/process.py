"""ComfyUI's process: started, awaited until it answers, and stopped. No event loop: the SDK runs several."""

from __future__ import annotations

import http.client
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from comfypod.child import Child
from comfypod.deadline import Deadline
from comfypod.errors import ComfyUIUnavailable, ConfigurationError
from comfypod.logs import event

STOP_GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05


class ComfyUIProcess:
    """One ComfyUI on loopback, at ``url``; ``command`` gets ``--listen`` and ``--port`` unless it names a port."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.command, port = _with_port(command)
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._child: Child | None = None

    def start(self) -> None:
        """Start it; returns at once. Call `wait_until_ready` before use and `stop` in the end.

        Raises:
            ConfigurationError: the command cannot be started.
        """
        event("comfyui_starting", command=shlex.join(self.command))
        try:
            self._child = Child(self.command, on_line=_forward, folder=self._folder)
        except OSError as error:
            raise ConfigurationError([f"ComfyUI's command {self.command[0]!r} cannot be started: {error}."]) from error

    def wait_until_ready(self, timeout_seconds: float) -> None:
        """Return when it answers.

        Raises:
            ComfyUIUnavailable: it exited, or did not answer in time; with its exit code and last lines.
        """
        begun = time.monotonic()
        child = self._child
        wait_until_ready(self.url, timeout_seconds, child)
        event("comfyui_ready", url=self.url, seconds=round(time.monotonic() - begun, 2))

    def stop(self) -> None:
        """End it and everything it started."""
        if self._child is not None:
            self._child.stop(STOP_GRACE_SECONDS)
            event("comfyui_stopped", exit_code=self._child.exit_code)


def wait_until_ready(url: str, timeout_seconds: float, child: Child | None = None) -> None:
    """Return when the ComfyUI at ``url`` answers; its port opens only when everything is loaded.

    Raises:
        ComfyUIUnavailable: ``child`` exited, or nothing answered in time.
    """
    deadline = Deadline.after(timeout_seconds)
    while not _answers(url):
        if child is not None and child.exit_code is not None:
            cause = f"it exited with code {child.exit_code} before it answered"
            raise ComfyUIUnavailable("start", cause, child.exit_code, list(child.last_lines))
        if deadline.remaining_seconds <= 0:
            lines = list(child.last_lines) if child else ()
            raise ComfyUIUnavailable("start", f"nothing answered at {url} within {timeout_seconds:g} s", None, lines)
        time.sleep(POLL_SECONDS)


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=2)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/queue")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _with_port(command: Sequence[str]) -> tuple[list[str], int]:
    """The command with an address of its own, and its port."""
    arguments = list(command)
    for index, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--port":
            text = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            if not text.isdecimal():
                raise ConfigurationError([f"COMFYUI_COMMAND: --port {text!r} is not a port."])
            return arguments, int(text)
    port = _free_port()
    return [*arguments, "--listen", "127.0.0.1", "--port", str(port)], port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _forward(line: str) -> None:
    """ComfyUI's own log lines go where ours go."""
    sys.stderr.write(f"comfyui | {line}\n")
