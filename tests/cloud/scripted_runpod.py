"""A platform that does what a test has planned, call by call, over real connections; and a clock that nobody waits for.

What is not planned is answered as RunPod would: jobs are created, listed, cancelled, and are in the state that the test
gives them.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

ENDPOINT_ID = "ep"
API_KEY = "rpa_S3CRET"


class FakeClock:
    """Sleeps at once. ``on_sleep`` is called before each pause, and may let more time pass (a laptop that sleeps)."""

    def __init__(self, on_sleep: Callable[[], None] = lambda: None) -> None:
        self.moment = 1000.0
        self.pauses: list[float] = []
        self.on_sleep = on_sleep
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.moment

    def sleep(self, seconds: float, woken_by: threading.Event | None = None) -> None:
        with self._lock:
            self.on_sleep()
            self.pauses.append(seconds)
            self.moment += seconds


@dataclass
class Reply:
    """An answer; ``document`` may be anything, or bytes that are sent as they are. ``acts``: the call takes effect."""

    status: int = 200
    document: Any = field(default_factory=dict)
    acts: bool = False


@dataclass
class Cut:
    """The connection is cut instead: before the body is read, or after, or in the middle of the answer."""

    when: str = "before"
    acts: bool = False


@dataclass
class Raw:
    """An answer as it stands on the wire, malformed perhaps; the connection ends with it."""

    content: bytes
    acts: bool = False


REFUSED = "refused"
"""Nobody listens, for one attempt. Time must be a `FakeClock` whose ``on_sleep`` is `ScriptedRunPod.after_attempt`."""

Step = Reply | Cut | Raw | str


class ScriptedRunPod:
    """One endpoint. ``plan[route]`` are the next answers of ``run``, ``status``, ``requests`` … ; a context manager."""

    def __init__(self) -> None:
        self.plan: dict[str, deque[Step]] = {}
        self.calls: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.cancelled: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.most_live = 0
        self.on_status: Callable[[dict[str, Any]], None] = lambda _: None
        """May change a job that is asked for, before the answer."""
        self.on_requests: Callable[[object], None] = lambda _: None
        """Is called before the jobs are listed."""
        self.lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v2"

    def planned(self, route: str, *steps: Step) -> None:
        self.plan.setdefault(route, deque()).extend(steps)
        if self.is_next_refused():
            self.close()

    def left(self) -> int:
        """How many planned steps nobody asked for."""
        return sum(map(len, self.plan.values()))

    def live(self) -> list[str]:
        """The jobs that have not ended."""
        return [job["id"] for job in self.jobs.values() if job["status"] in {"IN_QUEUE", "IN_PROGRESS"}]

    def set(self, job_id: str, **fields: Any) -> None:
        with self.lock:
            self.jobs[job_id].update(fields)

    def listen(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.002}, daemon=True).start()

    def close(self) -> None:
        """Stop listening, and cut all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        self.cut_idle()

    def cut_idle(self) -> None:
        """Close the connections that clients keep open, as a server does after a while."""
        with self.lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def is_next_refused(self) -> bool:
        return any(steps and steps[0] == REFUSED for steps in self.plan.values())

    def after_attempt(self) -> None:
        """Between two attempts: an attempt that was refused is over, the next one may be."""
        if self._server is None:
            next(steps for steps in self.plan.values() if steps and steps[0] == REFUSED).popleft()
            if not self.is_next_refused():
                self.listen()
        elif self.is_next_refused():
            self.close()

    def opened(self, connection: socket.socket) -> None:
        with self.lock:
            self.connections += 1
            self._open.add(connection)

    def act(self, route: str, job_id: str, body: dict[str, Any]) -> Any:
        """What RunPod does and answers. A job stays queued until the test says otherwise."""
        with self.lock:
            if route == "run":
                job_id = f"job-{len(self.jobs) + 1}"
                self.jobs[job_id] = {"id": job_id, "status": "IN_QUEUE", "input": body["input"]}
                self.most_live = max(self.most_live, len(self.live()))
                return {"id": job_id, "status": "IN_QUEUE"}
            if route == "requests":
                return {"requests": list(self.jobs.values())}
            if route == "health":
                return {"jobs": {"inQueue": len(self.jobs)}, "workers": {}}
            if route == "purge-queue":
                return {"removed": len(self.jobs), "status": "completed"}
            if job_id not in self.jobs:
                return None
            if route == "status":
                self.on_status(self.jobs[job_id])
            if route == "cancel":
                self.cancelled.append(job_id)
                self.jobs[job_id]["status"] = "CANCELLED"
            if route == "retry":
                self.jobs[job_id] = {"id": job_id, "status": "IN_QUEUE", "input": self.jobs[job_id]["input"]}
            return {name: value for name, value in self.jobs[job_id].items() if name != "input"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 500

    def __init__(self, address: tuple[str, int], platform: ScriptedRunPod) -> None:
        self.platform = platform
        super().__init__(address, _Handler)

    def handle_error(self, *_: object) -> None:
        """A connection that was cut is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.platform.opened(self.connection)

    def do_GET(self) -> None:
        platform = self.server.platform
        route, _, job_id = self.path.partition("?")[0].removeprefix(f"/v2/{ENDPOINT_ID}/").partition("/")
        with platform.lock:
            platform.calls[f"{self.command} {route}"] += 1
            platform.headers.append(dict(self.headers))
            steps = platform.plan.get(route)
            step = steps.popleft() if steps else Reply(acts=True, document=None)
        if isinstance(step, Cut) and step.when == "before":
            self._cut()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        document = json.loads(body) if body else {}
        if route == "run":
            platform.bodies.append(document)
        if route == "requests":
            platform.on_requests(document)
        acted = platform.act(route, job_id, document) if getattr(step, "acts", False) else None
        if isinstance(step, Cut):
            self._cut(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"id"' if step.when == "middle" else b"")
        elif isinstance(step, Raw):
            self.wfile.write(step.content)
            self.close_connection = True
        elif isinstance(step, Reply):
            is_plain = step.document is None
            self._reply(404 if is_plain and acted is None else step.status, acted if is_plain else step.document)

    do_POST = do_GET  # noqa: N815 (the base class's naming)

    def _reply(self, status: int, document: Any) -> None:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if 300 <= status < 400:
            self.send_header("Location", f"{self.server.platform.base_url}/elsewhere/run")
        self.end_headers()
        self.wfile.write(content)

    def _cut(self, beginning: bytes = b"") -> None:
        if beginning:
            self.wfile.write(beginning)
        else:  # a reset, as when a proxy or a process dies
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR) if beginning else self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return as soon as it is so; fail if it is not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.002)
