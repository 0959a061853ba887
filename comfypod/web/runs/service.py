"""The runs of the page's visitors: what the routes call, and what outlives a restart of the server.

A run is written to disk before anything is sent. Each that has not ended is followed by one task, whoever watches it;
when the server starts, those that it left are taken up again. A visitor's runs are nobody else's: to others they are
not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from comfypod.cloud.client import Client
from comfypod.cloud.jobs import PreviewImage
from comfypod.errors import FileNotFound, RunNotEnded, RunNotFound, TooManyRuns
from comfypod.logs import event
from comfypod.schema.template import templates_folder
from comfypod.web.disk import data_folder
from comfypod.web.documents import EndpointState, Run, RunPage
from comfypod.web.forms.descriptions import DescriptionStore
from comfypod.web.forms.forms import Form, TemplateForm
from comfypod.web.forms.maker import FormMaker
from comfypod.web.forms.templates import Templates
from comfypod.web.identifiers import checked_visitor_id, is_item_id, new_id
from comfypod.web.platform import Platform
from comfypod.web.runs.endpoint_watch import EndpointWatch
from comfypod.web.runs.events import Message, Watchers
from comfypod.web.runs.live_run import now
from comfypod.web.runs.live_runs import LiveRuns, Means
from comfypod.web.runs.request import JobInputReader, RunRequest, parse_request
from comfypod.web.runs.store import Place, RunStore, StoredRun
from comfypod.web.runs.uploads import Uploads

SNAPSHOT_RUNS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOptions:
    """How much one visitor may do at once, and how much is kept.

    ``runs_kept`` and ``uploads_kept`` are those of each visitor, ``bytes_kept`` of all runs together, and
    ``upload_bytes_kept`` of all uploads; beyond them the oldest go. ``dollars_per_second`` is what a worker costs.
    """

    is_local: bool = False
    dollars_per_second: float | None = None
    runs_at_once: int = 4
    runs_kept: int = 500
    bytes_kept: int = 5 * 1024**3
    uploads_kept: int = 100
    upload_bytes_kept: int = 1024**3
    templates_folder: Path = field(default_factory=templates_folder)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a run made."""

    path: Path
    content_type: str
    filename: str
    size_bytes: int


class Runs:
    """All that the page's routes need; a context manager. The client is the caller's, to be closed afterwards."""

    def __init__(self, client: Client, folder: Path, options: RunsOptions) -> None:
        self.uploads = Uploads(folder, options.uploads_kept, options.upload_bytes_kept)
        self._folder = folder
        self._options = options
        self._templates = Templates(options.templates_folder)
        self._store = RunStore(folder, options.runs_kept, options.bytes_kept)
        self._reader = JobInputReader(self._store, self.uploads)
        self._platform = Platform(client)
        self._watchers = Watchers()
        price = options.dollars_per_second
        means = Means(self._platform, self._store, self._reader, self._templates, self._watchers, price)
        self._live = LiveRuns(means)
        name = self._platform.url.rpartition("/")[2]
        self._watch = EndpointWatch(
            EndpointState(name=name, is_local=options.is_local, dollars_per_second=price),
            ask=self._platform.health,
            on_change=self._watchers.tell_endpoint,
            is_watched=lambda: bool(self._watchers),
            is_waited_for=self._live.are_waiting,
        )
        # The address of a local RunPod changes with each start; what it can run does not.
        described_by = f"local {name}" if options.is_local else self._platform.url
        descriptions = DescriptionStore(folder / "descriptions", described_by)
        self._forms = FormMaker(self._platform, self._templates, descriptions)
        self._submitting = asyncio.Lock()
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Take up the runs that have not ended.

        Raises:
            ConfigurationError: the data folder cannot be used, or another server uses it.
        """
        async with AsyncExitStack() as resources:
            resources.enter_context(data_folder(self._folder))
            await asyncio.to_thread(self.uploads.open)
            resources.push_async_callback(self._live.close)
            for place, stored in await asyncio.to_thread(self._store.open):
                event("run_taken_up", run=place.run_id, job=stored.run.job_id, state=stored.run.state)
                fresh = stored.run.changed(wait=None, progress=None, preview=None)
                self._live.begin(place, stored.changed(run=fresh), self._watch)
            await self._live.make_room()
            watching = asyncio.create_task(self._watch.watch())
            resources.callback(watching.cancel)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following; the jobs go on, and are taken up by the next server."""
        self._watchers.close()
        await self._resources.aclose()

    async def templates(self) -> Sequence[TemplateForm]:
        """The templates that are offered, with their fields."""
        return await self._forms.of_templates()

    async def form(self, workflow: Mapping[str, Any] | str, *, ask: bool = False) -> Form:
        """The form of a workflow; see `FormMaker.form`."""
        return await self._forms.form(workflow, ask=ask)

    async def endpoint(self) -> EndpointState:
        """How the endpoint is."""
        return await self._watch.look()

    async def submit(self, visitor_id: str, document: Any, request_key: str | None = None) -> Run:  # noqa: ANN401
        """Keep a new run, and have it sent. With the key of an earlier request, that one's run is the answer.

        Raises:
            InvalidJobInput, InvalidWorkflow: it cannot be run; every problem that can be told.
            FileNotFound: an upload is not there.
            TooManyRuns: this visitor has as many as are allowed.
            SavingFailed: it could not be written, and is not run.
        """
        checked_visitor_id(visitor_id)
        async with self._submitting:  # two requests with one key are one run
            if request_key is not None and (known := self._store.with_key(visitor_id, request_key)):
                return await self.get(visitor_id, known)
            request = await asyncio.to_thread(self._checked, visitor_id, document)
            if self._live.going_on(visitor_id) >= self._options.runs_at_once:
                raise TooManyRuns(self._options.runs_at_once)
            place = Place(visitor_id, new_id())
            run = _new_run(place.run_id, request)
            stored = StoredRun(run=run, endpoint_url=self._platform.url, request_key=request_key)
            await asyncio.to_thread(self._store.create, place, stored, request.workflow)
            live = self._live.begin(place, stored, self._watch)
        self._watchers.tell_run(visitor_id, live.run)
        return live.run

    def _checked(self, visitor_id: str, document: Any) -> RunRequest:  # noqa: ANN401 (any JSON)
        request = parse_request(document, self._templates)
        self._reader.check_files(visitor_id, request)
        return request

    async def list(self, visitor_id: str, before: str | None = None, limit: int = SNAPSHOT_RUNS) -> RunPage:
        """A visitor's runs, newest first, from the one behind ``before`` on."""
        ids = [run_id for run_id in self._store.newest_first(visitor_id) if before is None or run_id < before]
        runs = await self._read_all(visitor_id, ids[:limit])
        return RunPage(runs=runs, next=ids[limit - 1] if len(ids) > limit else None)

    async def get(self, visitor_id: str, run_id: str) -> Run:
        """One run.

        Raises:
            RunNotFound: this visitor has no such run.
        """
        return (await self._stored(Place(checked_visitor_id(visitor_id), run_id))).run

    async def cancel(self, visitor_id: str, run_id: str) -> Run:
        """Have a run cancelled; one that has ended stays as it is. How it ends, RunPod says.

        Raises:
            RunNotFound: this visitor has no such run.
        """
        live = self._live.get(Place(visitor_id, run_id))
        if live is None or live.run.has_ended:
            return await self.get(visitor_id, run_id)
        live.show(is_cancelling=True)
        await live.write()  # a server that starts anew knows it, too
        live.woken.set()
        return live.run

    async def remove(self, visitor_id: str, run_id: str) -> None:
        """Remove a run that has ended, and its files.

        Raises:
            RunNotFound: this visitor has no such run.
            RunNotEnded: it has not.
            SavingFailed: the file system does not let it go.
        """
        run = await self.get(visitor_id, run_id)
        if not run.has_ended:
            raise RunNotEnded(run_id)
        place = Place(visitor_id, run_id)
        await self._live.remove(place)
        self._watchers.tell_removed(visitor_id, run_id)

    async def preview(self, visitor_id: str, run_id: str) -> PreviewImage:
        """The newest preview of a run that goes on.

        Raises:
            RunNotFound: this visitor has no such run.
            FileNotFound: it has no preview, or has none any more.
        """
        await self.get(visitor_id, run_id)
        live = self._live.get(Place(visitor_id, run_id))
        if live is None or live.preview is None:
            raise FileNotFound("The preview")
        return live.preview

    async def file(self, visitor_id: str, run_id: str, index: int) -> OutputFile:
        """A file that a run made.

        Raises:
            RunNotFound: this visitor has no such run.
            FileNotFound: it has no such file.
        """
        place = Place(checked_visitor_id(visitor_id), run_id)
        stored = await self._stored(place)
        output = next((item for item in stored.run.outputs if item.index == index and item.filename), None)
        if output is None or index not in stored.paths:
            raise FileNotFound("This file")
        path = self._store.folder(place) / stored.paths[index]
        try:
            size_bytes = (await asyncio.to_thread(path.stat)).st_size
        except OSError as error:
            raise FileNotFound("This file") from error
        return OutputFile(path, output.content_type or "application/octet-stream", output.filename or "", size_bytes)

    async def workflow(self, visitor_id: str, run_id: str) -> Any:  # noqa: ANN401 (any JSON)
        """What a run was asked to run: the document of a workflow, or a template's name.

        Raises:
            RunNotFound: this visitor has no such run.
        """
        await self.get(visitor_id, run_id)
        return await asyncio.to_thread(self._store.workflow, Place(visitor_id, run_id))

    async def events(self, visitor_id: str, run_id: str | None = None) -> AsyncGenerator[Message, None]:
        """What happens to a visitor's runs, or to one of them; the first message is how everything is now.

        It ends when the runs are closed.

        Raises:
            RunNotFound: this visitor has no such run.
        """
        subscription = self._watchers.add(checked_visitor_id(visitor_id), run_id)
        try:
            self._watch.poke()
            page = await (self._snapshot(visitor_id) if run_id is None else self._only(visitor_id, run_id))
            yield "runs", page.to_json()
            yield "endpoint", self._watch.state.to_json()
            async for message in subscription.messages():
                yield message
        finally:
            self._watchers.drop(visitor_id, subscription)

    async def _only(self, visitor_id: str, run_id: str) -> RunPage:
        return RunPage(runs=[await self.get(visitor_id, run_id)])

    async def _snapshot(self, visitor_id: str) -> RunPage:
        """The newest runs, and all others that have not ended."""
        page = await self.list(visitor_id)
        shown = {run.id for run in page.runs}
        older = [live.run for live in self._live.of_visitor(visitor_id) if live.run.id not in shown]
        return page.changed(runs=[*page.runs, *sorted(older, key=lambda run: run.id, reverse=True)])

    async def _read_all(self, visitor_id: str, run_ids: Sequence[str]) -> Sequence[Run]:
        runs = []
        for run_id in run_ids:
            try:
                runs.append((await self._stored(Place(visitor_id, run_id))).run)
            except RunNotFound:  # removed meanwhile, or damaged
                continue
        return runs

    async def _stored(self, place: Place) -> StoredRun:
        if not is_item_id(place.run_id):
            raise RunNotFound(place.run_id)
        live = self._live.get(place)
        return live.stored if live is not None else await asyncio.to_thread(self._store.read, place)


def _new_run(run_id: str, request: RunRequest) -> Run:
    return Run(
        id=run_id,
        title=request.title or "",
        template=request.template,
        state="submitting",
        created_at=now(),
        parameters=request.parameters,
        files=request.files,
    )
