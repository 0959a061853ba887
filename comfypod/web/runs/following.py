"""One run, from where it stands to its end: sent, followed, cancelled if that is wanted, its files brought here.

The server may end and start again at any moment, so what must not happen twice is written down before it is done: a job
is sent once. Where it is not certain whether it was, it is looked for by its key, which is the run's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.cloud.job import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_QUEUED_SECONDS, LONGEST_PAUSE_RUNNING_SECONDS
from comfypod.cloud.jobs import JobStatus
from comfypod.errors import (
    AuthenticationFailed,
    CloudUnavailable,
    ComfyPodError,
    EndpointChanged,
    EndpointNotFound,
    JobCancelled,
    ProtocolViolation,
    RequestRefused,
    SavingFailed,
    SubmissionUncertain,
)
from comfypod.retry import backoff_seconds
from comfypod.schema.wire import as_list, as_object, listed
from comfypod.web.disk import remove_folder
from comfypod.web.documents import RunProgress, RunState, Wait
from comfypod.web.platform import Platform
from comfypod.web.runs.endpoint_watch import EndpointWatch
from comfypod.web.runs.live_run import LiveRun, now
from comfypod.web.runs.outcome import Titles, account_of, error_of, outputs_of, parameters_of, progress_of
from comfypod.web.runs.request import JobInputReader
from comfypod.web.runs.store import FILES_FOLDER
from comfypod.web.saving import SavedOutput

SENDING_SECONDS = 3600.0
"""So long an endpoint that is away is waited for before anything is sent: hours later nobody expects a job any more."""
LIFE_SECONDS = 24 * 3600.0
"""RunPod forgets a job after its time to live, a day by default (docs.runpod.io, "Send API requests")."""
LAST_SECONDS = 3.0
"""A server that ends waits so long for the answer to a job that was just sent."""
LONGEST_PAUSE_SECONDS = 5.0
_GROWTH = 1.3

_TROUBLES = (CloudUnavailable, AuthenticationFailed, EndpointNotFound, RequestRefused, ProtocolViolation)
"""What says nothing of the job: it may go on, and be asked for again."""


class _NotWanted(Exception):
    """The run was cancelled before it was sent. Never leaves this module."""


@dataclass(slots=True)
class Follower:
    """Follows one run; call `follow` once."""

    live: LiveRun
    platform: Platform
    watch: EndpointWatch
    reader: JobInputReader
    titles: Titles
    dollars_per_second: float | None

    async def follow(self) -> None:
        """Do what is left to do. Every failure ends the run, with a sentence; none is raised.

        When this is cancelled, the run stays as it is, to be taken up again.
        """
        try:
            status = await self._ended(await self._job_id())
        except _NotWanted:
            await self._end("cancelled")
        except ComfyPodError as error:
            await self._end("failed", error=error_of(error, self.titles))
        else:
            await self._receive(status)

    async def _job_id(self) -> str:
        """The id of the run's job, which is sent if it was not."""
        stored = self.live.stored
        if stored.endpoint_url != self.platform.url:
            raise EndpointChanged(stored.endpoint_url, stored.run.job_id)
        if stored.run.job_id is not None:
            return stored.run.job_id
        return await (self._send() if stored.sent_at is None else self._find())

    async def _noted(self, job_id: str) -> str:
        """The id, after it was written down."""
        self.live.show(job_id=job_id, state="queued", wait=self._wait())
        await self.live.write()
        self.watch.poke()
        return job_id

    async def _send(self) -> str:
        """Send the job, once; an endpoint that is away is waited for, since nothing was created there."""
        job_input = await asyncio.to_thread(self.reader.read, self.live.place)
        pauses = backoff_seconds(first=0.5, longest=LONGEST_PAUSE_SECONDS)
        while True:
            if self.live.run.is_cancelling:
                raise _NotWanted
            try:
                return await self._submitted(job_input)
            except CloudUnavailable as error:
                self.watch.failed(error)
                waited = (now() - self.live.run.created_at).total_seconds()
                if waited > SENDING_SECONDS:
                    raise
                self.live.show(wait=Wait(kind="unknown", seconds=round(waited, 1)))
                await self.live.sleep(next(pauses))

    async def _submitted(self, job_input: Mapping[str, Any]) -> str:
        """Send the job. If the server ends meanwhile, the answer is waited for a little, so that it is known."""
        sending = asyncio.ensure_future(self._submit(job_input))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait([sending], timeout=LAST_SECONDS)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            raise

    async def _submit(self, job_input: Mapping[str, Any]) -> str:
        """Write down that the job is sent, send it, and write down what came of it."""
        await self.live.note(sent_at=now())
        if self.live.unwritten:  # the next server would send it again
            raise self.live.unwritten
        try:
            job_id = await self.platform.submit(job_input, self.live.place.run_id)
        except CloudUnavailable:
            await self.live.note(sent_at=None)
            raise
        return await self._noted(job_id)

    async def _find(self) -> str:
        """The job that was sent before the server started: it is not sent again."""
        cause = "the server ended before it had RunPod's answer"
        key = self.live.place.run_id
        pauses = backoff_seconds(first=0.5, longest=LONGEST_PAUSE_SECONDS)
        while True:
            try:
                job_id = await self.platform.find(key)
            except (RequestRefused, ProtocolViolation) as error:
                raise SubmissionUncertain(key, cause, f"it could not be looked for ({error})") from error
            except (CloudUnavailable, AuthenticationFailed) as error:
                self._bear(error)
                await self.live.sleep(next(pauses))
                continue
            if job_id is None:
                raise SubmissionUncertain(key, cause, "it is not among the jobs that are listed")
            return await self._noted(job_id)

    async def _ended(self, job_id: str) -> JobStatus:
        """Ask until the job has ended: seldom while it waits, often while it runs, and in spite of any trouble."""
        pause_seconds, was_running, is_told = FIRST_PAUSE_SECONDS, False, False
        troubles = backoff_seconds(first=0.5, longest=LONGEST_PAUSE_SECONDS)
        while True:
            if self.live.run.is_cancelling and not is_told:
                is_told, pause_seconds = await self._told_to_cancel(job_id), FIRST_PAUSE_SECONDS
            try:
                status = await self.platform.status(job_id)
            except _TROUBLES as error:
                self._bear(error)
                await self.live.sleep(next(troubles))
                continue
            self.watch.reached()
            if status.state.is_final:
                return status
            await self._show(status)
            if status.state.is_running != was_running:
                pause_seconds, was_running = FIRST_PAUSE_SECONDS, status.state.is_running
            await self.live.sleep(pause_seconds)
            longest = LONGEST_PAUSE_RUNNING_SECONDS if was_running else LONGEST_PAUSE_QUEUED_SECONDS
            pause_seconds = min(pause_seconds * _GROWTH, longest)

    async def _told_to_cancel(self, job_id: str) -> bool:
        """Whether the platform has heard that the job is to be cancelled; if not, it is told again."""
        try:
            await self.platform.cancel(job_id)
        except _TROUBLES as error:
            self._bear(error)
            return False
        return True

    def _bear(self, error: ComfyPodError) -> None:
        """Tell that the endpoint cannot be asked, and go on for as long as the job may be there."""
        self.watch.failed(error)
        if self._waited_seconds() > LIFE_SECONDS:
            raise error
        if self.live.run.state != "running":
            self.live.show(wait=self._wait())

    async def _show(self, status: JobStatus) -> None:
        """Tell where a job stands that has not ended. One whose worker died is queued again."""
        before = self.live.run.state
        if status.state.is_running:
            progress = progress_of(status.progress, self.titles) if status.progress else self.live.run.progress
            self.live.show(state="running", wait=None, progress=progress)
            if status.progress and status.progress.preview:
                self.live.show_preview(status.progress.preview)
        else:
            self.live.show(state="queued", wait=self._wait(), progress=None)
        if self.live.run.state != before:
            await self.live.write()
            self.watch.poke()

    def _wait(self) -> Wait:
        return self.watch.wait(self._waited_seconds())

    def _waited_seconds(self) -> float:
        """Since the job was sent; a clock that was set back makes it no negative time."""
        since = self.live.stored.sent_at or self.live.run.created_at
        return max(0.0, (now() - since).total_seconds())

    async def _receive(self, status: JobStatus) -> None:
        """Bring here what a job that ended has made, and end the run as RunPod says that it ended."""
        error: ComfyPodError | None = None
        try:
            status.result()
        except JobCancelled:
            await self._end("cancelled", **account_of(status, self.dollars_per_second))
            return
        except ComfyPodError as failure:  # what it had made before may have come along
            error = failure
        output, account = as_object(status.output), account_of(status, self.dollars_per_second)
        saved = await self._saved(output)
        if saved.out_of_reach:
            names = listed(saved.out_of_reach)
            account["warnings"] = [*account["warnings"], f"On the endpoint's volume, out of reach from here: {names}"]
        outputs = outputs_of(self.live.place.run_id, saved.files, as_list(output.get("texts")), self.titles)
        account |= {"outputs": outputs, "parameters": parameters_of(self.live.run, output)}
        if failed := error or saved.error:
            await self._end("failed", error=error_of(failed, self.titles), **account)
        else:
            await self._end("succeeded", **account)

    async def _saved(self, output: Mapping[str, Any]) -> SavedOutput:
        """The job's files in the run's folder; where the disk does not take all of them, none."""
        if output.get("images") or output.get("files"):
            receiving = RunProgress(stage="deliver", value=1.0, message="Receiving the result")
            self.live.show(state="running", wait=None, progress=receiving)
        folder = self.live.store.folder(self.live.place)
        saved = await self.platform.save(output, folder / FILES_FOLDER)
        if isinstance(saved.error, SavingFailed):
            await asyncio.to_thread(remove_folder, folder / FILES_FOLDER)  # room for the word that it failed
            return SavedOutput((), (), saved.error)
        paths = {index: str(file.path.relative_to(folder)) for index, file in enumerate(saved.files)}
        self.live.stored = self.live.stored.changed(paths=paths)
        return saved

    async def _end(self, state: RunState, **fields: Any) -> None:  # noqa: ANN401 (fields of the run)
        """Nothing will change any more."""
        await end_run(self.live, state, **fields)


async def end_run(live: LiveRun, state: RunState, **fields: Any) -> None:  # noqa: ANN401 (fields of the run)
    """Tell and write that a run has ended."""
    over = {"ended_at": now(), "is_cancelling": False, "wait": None, "progress": None, "preview": None}
    live.preview = None
    live.show(state=state, **over, **fields)
    await live.write()
