"""Runs: started, seen, cancelled, removed; what they made; and the forms and the endpoint that they need."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import web

from comfypod.errors import BadRequest
from comfypod.web.runs.service import Runs
from comfypod.web.site.answers import json_answer
from comfypod.web.site.begun import Begun
from comfypod.web.site.bodies import read_json
from comfypod.web.site.entrance import Entrance, visitor_of
from comfypod.web.site.file_answers import FileAnswer
from comfypod.web.site.headers import of_file
from comfypod.web.site.options import Limits
from comfypod.web.site.visitors import VisitorPace

MOST_LISTED, LISTED = 100, 30
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class RunRoutes:
    """``api/runs``, ``api/forms``, ``api/templates`` and ``api/endpoint``."""

    def __init__(self, runs: Runs, entrance: Entrance, begun: Begun, limits: Limits) -> None:
        self._runs = runs
        self._entrance = entrance
        self._run_pace = VisitorPace("runs in a minute", limits.runs_a_minute)
        self._form_pace = VisitorPace("forms in a minute", limits.forms_a_minute)
        self._question_pace = VisitorPace("questions to the endpoint in a minute", limits.questions_a_minute)
        self._begun = begun

    def routes(self, base_path: str) -> Iterable[web.RouteDef]:
        """The routes, below the base path."""
        run = f"{base_path}api/runs/{{id}}"
        yield web.get(f"{base_path}api/endpoint", self._endpoint)
        yield web.get(f"{base_path}api/templates", self._templates)
        yield web.post(f"{base_path}api/forms", self._form)
        yield web.post(f"{base_path}api/runs", self._submit)
        yield web.get(f"{base_path}api/runs", self._list)
        yield web.get(run, self._get)
        yield web.delete(run, self._remove)
        yield web.get(f"{run}/workflow", self._workflow)
        yield web.post(f"{run}/cancel", self._cancel)
        yield web.get(f"{run}/preview", self._preview)
        yield web.get(f"{run}/files/{{index}}/{{filename}}", self._file)

    async def _endpoint(self, request: web.Request) -> web.Response:
        visitor_of(request)
        return json_answer((await self._runs.endpoint()).to_json())

    async def _templates(self, request: web.Request) -> web.Response:
        visitor_of(request)
        return json_answer([form.to_json() for form in await self._runs.templates()])

    async def _form(self, request: web.Request) -> web.Response:
        visitor_id, address = visitor_of(request), self._entrance.address_of(request)
        self._form_pace.take(visitor_id, address)
        document = await read_json(request)
        workflow, asks = document.get("workflow"), document.get("ask", False)
        if not isinstance(workflow, dict | str) or not isinstance(asks, bool):
            raise BadRequest("Send a workflow, or the name of a template, as workflow; and ask as true or false")
        if asks:  # which may start a worker
            self._question_pace.take(visitor_id, address)
        return json_answer((await self._runs.form(workflow, ask=asks)).to_json())

    async def _submit(self, request: web.Request) -> web.Response:
        visitor_id, key = visitor_of(request), request.headers.get("Idempotency-Key")
        if key is not None and not _KEY.fullmatch(key):
            raise BadRequest("Idempotency-Key has 1 to 200 of A-Z a-z 0-9 _ . : -")
        document = await read_json(request)
        self._run_pace.take(visitor_id, self._entrance.address_of(request))
        run = await self._begun.to_the_end(self._runs.submit(visitor_id, document, key))
        return json_answer(run.to_json(), 201)

    async def _list(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", str(LISTED))
        if not (limit.isdecimal() and limit.isascii() and 1 <= int(limit[:4]) <= MOST_LISTED):
            raise BadRequest(f"limit is a number from 1 to {MOST_LISTED}")
        page = await self._runs.list(visitor_of(request), request.query.get("before"), int(limit))
        return json_answer(page.to_json())

    async def _get(self, request: web.Request) -> web.Response:
        return json_answer((await self._runs.get(visitor_of(request), request.match_info["id"])).to_json())

    async def _workflow(self, request: web.Request) -> web.Response:
        return json_answer(await self._runs.workflow(visitor_of(request), request.match_info["id"]))

    async def _cancel(self, request: web.Request) -> web.Response:
        run = await self._begun.to_the_end(self._runs.cancel(visitor_of(request), request.match_info["id"]))
        return json_answer(run.to_json())

    async def _remove(self, request: web.Request) -> web.Response:
        await self._begun.to_the_end(self._runs.remove(visitor_of(request), request.match_info["id"]))
        return web.Response(status=204)

    async def _preview(self, request: web.Request) -> web.Response:
        preview = await self._runs.preview(visitor_of(request), request.match_info["id"])
        headers = of_file("preview", preview.content_type, as_download=False)
        return web.Response(body=preview.data, headers={**headers, "Cache-Control": "no-store"})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """The name in the address is for people; which file it is, the index says."""
        index = request.match_info["index"]
        if not re.fullmatch(r"[0-9]{1,6}", index):
            raise BadRequest("A file's index is a number")
        file = await self._runs.file(visitor_of(request), request.match_info["id"], int(index))
        as_download = "download" in request.query
        headers = of_file(file.filename, file.content_type, as_download=as_download)
        return FileAnswer(file.path, file.size_bytes, headers)
