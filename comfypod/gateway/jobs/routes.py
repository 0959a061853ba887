"""``/api/v2/jobs``: submit, ask for, list and cancel jobs."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from comfypod.errors import NothingFound
from comfypod.gateway.access import TRACE_ID, tenant_of
from comfypod.gateway.answers import json_answer
from comfypod.gateway.bodies import read_json
from comfypod.gateway.desk import Desk
from comfypod.gateway.job_documents import job_document, list_item
from comfypod.gateway.jobs.listing import Page, cursor_after
from comfypod.gateway.jobs.service import Jobs, Wishes
from comfypod.gateway.jobs.submission import JobCall
from comfypod.gateway.links import API
from comfypod.gateway.origins import Origins
from comfypod.master.documents import Request


class JobRoutes:
    """All of ``/jobs`` but its events."""

    def __init__(self, desk: Desk, jobs: Jobs, origins: Origins) -> None:
        self._desk = desk
        self._jobs = jobs
        self._origins = origins

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes."""
        yield web.post(f"{API}/jobs", self._submit)
        yield web.get(f"{API}/jobs", self._list)
        yield web.get(f"{API}/jobs/{{id}}", self._job)
        yield web.get(f"{API}/jobs/{{id}}/workflow", self._workflow)
        yield web.get(f"{API}/jobs/{{id}}/logs", self._logs)
        yield web.post(f"{API}/jobs/{{id}}/cancel", self._cancel)

    async def _submit(self, request: web.Request) -> web.Response:
        wishes = Wishes.parse(request.headers)
        call = JobCall.parse(await read_json(request))
        origin = self._origins.of(request)
        made = await self._jobs.submit(tenant_of(request).name, call, wishes, request[TRACE_ID], origin)
        return await self._answer(request, made, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        page = Page.parse(request.query.items())
        found = await self._desk.ask(
            self._desk.store.list,
            tenant=tenant_of(request).name,
            labels=page.labels,
            before=page.before,
            limit=page.limit + 1,  # one more says whether there is another page
        )
        shown = found[: page.limit]
        more = {"next_cursor": cursor_after(shown[-1].key)} if len(found) > page.limit else {}
        return json_answer({"jobs": [list_item(item) for item in shown], **more})

    async def _job(self, request: web.Request) -> web.Response:
        return await self._answer(request, await self._found(request))

    async def _workflow(self, request: web.Request) -> web.Response:
        found = await self._found(request)
        workflow = (await self._desk.ask(self._desk.store.job_input, found.key)).get("workflow")
        if not isinstance(workflow, dict):
            raise NothingFound("The job runs a template, which only its worker has")
        return json_answer({"workflow": workflow, "format": "api"})

    async def _logs(self, request: web.Request) -> web.Response:
        """The contract's word for "no log", which is never kept here."""
        await self._found(request)
        return web.Response(status=204)

    async def _cancel(self, request: web.Request) -> web.Response:
        found = await self._found(request)
        return await self._answer(request, await self._desk.ask(self._desk.store.cancel, found.key))

    async def _found(self, request: web.Request) -> Request:
        return await self._desk.request(tenant_of(request).name, request.match_info["id"])

    async def _answer(self, request: web.Request, found: Request, status: int = 200) -> web.Response:
        position = await self._desk.position(found)
        return json_answer(job_document(found, position, self._origins.links(request)), status)
