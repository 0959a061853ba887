"""The routes about prompts: submit, queue, interrupt, history, jobs."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from comfypod.emulator.engine.execution import Executor
from comfypod.emulator.engine.graph import Json
from comfypod.emulator.engine.http import read_json, read_object
from comfypod.emulator.engine.jobs import Job, finished_job, page, queued_job
from comfypod.emulator.engine.queue import History, PromptQueue, QueuedPrompt
from comfypod.emulator.engine.validation import RequestCrashError, no_prompt, validate_workflow

# Keys of extra_data that ComfyUI keeps out of the queue and the history (execution.py).
SENSITIVE_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")


class PromptRoutes:
    """Handlers of one server; `routes` lists them without the ``/api`` prefix."""

    def __init__(self, queue: PromptQueue, history: History, executor: Executor) -> None:
        self._queue = queue
        self._history = history
        self._executor = executor
        self._numbers = itertools.count()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/prompt", self.submit),
            web.get("/prompt", self.show_remaining),
            web.get("/queue", self.show_queue),
            web.post("/queue", self.change_queue),
            web.post("/interrupt", self.interrupt),
            web.post("/free", self.free),
            web.get("/history", self.list_history),
            web.get("/history/{prompt_id}", self.show_history),
            web.post("/history", self.change_history),
            web.get("/api/jobs", self.list_jobs),
            web.get("/api/jobs/{job_id}", self.show_job),
        ]

    async def submit(self, request: web.Request) -> web.Response:
        """Validate and queue a workflow."""
        document = await read_json(request)
        if not isinstance(document, dict | list):
            raise RequestCrashError("the body is neither an object nor a list")
        # A list passes ComfyUI's `"prompt" in json_data` checks, and uses up a number.
        fields: dict[str, Any] = document if isinstance(document, dict) else {}
        number = self._number(fields)
        if "prompt" not in fields:
            return _refuse(no_prompt().error, {})
        prompt_id = str(fields.get("prompt_id", uuid.uuid4()))
        workflow, targets = fields["prompt"], fields.get("partial_execution_targets")
        verdict = validate_workflow(workflow, self._executor.node_classes, self._executor.catalog, targets)
        if verdict.error is not None:
            return _refuse(verdict.error, verdict.node_errors)
        self._queue.put(QueuedPrompt(number, prompt_id, workflow, _extra_data(fields), verdict.outputs))
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        return web.json_response(answer)

    def _number(self, fields: Mapping[str, Any]) -> float:
        """Return the place in the queue: as given, else the next number; ``front`` goes before all that follow."""
        if "number" in fields:
            try:
                number = float(fields["number"])
            except (TypeError, ValueError) as error:
                raise RequestCrashError(f"number: {error}") from error
            return -number if fields.get("front") else number
        number = next(self._numbers)
        return -number if fields.get("front") else number

    async def show_remaining(self, _request: web.Request) -> web.Response:
        """Tell how many prompts are pending or running."""
        return web.json_response({"exec_info": {"queue_remaining": self._queue.remaining()}})

    async def show_queue(self, _request: web.Request) -> web.Response:
        """Show all running and pending prompts, with their workflows."""
        running, pending = self._queue.snapshot()
        return web.json_response(
            {
                "queue_running": [prompt.to_json() for prompt in running],
                "queue_pending": [prompt.to_json() for prompt in pending],
            }
        )

    async def change_queue(self, request: web.Request) -> web.Response:
        """Remove pending prompts: ``{"clear": true}`` or ``{"delete": [ids]}``."""
        fields = await read_object(request)
        if fields.get("clear"):
            self._queue.clear()
        self._queue.delete(_iterable(fields.get("delete", ())))
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        """Stop the running prompt; if ``prompt_id`` is given, only if it is that one."""
        try:
            fields = await read_json(request)
        except RequestCrashError:
            fields = {}  # ComfyUI takes anything unreadable for the interrupt of old clients, which had no body.
        if not isinstance(fields, dict):
            raise RequestCrashError("the body is not a JSON object")
        prompt_id = fields.get("prompt_id")
        if prompt_id:
            self._queue.if_running(prompt_id, self._executor.interrupt)
        else:
            self._executor.interrupt()
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        """Drop the cache before the next prompt if ``free_memory`` is set. There are no models to unload."""
        fields = await read_object(request)
        if fields.get("free_memory"):
            self._executor.drop_cache()
        return web.Response()

    async def list_history(self, request: web.Request) -> web.Response:
        """Show the history, or the part that ``max_items`` and ``offset`` name."""
        query = request.rel_url.query
        try:
            max_items = int(query["max_items"]) if "max_items" in query else None
            offset = int(query.get("offset", "-1"))
        except ValueError as error:
            raise RequestCrashError(str(error)) from error
        return web.json_response(self._history.page(max_items, offset))

    async def show_history(self, request: web.Request) -> web.Response:
        """Show one entry of the history."""
        return web.json_response(self._history.get(request.match_info["prompt_id"]))

    async def change_history(self, request: web.Request) -> web.Response:
        """Forget entries: ``{"clear": true}`` or ``{"delete": [ids]}``."""
        fields = await read_object(request)
        if fields.get("clear"):
            self._history.clear()
        for prompt_id in _iterable(fields.get("delete", ())):
            self._history.delete(prompt_id)
        return web.Response()

    async def list_jobs(self, request: web.Request) -> web.Response:
        """Show pending, running and finished prompts in one list."""
        try:
            return web.json_response(page(self._jobs(), request.rel_url.query))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    async def show_job(self, request: web.Request) -> web.Response:
        """Show one prompt, wherever it stands."""
        job_id = request.match_info["job_id"]
        entry = self._history.get(job_id).get(job_id)
        job = next((job for job in self._queued_jobs() if job["id"] == job_id), None)
        if entry is not None:
            job = finished_job(entry, detailed=True)
        if job is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response(job)

    def _jobs(self) -> list[Job]:
        finished = [finished_job(entry) for entry in self._history.page().values()]
        return self._queued_jobs() + finished

    def _queued_jobs(self) -> list[Job]:
        running, pending = self._queue.snapshot()
        jobs = [queued_job(prompt, "in_progress") for prompt in running]
        return jobs + [queued_job(prompt, "pending") for prompt in pending]


def _refuse(error: Mapping[str, Any] | None, node_errors: Mapping[str, Any]) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors}, status=400)


def _extra_data(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what travels with the prompt: the request's extra data, the client and the time."""
    given = fields.get("extra_data", {})
    if not isinstance(given, dict):
        raise RequestCrashError("extra_data is not an object")
    extra_data = {key: value for key, value in given.items() if key not in SENSITIVE_KEYS}
    if "client_id" in fields:
        extra_data["client_id"] = fields["client_id"]
    extra_data["create_time"] = int(time.time() * 1000)
    return extra_data


def _iterable(value: Json) -> Iterable[Json]:
    """Return what can be gone through; text counts, letter by letter, as it does in ComfyUI."""
    if isinstance(value, list | tuple | str | dict):
        return value
    raise RequestCrashError("delete is not a list")
