"""What a failed attempt means: its class, and what is done about it. Pure.

``docs/explanation/the-master.md`` has the same as a table for operators.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from comfypod.errors import (
    AuthenticationFailed,
    CloudUnavailable,
    ComfyPodError,
    ConfigurationError,
    DeadlineExceeded,
    EndpointNotFound,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobTimedOut,
    ProtocolViolation,
    RequestQuarantined,
    RequestRefused,
    SubmissionUncertain,
)

MOST_FORGIVEN = 5
PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)


class FailureClass(StrEnum):
    """Why an attempt did not bring a result."""

    INVALID = "invalid"  # the request itself: it would fail anywhere
    RESOURCE = "resource"  # more memory or disk than this worker has
    HOST = "host"  # this worker, its ComfyUI, or what it reaches
    LOST = "lost"  # nobody knows the job any more
    TIMEOUT = "timeout"  # it took too long
    PROVIDER = "provider"  # RunPod is busy, away, or refuses us: no job came to be
    POISON = "poison"  # the workflow is quarantined
    UNKNOWN = "unknown"  # a worker's bug, or an answer of no known kind


RETRIES: Mapping[FailureClass, int | None] = {
    FailureClass.INVALID: 0,
    FailureClass.RESOURCE: 1,
    FailureClass.HOST: 3,
    FailureClass.LOST: 6,
    FailureClass.TIMEOUT: 1,
    FailureClass.PROVIDER: None,  # the request waits for the platform, however long; the breaker sets the pace
    FailureClass.POISON: 0,
    FailureClass.UNKNOWN: 1,
}
"""So many further attempts follow a failure of this class."""

ELSEWHERE = frozenset({FailureClass.RESOURCE, FailureClass.HOST, FailureClass.TIMEOUT, FailureClass.UNKNOWN})
"""After these another endpoint is taken if there is one."""

_SUSPICIOUS_CLASSES = frozenset({FailureClass.RESOURCE, FailureClass.TIMEOUT, FailureClass.UNKNOWN})
_SUSPICIOUS_CODES = frozenset({"comfyui_unavailable", "prompt_lost", "gpu_unavailable"})

_BY_CODE: Mapping[str, FailureClass] = {
    "out_of_memory": FailureClass.RESOURCE,
    "disk_failed": FailureClass.RESOURCE,
    "deadline_exceeded": FailureClass.TIMEOUT,
    "prompt_stalled": FailureClass.TIMEOUT,
    "prompt_lost": FailureClass.HOST,
    "prompt_interrupted": FailureClass.HOST,
    "comfyui_unavailable": FailureClass.HOST,
    "gpu_unavailable": FailureClass.HOST,
    "output_vanished": FailureClass.HOST,
    "job_failed": FailureClass.UNKNOWN,
    "protocol_violation": FailureClass.UNKNOWN,
    "internal": FailureClass.UNKNOWN,
}

_BY_KIND: tuple[tuple[type[ComfyPodError], FailureClass], ...] = (
    (JobNotFound, FailureClass.LOST),
    (JobCancelled, FailureClass.LOST),  # by somebody else than us: our queue decides what is cancelled
    (JobTimedOut, FailureClass.TIMEOUT),
    (CloudUnavailable, FailureClass.PROVIDER),
    (AuthenticationFailed, FailureClass.PROVIDER),
    (EndpointNotFound, FailureClass.PROVIDER),
    (SubmissionUncertain, FailureClass.LOST),
    (RequestRefused, FailureClass.INVALID),
    (DeadlineExceeded, FailureClass.TIMEOUT),
    (ConfigurationError, FailureClass.INVALID),  # a result that is in no bucket of ours: the next would be there, too
    (RequestQuarantined, FailureClass.POISON),
    (ProtocolViolation, FailureClass.UNKNOWN),
)

_GIVEN_UP = "RunPod gave the job up, because its worker fell silent"
"""How `comfypod.cloud.failures` begins the sentence of a job whose worker died: no code of a worker comes with it."""


def classify(error: ComfyPodError) -> FailureClass:
    """The class of a failure, as the client or the worker told it."""
    if isinstance(error, JobFailed):
        return _class_of_job(error)
    return next((found for kind, found in _BY_KIND if isinstance(error, kind)), FailureClass.UNKNOWN)


def _class_of_job(error: JobFailed) -> FailureClass:
    """By the worker's code; one that is not known here by whether the worker would try again."""
    if error.error.startswith(_GIVEN_UP):
        return FailureClass.LOST
    code = code_of(error)
    if code in _BY_CODE:
        return _BY_CODE[code]
    return FailureClass.HOST if error.retryable else FailureClass.INVALID


def code_of(error: ComfyPodError) -> str:
    """Its code; of a job that a worker answered the worker's own, known here or not."""
    told = error.output.get("code") if isinstance(error, JobFailed) else None
    return told if isinstance(told, str) else error.code


def is_suspicious(error: ComfyPodError, failure: FailureClass) -> bool:
    """Whether the workflow itself may be what broke the worker: such failures count for its quarantine."""
    if isinstance(error, JobFailed) and error.error.startswith(_GIVEN_UP):
        return True
    return isinstance(error, JobFailed) and (failure in _SUSPICIOUS_CLASSES or code_of(error) in _SUSPICIOUS_CODES)


def describe(error: ComfyPodError, failure: FailureClass) -> dict[str, Any]:
    """An error as the request keeps it."""
    details = error.output.get("details") if isinstance(error, JobFailed) else error.details()
    return {
        "code": code_of(error),
        "message": str(error),
        "class": failure.value,
        "retryable": error.retryable,
        "details": details if isinstance(details, dict) else {},
    }


@dataclass(slots=True)
class Record:
    """The failures of one run, since this master took it up: another one that takes it up begins anew."""

    counts: Counter[FailureClass] = field(default_factory=Counter)
    forgiven: int = 0

    def pause_after(self, failure: FailureClass, *, is_forgiven: bool = False) -> float | None:
        """Note a failure; the seconds until the next attempt, or None if there is to be none.

        One that is forgiven was a worker's fault and does not count, but for MOST_FORGIVEN times at most.
        """
        if is_forgiven and self.forgiven < MOST_FORGIVEN:
            self.forgiven += 1
        else:
            self.counts[failure] += 1
        allowed = RETRIES[failure]
        if allowed is not None and self.counts[failure] > allowed:
            return None
        step = min(max(self.counts[failure] + self.forgiven, 1), len(PAUSES_SECONDS))
        longest = PAUSES_SECONDS[step - 1]
        return random.uniform(longest / 2, longest)  # noqa: S311 (so that not all come back at the same moment)
