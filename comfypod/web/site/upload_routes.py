"""Files that visitors send: taken as they come, straight to disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web

from comfypod.web.runs.uploads import Uploads
from comfypod.web.site.answers import json_answer
from comfypod.web.site.begun import Begun
from comfypod.web.site.bodies import chunks_of
from comfypod.web.site.entrance import Entrance, visitor_of
from comfypod.web.site.file_answers import FileAnswer
from comfypod.web.site.headers import of_file
from comfypod.web.site.options import Limits
from comfypod.web.site.visitors import Places, VisitorPace

_AT_ONCE = 4


class UploadRoutes:
    """``api/uploads``."""

    def __init__(self, uploads: Uploads, entrance: Entrance, begun: Begun, limits: Limits) -> None:
        self._uploads = uploads
        self._entrance = entrance
        self._begun = begun
        self._limit_bytes = limits.upload_bytes
        self._pace = VisitorPace("uploads in a minute", limits.uploads_a_minute)
        self._places = Places("uploads under way", _AT_ONCE)

    def routes(self, base_path: str) -> Iterable[web.RouteDef]:
        """The routes, below the base path."""
        yield web.post(f"{base_path}api/uploads", self._save)
        yield web.get(f"{base_path}api/uploads/{{id}}", self._get)

    async def _save(self, request: web.Request) -> web.Response:
        visitor_id, name = visitor_of(request), request.query.get("name", "file")
        self._pace.take(visitor_id, self._entrance.address_of(request))
        with self._places.one(visitor_id):
            chunks = chunks_of(request, "An uploaded file", self._limit_bytes)
            upload = await self._begun.to_the_end(self._uploads.save(visitor_id, name, chunks))
        return json_answer(upload.to_json(), 201)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        visitor_id, upload_id = visitor_of(request), request.match_info["id"]
        upload = await asyncio.to_thread(self._uploads.get, visitor_id, upload_id)
        path = self._uploads.path(visitor_id, upload_id)
        headers = of_file(upload.name, upload.content_type, as_download=False)
        return FileAnswer(path, upload.size_bytes, headers)
