"""A client of RunPod as the tests see it, whatever language it is written in."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, Protocol, Self

ANSWER = "answer "
"""How a line of a client's process begins that answers a call; all others are what the SDK prints."""


class EndpointAddress(NamedTuple):
    """What a client needs to know."""

    base_url: str
    endpoint_id: str
    api_key: str


class Client(Protocol):
    """What every client can do. Jobs go by their ids; documents are what the client shows of RunPod's answers."""

    def use(self, endpoint: EndpointAddress) -> None:
        """Talk to this endpoint from now on."""

    def run(self, body: dict[str, Any]) -> str:
        """Submit a job, ``{"input": …}`` and perhaps ``policy`` and ``webhook``; its id."""

    def run_sync(self, body: dict[str, Any]) -> Any:
        """Submit a job and wait for its output."""

    def status(self, job_id: str) -> str: ...

    def document(self, job_id: str) -> dict[str, Any]:
        """The whole answer of /status."""

    def result(self, job_id: str) -> Any:
        """Wait for the output, the way this client does it."""

    def stream(self, job_id: str, go: Path) -> list[Any]:
        """What the job yields; ``go`` is created when the first of it has come."""

    def cancel(self, job_id: str) -> dict[str, Any]: ...

    def retry(self, job_id: str) -> dict[str, Any]: ...

    def purge_queue(self) -> dict[str, Any]: ...

    def health(self) -> dict[str, Any]: ...


class ClientError(Exception):
    """What the foreign client raised: its class and its message."""


class ClientProcess:
    """A client in a process of its own: one line of JSON on its stdin is a call, one on its stdout the answer.

    The process stays from call to call, because importing its SDK takes longer than most calls. It knows nothing of
    whoever runs the tests: their ``~/.runpod/config.toml`` and their RUNPOD_ variables would lead elsewhere. A context
    manager.
    """

    def __init__(self, command: Sequence[str], home: Path) -> None:
        environment = own_environment(HOME=str(home))
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                self._answers.put(line.removeprefix(ANSWER))
        self._answers.put("")

    def call(self, operation: str, *arguments: Any, seconds: float = 30.0) -> Any:
        """Have the client do something, and return what it says.

        Raises:
            ClientError: the client raised.
        """
        assert self._process.stdin is not None
        print(json.dumps([operation, *arguments]), file=self._process.stdin, flush=True)
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"{operation} took longer than {seconds:.0f} s") from None
        if not line:
            raise AssertionError(f"the client ended during {operation}, with code {self._process.wait(5)}")
        answer = json.loads(line)
        if "error" in answer:
            raise ClientError(answer["error"])
        return answer["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # it ends by itself with its input
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._reader.join(5)
        self._process.stdout.close()

    # The operations of `Client`, by name.

    def use(self, endpoint: EndpointAddress) -> None:
        self.call("use", *endpoint)

    def run(self, body: dict[str, Any]) -> str:
        return str(self.call("run", body))

    def run_sync(self, body: dict[str, Any]) -> Any:
        return self.call("run_sync", body)

    def status(self, job_id: str) -> str:
        return str(self.call("status", job_id))

    def document(self, job_id: str) -> dict[str, Any]:
        return dict(self.call("document", job_id))

    def result(self, job_id: str) -> Any:
        return self.call("result", job_id)

    def stream(self, job_id: str, go: Path) -> list[Any]:
        return list(self.call("stream", job_id, str(go)))

    def cancel(self, job_id: str) -> dict[str, Any]:
        return dict(self.call("cancel", job_id))

    def retry(self, job_id: str) -> dict[str, Any]:
        return dict(self.call("retry", job_id))

    def purge_queue(self) -> dict[str, Any]:
        return dict(self.call("purge_queue"))

    def health(self) -> dict[str, Any]:
        return dict(self.call("health"))


def own_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what it says about RunPod, and with ``variables``."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")} | variables


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds:.0f} s"
        time.sleep(0.03)
