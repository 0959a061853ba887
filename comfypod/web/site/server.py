"""The page's server: the application at its address, from start to stop."""

from __future__ import annotations

from aiohttp import web

from comfypod.listening import is_loopback, listen, url_from_here
from comfypod.logs import event
from comfypod.web.runs.service import Runs
from comfypod.web.site.application import make_application
from comfypod.web.site.begun import Begun
from comfypod.web.site.entrance import Entrance
from comfypod.web.site.event_stream import EventRoutes
from comfypod.web.site.options import SiteOptions
from comfypod.web.site.pages import Pages
from comfypod.web.site.run_routes import RunRoutes
from comfypod.web.site.session_routes import SessionRoutes
from comfypod.web.site.sessions import Sessions
from comfypod.web.site.upload_routes import UploadRoutes

STOP_SECONDS = 2.0
"""How long answers may take that are under way when the server stops."""


class WebServer:
    """Serves the page and its interface; ``key`` signs cookies. `start` it, and `stop` it in the end."""

    def __init__(self, options: SiteOptions, runs: Runs, key: bytes) -> None:
        self.port = options.port
        self._options = options
        self._entrance = Entrance(options, Sessions(key, options.token))
        self._events = EventRoutes(runs, options.limits)
        self._begun = Begun()
        parts = (
            Pages(),
            SessionRoutes(self._entrance, options),
            RunRoutes(runs, self._entrance, self._begun, options.limits),
            UploadRoutes(runs.uploads, self._entrance, self._begun, options.limits),
            self._events,
        )
        routes = [route for part in parts for route in part.routes(options.base_path)]
        # Whoever goes away ends what was done for him; what must not be cut is shielded where it is done.
        self._runner = web.AppRunner(
            make_application(self._entrance, routes, options),
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=options.limits.silence_seconds,  # also for a request whose headers do not end
            shutdown_timeout=STOP_SECONDS,
        )

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        return url_from_here(self._options.host, self.port) + self._options.base_path

    async def start(self) -> None:
        """Listen; port 0 means any free port, and `port` then says which.

        Raises:
            ConfigurationError: the port is taken, or the address is not this machine's.
        """
        host, port = self._options.host, self._options.port
        options = "--host and --port"
        self.port = await listen(self._runner, host, port, clause="The page cannot be served", options=options)
        self._entrance.open(self.port)
        event("web_started", host=host, port=self.port, is_open=not is_loopback(host))

    async def stop(self) -> None:
        """Close the port and every connection. May be called twice."""
        self._events.close()
        await self._runner.cleanup()
        await self._begun.finish(STOP_SECONDS)
