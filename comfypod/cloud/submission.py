"""``POST /run``, so that no job is ever created twice.

The call is not idempotent, and RunPod offers nothing to make it so. It is repeated only where it is certain that
nothing was created. Where it is not, the job is looked for by the key in its input; it is never simply sent again.
"""

from __future__ import annotations

from comfypod.cloud.clock import Clock
from comfypod.cloud.endpoint import Endpoint, OutcomeUnknown
from comfypod.cloud.inputs import Submission
from comfypod.cloud.jobs import JobStatus
from comfypod.errors import ComfyPodError, SubmissionUncertain

LOOKS_AFTER_SECONDS = (0.0, 1.0, 2.0, 4.0)
"""A job that was just created may be listed a moment later. RunPod allows 10 looks in 10 s."""
SEARCH_PATIENCE_SECONDS = 10.0


def post_once(endpoint: Endpoint, submission: Submission, search_clock: Clock) -> JobStatus:
    """Send the job and return its status; by ``search_clock`` it is looked for, if it must be.

    Raises:
        SubmissionUncertain: the job was sent, and whether it exists cannot be told.
        AuthenticationFailed, EndpointNotFound, RequestRefused, CloudUnavailable: there is no such job.
    """
    try:
        return endpoint.run(submission.body)
    except OutcomeUnknown as error:
        searching = endpoint.with_clock(search_clock).with_patience(SEARCH_PATIENCE_SECONDS)
        return _search(searching, submission.idempotency_key, error)


def _search(endpoint: Endpoint, idempotency_key: str, cause: OutcomeUnknown) -> JobStatus:
    """The job that was sent, once it is listed.

    That it is not listed for some seconds proves nothing: the list is not documented, and may lag or be cut.
    """
    for seconds in LOOKS_AFTER_SECONDS:
        if seconds:
            endpoint.clock.sleep(seconds)
        try:
            found = endpoint.find(idempotency_key)
        except ComfyPodError as error:
            raise SubmissionUncertain(idempotency_key, str(cause), f"it could not be looked for ({error})") from error
        if found is not None:
            return found
    raise SubmissionUncertain(idempotency_key, str(cause), "it is not among the jobs that are listed") from cause
