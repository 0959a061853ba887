"""Shared by the tests of foreign clients: endpoints of a local RunPod with real workers, and a webhook's receiver."""

from __future__ import annotations

import os
import queue
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfypod.child import Child
from comfypod.cli.local import LocalEndpoint
from comfypod.cli.services import READY_PREFIX
from tests.foreign.clients import EndpointAddress
from tests.foreign.receiver import WebhookReceiver

pytest.register_assert_rewrite("tests.foreign.contract")

WORKER = Path(__file__).with_name("worker.py")
API_KEY = "rpa_foreign"
LIMIT_BYTES = 200_000
"""The largest result: enough for everything but the test that goes beyond it."""
LIMITS = {"run_bytes": LIMIT_BYTES, "minimum_execution_seconds": 0.1, "minimum_ttl_seconds": 0.1}
START_SECONDS = 20.0
STOP_SECONDS = 10.0


class LocalRunPod:
    """``comfypod emulate runpod`` with one worker of the tests. Call `stop`."""

    def __init__(self, kind: str) -> None:
        self._endpoint_id = f"ep-{kind}"
        self._base_urls: queue.SimpleQueue[str] = queue.SimpleQueue()
        worker = shlex.join([sys.executable, "-u", str(WORKER), kind])
        options = ["--port", "0", "--endpoint", self._endpoint_id, "--worker-command", worker, "--no-rate-limits"]
        limits = [f"--limit={name}={value}" for name, value in LIMITS.items()]
        environment = {**os.environ, "COMFYPOD_LOCAL_API_KEY": API_KEY, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "comfypod", "emulate", "runpod", *options, *limits]
        self._child = Child(command, on_line=self._on_line, environment=environment)

    def _on_line(self, line: str) -> None:
        if line.startswith(READY_PREFIX):
            self._base_urls.put(line.removeprefix(READY_PREFIX).strip())

    def address(self) -> EndpointAddress:
        """Where it is, once it listens; its worker may still be starting. To be called once."""
        try:
            return EndpointAddress(self._base_urls.get(timeout=START_SECONDS), self._endpoint_id, API_KEY)
        except queue.Empty:
            pytest.fail("the local RunPod did not start: " + "\n".join(self._child.last_lines))

    def stop(self) -> None:
        self._child.stop(STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class LocalRunPods:
    """All that the tests need; they start and stop at the same time, because that takes each of them seconds."""

    results: LocalRunPod
    stream: LocalRunPod
    pictures: LocalEndpoint


@pytest.fixture(scope="session")
def local_runpods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRunPods]:
    log = tmp_path_factory.mktemp("pictures") / "log"
    started = LocalRunPods(LocalRunPod("results"), LocalRunPod("stream"), LocalEndpoint(log))
    try:
        yield started
    finally:
        with ThreadPoolExecutor() as threads:
            stopping = [threads.submit(one.stop) for one in (started.results, started.stream, started.pictures)]
        for stopped in stopping:
            stopped.result()


@pytest.fixture(scope="session")
def endpoint(local_runpods: LocalRunPods) -> EndpointAddress:
    """An endpoint whose worker returns results."""
    return local_runpods.results.address()


@pytest.fixture(scope="session")
def streaming_endpoint(local_runpods: LocalRunPods) -> EndpointAddress:
    """An endpoint whose worker yields them."""
    return local_runpods.stream.address()


@pytest.fixture(scope="session")
def picture_endpoint(local_runpods: LocalRunPods) -> EndpointAddress:
    """An endpoint as ``comfypod run --local`` starts it: rp_handler.py, and the built-in engine behind it."""
    local = local_runpods.pictures
    return EndpointAddress(local.base_url(), local.endpoint_id, local.api_key)


@pytest.fixture(scope="session")
def receiver() -> Iterator[WebhookReceiver]:
    """Where webhooks go."""
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def limit_bytes() -> int:
    """A result of this size is too large: its JSON is a little longer."""
    return LIMIT_BYTES
