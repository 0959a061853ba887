"""The coordinator's server, from its start to its stop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from comfypod.batch.coordinator.application import make_application
from comfypod.batch.coordinator.desk import Desk
from comfypod.batch.coordinator.pod_routes import PodRoutes
from comfypod.batch.coordinator.result_routes import ResultRoutes
from comfypod.batch.coordinator.results_folder import ResultsFolder
from comfypod.batch.coordinator.tokens import Tokens
from comfypod.listening import listen, url_from_here
from comfypod.logs import event

STOP_SECONDS: Final = 10.0
"""How long answers may take that are under way when it stops."""
IDLE_SECONDS: Final = 75.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where the coordinator is.

    Args:
        host: the address to listen at.
        port: 0: any free one.
        public_url: by which pods know it, where something stands in front of it.
        results_folder: it serves a place for results, which lie there.
    """

    host: str = "127.0.0.1"
    port: int = 0
    public_url: str | None = None
    results_folder: Path | None = None


class Server:
    """Serves pods; `start` it, and `stop` it in the end. The desk is its caller's."""

    def __init__(self, options: ServerOptions, desk: Desk) -> None:
        self.port = options.port
        self._options = options
        routes = [*PodRoutes(desk, self.results_url).routes()]
        self._folder = None if options.results_folder is None else ResultsFolder(options.results_folder)
        if self._folder is not None:
            routes += ResultRoutes(self._folder).routes()
        self._runner = web.AppRunner(
            make_application(Tokens(desk), routes),
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,  # who goes away ends what was done for it; a transaction is whole or nothing
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
        )

    @property
    def url(self) -> str:
        """Where pods find it."""
        if self._options.public_url is not None:
            return self._options.public_url.rstrip("/")
        return url_from_here(self._options.host, self.port)

    def results_url(self) -> str:
        """Where pods send results, if it takes them."""
        return f"{self.url}/v1/results"

    async def start(self) -> None:
        """Listen; `port` then says where.

        Raises:
            ConfigurationError: the port is taken, or the address is not this machine's.
            SavingFailed: the folder for results cannot be used.
        """
        if self._folder is not None:
            self._folder.prepare()
        host, port = self._options.host, self._options.port
        self.port = await listen(self._runner, host, port, clause="The coordinator cannot listen", options="--port")
        event("batch_server_started", host=host, port=self.port)

    async def stop(self) -> None:
        """Take nothing more, and let what is under way come to its end. May be called twice."""
        await self._runner.cleanup()
        event("batch_server_stopped")
