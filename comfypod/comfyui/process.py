"""One ComfyUI process: started, awaited until it answers, watched, and stopped. No event loop: the SDK runs several.

A worker starts one before it imports anything else (`comfypod.worker.launch`): what takes long to import is imported
where it is used.
"""

from __future__ import annotations

import logging
import shlex
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from comfypod.child import Child
from comfypod.comfyui.command_line import named_port
from comfypod.comfyui.diagnosis import explain_exit, failed_import, plain, tells_dead_thread
from comfypod.errors import ComfyUIUnavailable, ConfigurationError
from comfypod.logs import event

STOP_GRACE_SECONDS = 5.0
POLL_SECONDS = 0.01
"""Between two questions whether it answers: one costs 0.2 ms of a processor, and its answer is waited for."""
LOG_TAIL_LINES = 20
LOG_LINE_CHARACTERS = 300


class ComfyUIProcess:
    """One ComfyUI on loopback, at ``url``; ``command`` gets ``--listen`` and ``--port`` unless it names a port.

    The port is ``port``, or a free one. A `Server`. It is started once; `comfypod.comfyui.supervisor` makes another
    when it is gone.

    Raises:
        ConfigurationError: the command names a port that is none.
    """

    def __init__(self, command: Sequence[str], folder: Path, port: int | None = None) -> None:
        self.command, port = _with_port(command, port)
        self.url = f"http://127.0.0.1:{port}"
        self.is_own = True
        self.failed_imports: dict[str, str] = {}
        self.condemned = threading.Event()
        self._condemned_for = ""
        self._folder = folder
        self._child: Child | None = None
        self._stopped = False

    def start(self) -> None:
        """Start it; returns at once. Call `wait_until_ready` before use and `stop` in the end.

        Raises:
            ConfigurationError: the command cannot be started.
            ComfyUIUnavailable: another process listens at its port.
        """
        if _is_taken(self.url):  # else that one would be taken for ours
            raise ComfyUIUnavailable("start", f"another process listens at {self.url}; end it or choose another --port")
        event("comfyui_starting", command=shlex.join(self.command))
        try:
            self._child = Child(self.command, on_line=self._read_line, folder=self._folder)
        except OSError as error:
            raise ConfigurationError([f"ComfyUI's command {self.command[0]!r} cannot be started: {error}."]) from error

    @property
    def is_started(self) -> bool:
        """Whether `start` has been called with success."""
        return self._child is not None

    def _read_line(self, line: str) -> None:
        if failure := failed_import(plain(line)):
            pack, reason = failure
            self.failed_imports[pack] = reason
            event("custom_node_failed", logging.ERROR, pack=pack, reason=reason)
        if tells_dead_thread(line):
            self.condemn("its execution thread died")
        # Last, since it fails when nobody takes our own output any more. ComfyUI's lines go where ours go.
        sys.stderr.write(f"comfyui | {line}\n")

    def wait_until_ready(self, timeout_seconds: float) -> None:
        """Return when it answers.

        Raises:
            ComfyUIUnavailable: it exited, or did not answer in time; with its exit code and last lines.
        """
        latest = time.monotonic() + timeout_seconds
        while not answers(self.url):
            if death := self.death("start"):
                raise death
            if time.monotonic() >= latest:
                cause = f"nothing answered at {self.url} within {timeout_seconds:g} s"
                raise ComfyUIUnavailable("start", cause, None, self._log_tail())
            time.sleep(POLL_SECONDS)

    def death(self, phase: str) -> ComfyUIUnavailable | None:
        """Why it is gone: it exited, was killed, or was condemned."""
        exit_code, lines = self.exit_code, self._log_tail()
        if self.condemned.is_set():
            return ComfyUIUnavailable(phase, f"it was ended because {self._condemned_for}", exit_code, lines)
        return (
            None if exit_code is None else ComfyUIUnavailable(phase, explain_exit(exit_code, lines), exit_code, lines)
        )

    def condemn(self, reason: str) -> None:
        """Have it ended; the first reason counts."""
        if not self.condemned.is_set():
            self._condemned_for = reason
            self.condemned.set()
            event("comfyui_condemned", logging.ERROR, url=self.url, reason=reason)

    @property
    def condemned_for(self) -> str | None:
        """The reason, once it is condemned."""
        return self._condemned_for or None

    @property
    def exit_code(self) -> int | None:
        """None before it has ended; negative: the signal that ended it."""
        return self._child.exit_code if self._child else None

    @property
    def last_output(self) -> float:
        """The moment of its newest log line."""
        return self._child.last_output if self._child else 0.0

    def _log_tail(self) -> list[str]:
        lines = map(plain, list(self._child.last_lines)) if self._child else ()
        return [line[:LOG_LINE_CHARACTERS] for line in lines if line][-LOG_TAIL_LINES:]

    def stop(self) -> None:
        """End it and everything it started; may be called again."""
        if self._child is not None:
            self._child.stop(0.5 if self.condemned.is_set() else STOP_GRACE_SECONDS)
            if not self._stopped:
                event("comfyui_stopped", exit_code=self._child.exit_code)
            self._stopped = True


def answers(url: str) -> bool:
    """Whether a ComfyUI answers at ``url``; its port opens only when everything is loaded."""
    import http.client  # noqa: PLC0415 (it would delay the start)

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


def _is_taken(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((parts.hostname, parts.port)) == 0


def _with_port(command: Sequence[str], chosen: int | None) -> tuple[list[str], int]:
    """The command with an address of its own, and its port: the one that it names, else the one chosen, else any."""
    named = named_port(command)
    if named is not None:
        return list(command), named
    port = free_port() if chosen is None else chosen
    return [*command, "--listen", "127.0.0.1", "--port", str(port)], port


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
