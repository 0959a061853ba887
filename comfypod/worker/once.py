"""A job that is run once: its result is taken if there is one, and committed if there is none.

A platform that delivers jobs at least once, and whoever sends one again because of a doubt, cost a moment on a worker
in this way, and neither time on the GPU nor a second result. See ``comfypod/storage/commits``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from comfypod.errors import CommitsUnavailable, ConfigurationError
from comfypod.logs import event
from comfypod.schema.output import OnceInfo, duplicate_to_json
from comfypod.storage.commits import Commits, Committed, Holder, Lease
from comfypod.worker.job_state import JobState
from comfypod.worker.once_lease import LeaseKeeper, LeaseLost

NO_BUCKET = (
    "once: a job can be run once only where workers have a bucket in common; set BUCKET_ENDPOINT_URL, "
    "BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY, or send it without once."
)

Work = Callable[[], Awaitable[dict[str, Any]]]
"""Runs the job; its answer names files that are in the bucket already."""


class Once:
    """What keeps a worker from doing what is done, or what another does.

    Args:
        commits: what the bucket knows that all workers have in common; None where there is no bucket.
        worker_id: by which the worker is found again.
        lease_seconds: how long nobody else takes over after this worker has died.
    """

    def __init__(self, commits: Commits | None, worker_id: str, lease_seconds: float) -> None:
        self._commits = commits
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds

    async def run(self, state: JobState, key: str, work: Work) -> dict[str, Any]:
        """The answer of the job with this key: the one result, whoever made it, or that another is at it.

        A job that fails or is cancelled leaves no result, and its lease to the next one.

        Raises:
            ConfigurationError: there is no bucket.
            CommitsUnavailable: nothing was run, or its result is not known to be committed.
            ComfyPodError: what ``work`` raised.
        """
        if self._commits is None:
            raise ConfigurationError([NO_BUCKET])
        one_run = _OneRun(self._commits, state, key, Holder(state.job_id, self._worker_id))
        return await one_run.run(work, self._lease_seconds)


class _OneRun:
    """One run of one job."""

    def __init__(self, commits: Commits, state: JobState, key: str, holder: Holder) -> None:
        self._commits = commits
        self._state = state
        self._key = key
        self._holder = holder

    async def run(self, work: Work, lease_seconds: float) -> dict[str, Any]:
        commits, key = self._commits, self._key
        async with self._state.deadline.enforce("start"):
            acquired = await commits.acquire(key, self._holder, lease_seconds)
        if isinstance(acquired, Lease):
            return await self._anothers(acquired)
        try:
            async with LeaseKeeper(commits, acquired) as keeper:
                async with self._state.deadline.enforce("start"):
                    committed = await commits.result(key)
                if committed is not None:
                    return self._answer(committed, "existing")
                answer = await keeper.unless_lost(work())
                # By its own time: what has been made is worth more than the deadline.
                committed = await commits.commit(key, self._holder, answer)
                keeper.is_settled = True
        except LeaseLost:
            return await self._anothers(None)
        return self._answer(committed, "committed" if committed.token == self._holder.token else "lost")

    async def _anothers(self, lease: Lease | None) -> dict[str, Any]:
        """The result that another has made, or that it is at it; ``lease`` is its own, if that is known."""
        async with self._state.deadline.enforce("start"):
            committed = await self._commits.result(self._key)
            if committed is not None:
                return self._answer(committed, "existing")
            lease = lease or await self._commits.lease(self._key)
        if lease is None:
            raise CommitsUnavailable(f"the lease of {self._key}", "it was removed while it was held")
        event("job_once", state="leased", made_by=lease.job_id, worker_id=lease.worker_id)
        return duplicate_to_json(self._state.account(), OnceInfo("leased", lease.job_id, lease.expires_at))

    def _answer(self, committed: Committed, how: Literal["committed", "existing", "lost"]) -> dict[str, Any]:
        event("job_once", state=how, made_by=committed.job_id, worker_id=committed.worker_id)
        told = self._commits.outputs(committed)
        # What every answer has is there, whoever wrote the result.
        return {**self._state.account().to_json(), **told, "once": OnceInfo(how, committed.job_id).to_json()}
