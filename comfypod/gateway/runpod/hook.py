"""``/hooks/runpod/KEY/TOKEN``: RunPod says that a job has ended.

Nothing of what it says is believed, or even read: the master is told to look, and looks.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from comfypod.gateway.desk import Desk
from comfypod.master.keys import is_key
from comfypod.master.webhook_token import PATH, SECRET_NAME, is_webhook_token


class HookRoutes:
    """Where RunPod's webhooks arrive."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Iterable[web.RouteDef]:
        """The route."""
        yield web.post(f"{PATH}/{{key}}/{{token}}", self._hint)

    async def _hint(self, request: web.Request) -> web.Response:
        key, token = request.match_info["key"], request.match_info["token"]
        secret = await self._desk.ask(self._desk.store.secret, SECRET_NAME)
        if not is_key(key) or not is_webhook_token(secret, key, token):
            raise web.HTTPNotFound
        await self._desk.ask(self._desk.store.hinted, key)
        return web.Response()
