"""What a worker does with a job, without ComfyUI: the real commits around a pause that stands for a GPU's work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError
from comfypod.files.content import FileContent
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.commits import Commits, Committed, Held, Holder, Lease, files_folder
from tests.chaos.asked import is_valid, number_of, picture_of, sha256_of
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan
from tests.chaos.traps import Traps

UPLOAD_SECONDS = 30.0
FILENAME = "chaos_00001_.png"
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FakeGpu:
    """One worker's; it runs one job at a time. `work` is the handler."""

    worker_id: str
    plan: Plan
    folder: Path
    bucket: Bucket
    commits: Commits

    async def work(self, job: Mapping[str, Any]) -> Answer:
        """Answer a job, from a result that is there or a run."""
        self._reached("worker_took")
        asked, key = job["input"], job["input"]["idempotency_key"]
        if not is_valid(asked):
            return _failure("invalid_workflow", "Node 1: there is no class NoSuchNode.", retryable=False)
        holder = Holder(job["id"], self.worker_id)
        try:
            return await (self._once(asked, key, holder) if self.plan.dedupes else self._run(asked, key, holder))
        except ComfyPodError as error:
            return _failure(error.code, str(error), retryable=error.retryable)

    async def _once(self, asked: Mapping[str, Any], key: str, holder: Holder) -> Answer:
        if committed := await self.commits.result(key):
            return self._told(committed, "existing")
        held = await self.commits.acquire(key, holder, self.plan.lease_seconds)
        if isinstance(held, Lease):
            self._stopped("leased")
            expires_at = held.expires_at.isoformat()
            once = {"state": "leased", "job_id": held.job_id, "expires_at": expires_at}
            return {"output": {"status": "duplicate", "once": once}}
        self._reached("worker_leased")
        async with self._holding(held):
            if committed := await self.commits.result(key):  # by whoever held the lease before
                return self._told(committed, "existing")
            return await self._run(asked, key, holder)

    async def _run(self, asked: Mapping[str, Any], key: str, holder: Holder) -> Answer:
        number = str(number_of(asked))
        journal = Journal(self.folder)
        journal.note("run", number, key, holder.job_id, self.worker_id)
        await asyncio.sleep(self.plan.gpu_seconds / 2)
        self._reached("worker_running")
        await asyncio.sleep(self.plan.gpu_seconds / 2)
        output = await self._upload(asked, key)
        self._reached("worker_before_commit")
        committed = await self.commits.commit(key, holder, output)
        journal.note("ran", number, key, holder.job_id, self.worker_id)
        self._reached("worker_committed")
        return self._told(committed, "committed" if committed.token == holder.token else "lost")

    async def _upload(self, asked: Mapping[str, Any], key: str) -> dict[str, Any]:
        picture = self.folder / f"{self.worker_id}.png"
        size, digest = picture.write_bytes(picture_of(number_of(asked))), sha256_of(number_of(asked))
        bucket_key = f"{files_folder(key)}/{digest[:16]}-{FILENAME}"
        await self.bucket.upload(FileContent(picture), bucket_key, "image/png", Deadline.after(UPLOAD_SECONDS))
        image = {"node_id": "2", "node_title": "Save Image", "index": 0, "filename": FILENAME, "subfolder": ""}
        image |= {"content_type": "image/png", "size_bytes": size, "sha256": digest, "bucket_key": bucket_key}
        image |= {"width": 8, "height": 8, "type": "s3_url"}
        timings = {"execute_ms": round(1000 * self.plan.gpu_seconds), "total_ms": round(1000 * self.plan.gpu_seconds)}
        output = {"status": "success", "images": [image], "files": [], "texts": [], "timings": timings}
        return output | {"idempotency_key": key, "worker": {"engine": "emulator"}, "warnings": []}

    def _told(self, committed: Committed, state: str) -> Answer:
        if state != "committed":
            self._stopped(state)
        once = {"state": state, "job_id": committed.job_id}
        return {"output": {**self.commits.outputs(committed), "once": once}}

    @asynccontextmanager
    async def _holding(self, held: Held) -> AsyncIterator[None]:
        """Renew the lease for as long as the body runs; let go of it afterwards, however it ended."""
        latest = held

        async def renew() -> None:
            nonlocal latest
            while True:
                await asyncio.sleep(self.plan.lease_seconds / 3)
                # That another has it by now changes nothing for so short a run: the commit tells who was first.
                latest = await self.commits.renew(latest) or latest

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
            await self.commits.release(latest)

    def _stopped(self, reason: str) -> None:
        Journal(self.folder).note("stopped", self.worker_id, reason)

    def _reached(self, point: str) -> None:
        Traps(self.folder).reached(point)


def _failure(code: str, sentence: str, *, retryable: bool) -> Answer:
    details = {"status": "error", "code": code, "retryable": retryable, "details": {}}
    return {"error": sentence, "output": {**details, "error": sentence, "timings": {}, "warnings": []}}
