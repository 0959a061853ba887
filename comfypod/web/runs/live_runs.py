"""The runs that go on, each followed by one task of the server, whoever watches it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from comfypod.errors import ComfyPodError
from comfypod.logs import log
from comfypod.web.documents import RunError
from comfypod.web.forms.templates import Templates
from comfypod.web.platform import Platform
from comfypod.web.runs.endpoint_watch import EndpointWatch
from comfypod.web.runs.events import Watchers
from comfypod.web.runs.following import Follower, end_run
from comfypod.web.runs.live_run import LiveRun
from comfypod.web.runs.outcome import Titles, titles_of
from comfypod.web.runs.request import JobInputReader
from comfypod.web.runs.store import Place, RunStore, StoredRun

BUG = "The server has a bug, or met one; its log says more. The job may go on at the endpoint"


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to follow a run."""

    platform: Platform
    store: RunStore
    reader: JobInputReader
    templates: Templates
    watchers: Watchers
    dollars_per_second: float | None


class LiveRuns:
    """The runs that have not ended, and those whose end could not be written yet."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._live: dict[Place, LiveRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, place: Place, stored: StoredRun, watch: EndpointWatch) -> LiveRun:
        """Follow a run, from where it stands."""
        live = LiveRun(place, stored, self._means.store, self._means.watchers.tell_run)
        self._live[place] = live
        task = asyncio.create_task(self._follow(live, watch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return live

    async def close(self) -> None:
        """Stop following; the runs stay as they are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def get(self, place: Place) -> LiveRun | None:
        """The run, if it is one of these."""
        return self._live.get(place)

    async def remove(self, place: Place) -> None:
        """Remove a run that has ended from the disk, whether it is one of these or not.

        Raises:
            SavingFailed: the file system does not let it go.
        """
        if live := self._live.get(place):
            await live.remove()
            self._forget(place)
        else:
            await asyncio.to_thread(self._means.store.remove, place)

    def _forget(self, place: Place) -> None:
        self._live.pop(place, None)

    def of_visitor(self, visitor_id: str) -> list[LiveRun]:
        """Those of a visitor."""
        return [live for place, live in self._live.items() if place.visitor_id == visitor_id]

    def going_on(self, visitor_id: str) -> int:
        """How many runs of a visitor have not ended."""
        return sum(not live.run.has_ended for live in self.of_visitor(visitor_id))

    def are_waiting(self) -> bool:
        """Whether any of them waits for a worker."""
        return any(live.run.state in {"submitting", "queued"} for live in self._live.values())

    async def make_room(self) -> None:
        """Remove the oldest runs that ended, where there are too many."""
        for place in await asyncio.to_thread(self._means.store.make_room):
            self._means.watchers.tell_removed(place.visitor_id, place.run_id)

    async def _follow(self, live: LiveRun, watch: EndpointWatch) -> None:
        """Follow a run to its end; a mistake of ours ends it as well, and is logged."""
        means = self._means
        try:
            titles = await asyncio.to_thread(self._titles, live.place)
            await Follower(live, means.platform, watch, means.reader, titles, means.dollars_per_second).follow()
        except Exception:  # noqa: BLE001 (the boundary of a run: logged, and told to whoever waits for it)
            log.exception("run_crashed", extra={"fields": {"run": live.place.run_id}})
            await end_run(live, "failed", error=RunError(code=ComfyPodError.code, message=BUG))
        await self.make_room()
        if live.unwritten:  # there may be room now
            await live.write()
        if not live.unwritten:
            self._forget(live.place)

    def _titles(self, place: Place) -> Titles:
        """Those of the nodes of a run's workflow, as far as they can be known."""
        try:
            workflow = self._means.store.workflow(place)
            return titles_of(self._means.templates.load(workflow).workflow if isinstance(workflow, str) else workflow)
        except ComfyPodError:
            return {}
