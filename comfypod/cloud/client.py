"""The client: submit a job, follow it, cancel it, have what it made."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from copy import copy
from inspect import signature
from types import TracebackType
from typing import Any, Literal, Self

from comfypod.cloud.clock import Clock, SystemClock
from comfypod.cloud.configuration import find_connection
from comfypod.cloud.endpoint import Endpoint
from comfypod.cloud.inputs import Files, Policy, Submission, make_job_input
from comfypod.cloud.job import Job, OnProgress
from comfypod.cloud.jobs import JobState, JobStatus, is_plain_id
from comfypod.cloud.many import ManyJobs, OnItemStatus, Outcome
from comfypod.cloud.pacer import Pacer
from comfypod.cloud.submission import post_once
from comfypod.errors import ComfyPodError, DeadlineExceeded, InvalidJobInput, JobNotFound, ProtocolViolation

__all__ = ["Client", "Job"]

PATIENCE_SECONDS = 60.0


class Client:
    """A client of one endpoint; a context manager, to close its connections. Many threads may use it at once.

    The endpoint's id comes from RUNPOD_ENDPOINT_ID if it is not given, the key from RUNPOD_API_KEY or else from
    ``~/.runpod/config.toml``, the address from RUNPOD_ENDPOINT_BASE_URL. Failures in a row are borne for
    ``patience_seconds``; those that make it uncertain whether a job was created, never.

    Raises:
        ConfigurationError: something is missing; it says what to set.
    """

    def __init__(
        self,
        endpoint_id: str | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        from comfypod.cloud.transport import Transport  # noqa: PLC0415 (Requests takes 80 ms: not before it is needed)

        connection = find_connection(endpoint_id, api_key, base_url)
        self._transport = Transport(connection)
        self._clock = clock or SystemClock()
        self.endpoint = Endpoint(self._transport, Pacer(), self._clock, patience_seconds)

    def __repr__(self) -> str:
        return f"Client({self.endpoint.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def submit(
        self,
        workflow: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        prompt: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        files: Files | None = None,
        outputs: Mapping[str, Any] | None = None,
        delivery: Literal["auto", "inline", "bucket", "path"] | None = None,
        timeout_seconds: float | None = None,
        previews: bool = False,
        webhook: str | None = None,
        execution_timeout_seconds: float | None = None,
        ttl_seconds: float | None = None,
        low_priority: bool = False,
        s3_config: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **more: Any,  # noqa: ANN401 (other fields of the input)
    ) -> Job:
        """Queue a job. What its fields mean stands in ``docs/reference/job.md``.

        Args:
            workflow: its document (as ComfyUI exports it for its API, or as its page saves it), the path of a file with
                it, or the name of a template on the worker.
            prompt: a text for the default template.
            parameters: of the template, or ``NODE.INPUT`` of any workflow.
            files: what the workflow loads: name to path, content or address; or a list of paths.
            outputs: which outputs are wanted, and how.
            delivery: how they come back.
            timeout_seconds: of the work on the worker.
            previews: whether `Job.previews` shall have any.
            webhook: an address that RunPod posts the ended job to.
            execution_timeout_seconds: after which RunPod ends the job on the worker.
            ttl_seconds: after which RunPod forgets the job, wherever it stands.
            low_priority: behind all others, and no reason to start a worker.
            s3_config: a bucket for this job's results, as RunPod's own clients send it.
            idempotency_key: a name for this job, by which `find` finds it; drawn if not given. RunPod does not know it
                and would take a second job of the same name.
            **more: further fields of the job's input.

        Raises:
            InvalidJobInput: nothing to run, a file that cannot be read, or more than RunPod takes.
            SubmissionUncertain: it was sent, and whether RunPod has it cannot be told; it was not sent again.
            AuthenticationFailed, EndpointNotFound, RequestRefused, CloudUnavailable: RunPod does not have it.
        """
        job_input = make_job_input(
            workflow,
            prompt=prompt,
            files=files,
            previews=previews,
            parameters=parameters,
            outputs=outputs,
            delivery=delivery,
            timeout_seconds=timeout_seconds,
            **more,
        )
        policy = Policy(webhook, execution_timeout_seconds, ttl_seconds, low_priority, s3_config)
        return self._post(Submission.of(job_input, policy, idempotency_key))

    def submit_input(
        self,
        job_input: Mapping[str, Any],
        *,
        webhook: str | None = None,
        execution_timeout_seconds: float | None = None,
        ttl_seconds: float | None = None,
        low_priority: bool = False,
        s3_config: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job with an input that is ready; no file of this machine is read. Otherwise as `submit`."""
        policy = Policy(webhook, execution_timeout_seconds, ttl_seconds, low_priority, s3_config)
        return self._post(Submission.of(job_input, policy, idempotency_key))

    def describe(
        self,
        workflow: Mapping[str, Any] | str | os.PathLike[str],
        *,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> Mapping[str, Any]:
        """What can be set in a workflow on this endpoint: the ``description`` of ``docs/reference/job.md``.

        A worker answers at once, whatever it runs, and runs nothing for it; but one must be there, or is started.

        Args:
            workflow: as `submit` takes it.
            on_progress: gets every answer about the job, as with `Job.wait`.
            timeout_seconds: how long the answer is waited for; the job is cancelled then.

        Raises:
            JobFailed: the worker has no such template, or cannot convert what ComfyUI's page saved.
            ProtocolViolation: the worker knows no descriptions.
            DeadlineExceeded: there was no answer in time.
            InvalidJobInput, SubmissionUncertain, AuthenticationFailed, EndpointNotFound, RequestRefused,
            CloudUnavailable: as `submit` does.
        """
        job = self.submit(workflow, describe=True)
        try:
            description = job.wait(on_progress, timeout_seconds).get("description")
        except (DeadlineExceeded, KeyboardInterrupt):
            with suppress(ComfyPodError):  # RunPod ends it sooner or later
                job.cancel()
            raise
        if not isinstance(description, dict):
            raise ProtocolViolation("The worker", "no description: it is older than this client")
        return description

    def _post(self, submission: Submission) -> Job:
        status = post_once(self.endpoint, submission, self._clock)
        return Job(self.endpoint, status, submission.idempotency_key)

    def job(self, job_id: str) -> Job:
        """A job that was submitted before, by its id; nothing is asked yet.

        Raises:
            JobNotFound: this is no job's id.
        """
        if not is_plain_id(job_id):
            raise JobNotFound(job_id)
        return Job(self.endpoint, JobStatus(job_id, JobState.IN_QUEUE))

    def find(self, idempotency_key: str) -> Job | None:
        """The job with this key, of those that the endpoint lists; None if it lists none such.

        Raises:
            RequestRefused: the endpoint does not list its jobs.
            ProtocolViolation: what it answers is no list of jobs.
            AuthenticationFailed, CloudUnavailable: it could not be asked.
        """
        status = self.endpoint.find(idempotency_key)
        return None if status is None else Job(self.endpoint, status, idempotency_key)

    def run_many(
        self,
        items: Iterable[Mapping[str, Any]],
        concurrency: int = 8,
        on_status: OnItemStatus | None = None,
        *,
        on_stop: Literal["cancel", "leave"] = "cancel",
    ) -> Generator[Outcome, None, None]:
        """Run a job for each item, ``concurrency`` at a time, and yield each one's outcome as it ends.

        An item holds arguments of `submit` (every job input is such), or, with ``job_input`` among them, of
        `submit_input`. Items are taken in the caller's thread, a few ahead, so there may be very many; a failed one
        does not end the others. ``on_status(index, status)`` is called from other threads, one call at a time.

        If the caller stops (an exception, ``break``, ``close()``), no further job is submitted, and those that run are
        cancelled, or left to themselves.
        """
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        return ManyJobs(self.endpoint, self._submit_item, on_status, on_stop).outcomes(items, concurrency)

    def _submit_item(self, item: Mapping[str, Any], clock: Clock) -> Job:
        """Submit an item of `run_many`; its pauses are by ``clock``, but not the search for a job that may exist."""
        client = copy(self)
        client.endpoint = self.endpoint.with_clock(clock)
        method = client.submit_input if isinstance(item, Mapping) and "job_input" in item else client.submit
        try:
            arguments = signature(method).bind(**item)
        except TypeError as error:
            raise InvalidJobInput([f"item: does not hold arguments of {method.__name__} ({error})"]) from error
        return method(*arguments.args, **arguments.kwargs)

    def health(self) -> Mapping[str, Any]:
        """``{"jobs": {"inQueue": …}, "workers": {"running": …}}``: counts by state.

        Raises:
            EndpointNotFound, AuthenticationFailed, CloudUnavailable: it could not be asked.
        """
        return self.endpoint.health()

    def purge_queue(self) -> int:
        """Remove all jobs that wait in the queue, anybody's; return how many they were.

        Raises:
            EndpointNotFound, AuthenticationFailed, CloudUnavailable: it could not be asked.
        """
        return self.endpoint.purge_queue()
