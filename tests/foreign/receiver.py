"""A webhook's receiver."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self


class WebhookReceiver:
    """Keeps what is posted to ``url``; a context manager."""

    def __init__(self) -> None:
        self._deliveries: list[dict[str, Any]] = []
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler_class())
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}/done"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def received(self, job_id: str) -> list[dict[str, Any]]:
        """The deliveries for a job, oldest first: ``headers`` (names in lower case) and ``body``."""
        with self._lock:
            return [delivery for delivery in self._deliveries if delivery["body"]["id"] == job_id]

    def _keep(self, headers: dict[str, str], body: Any) -> None:
        with self._lock:
            self._deliveries.append({"headers": headers, "body": body})

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver._keep({name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler
