"""The HTTP interface of one RunPod endpoint: one method per call, every failure mapped in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comfypod.cloud.answers import Answer, AnswerLost, NotSent
from comfypod.cloud.clock import Clock
from comfypod.cloud.jobs import JobStatus, job_by_key
from comfypod.cloud.pacer import Pacer
from comfypod.cloud.patience import Patience
from comfypod.errors import (
    AuthenticationFailed,
    CloudError,
    CloudUnavailable,
    EndpointNotFound,
    JobNotFound,
    ProtocolViolation,
    RequestRefused,
)

if TYPE_CHECKING:
    from comfypod.cloud.transport import Transport


LISTED_JOBS = 1000
"""So many of its newest jobs the local RunPod lists at most."""


class OutcomeUnknown(Exception):
    """The call may have taken effect, and nothing says so; the message says why. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One route; ``missing`` is what a 404 means. One that ``is_repeatable`` may arrive twice without harm."""

    route: str
    method: str
    path: str
    missing: CloudError
    body: bytes | None = None
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The calls of one endpoint; may be used by many threads.

    Repeatable calls are repeated while the platform is busy or away, until ``patience_seconds`` have passed. The others
    are repeated only where it is certain that they took no effect.

    All methods raise `AuthenticationFailed`, `RequestRefused`, `CloudUnavailable` and `ProtocolViolation`.
    """

    transport: Transport
    pacer: Pacer
    clock: Clock
    patience_seconds: float

    @property
    def url(self) -> str:
        """Its address."""
        return self.transport.url

    def with_clock(self, clock: Clock) -> Endpoint:
        """The same endpoint, waiting by another clock."""
        return replace(self, clock=clock)

    def with_patience(self, seconds: float) -> Endpoint:
        """The same endpoint, given up sooner."""
        return replace(self, patience_seconds=min(seconds, self.patience_seconds))

    def run(self, body: bytes) -> JobStatus:
        """Queue a job; ``body`` is ``{"input": …}`` as JSON.

        Raises:
            OutcomeUnknown: the job may have been created. It must not be sent again without knowing.
            EndpointNotFound: there is no such endpoint.
        """
        call = _Call("run", "POST", "/run", EndpointNotFound(self.url), body, is_repeatable=False)
        return self._unknown_unless_valid(call)

    def retry(self, job_id: str) -> JobStatus:
        """Queue a job that failed once more.

        Raises:
            OutcomeUnknown: it may be queued.
            JobNotFound: unknown, or its result expired.
        """
        call = _Call("retry", "POST", f"/retry/{job_id}", JobNotFound(job_id), is_repeatable=False)
        return self._unknown_unless_valid(call)

    def status(self, job_id: str) -> JobStatus:
        """Where a job stands.

        Raises:
            JobNotFound: unknown, or its result expired.
        """
        return JobStatus.parse(self._object(_Call("status", "GET", f"/status/{job_id}", JobNotFound(job_id))))

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel a job, queued or running.

        Raises:
            JobNotFound: unknown, or its result expired.
        """
        return JobStatus.parse(self._object(_Call("cancel", "POST", f"/cancel/{job_id}", JobNotFound(job_id))))

    def find(self, idempotency_key: str) -> JobStatus | None:
        """The job with this key, of those that ``GET /requests`` lists; None if it is not among them.

        RunPod does not document what that call answers, nor how long it lists a job.

        Raises:
            RequestRefused: this endpoint lists no jobs.
            ProtocolViolation: what it answers is no list of jobs.
        """
        missing = RequestRefused(self.url + "/requests", 404, "this endpoint does not list its jobs")
        call = _Call("requests", "GET", f"/requests?limit={LISTED_JOBS}", missing)
        return job_by_key(self._document(call), idempotency_key)

    def health(self) -> Mapping[str, Any]:
        """Counts of jobs and workers by state.

        Raises:
            EndpointNotFound: there is no such endpoint.
        """
        return self._object(_Call("health", "GET", "/health", EndpointNotFound(self.url)))

    def purge_queue(self) -> int:
        """Remove all jobs that are queued; how many there were.

        Raises:
            EndpointNotFound: there is no such endpoint.
        """
        call = _Call("purge-queue", "POST", "/purge-queue", EndpointNotFound(self.url), is_repeatable=False)
        try:
            removed = self._object(call).get("removed")
        except OutcomeUnknown as error:
            raise CloudUnavailable(self.url, f"{error}; the queue may have been purged") from error
        return removed if isinstance(removed, int) else 0

    def _unknown_unless_valid(self, call: _Call) -> JobStatus:
        """An answer of success that cannot be read is as good as none."""
        try:
            return JobStatus.parse(self._object(call))
        except ProtocolViolation as error:
            raise OutcomeUnknown(str(error)) from error

    def _object(self, call: _Call) -> dict[str, Any]:
        document = self._document(call)
        if not isinstance(document, dict):
            raise ProtocolViolation("RunPod", str(document)[:200])
        return document

    def _document(self, call: _Call) -> Any:  # noqa: ANN401 (any JSON)
        """Call, and call again while the platform is busy or away and it does no harm."""
        patience = Patience(self.patience_seconds, self.clock)
        while True:
            with self.pacer.turn(call.route, self.clock):
                since = self.clock.now()
                try:
                    answer = self.transport.send(
                        call.method, call.path, call.body, on_new_connection=not call.is_repeatable
                    )
                    cause, took_effect = f"HTTP {answer.status}", answer.status != 429
                    if not answer.is_trouble:
                        return self._read(answer, call)
                except NotSent as error:
                    cause, took_effect = str(error), False
                except AnswerLost as error:
                    cause, took_effect = str(error), True
            if took_effect and not call.is_repeatable:
                raise OutcomeUnknown(cause)
            if not patience.pause(since):
                raise CloudUnavailable(self.url, cause)

    def _read(self, answer: Answer, call: _Call) -> Any:  # noqa: ANN401 (any JSON)
        """The JSON in an answer, or what its status means."""
        if answer.status == 401:
            raise AuthenticationFailed(self.url)
        if answer.status == 404:
            raise call.missing
        if not 200 <= answer.status < 300:
            raise RequestRefused(self.url, answer.status, answer.text)
        document = answer.document()
        if document is None:
            raise ProtocolViolation("RunPod", answer.text[:200])
        return document
