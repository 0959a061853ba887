"""What the store of requests, and the master that works on it, cannot do."""

from __future__ import annotations

from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields


class MasterError(ComfyPodError):
    """What the store of requests, and the master that works on it, cannot do."""


@dataclass(eq=False)
class InvalidRequest(ErrorWithFields, MasterError):
    """A request cannot be kept as it is: too large, or not text that a database takes; ``problem`` is a sentence."""

    code = "invalid_request"
    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class RequestNotFound(ErrorWithFields, MasterError):
    """There is no such request: it was pruned, or never made."""

    code = "request_not_found"
    key: str

    def __str__(self) -> str:
        return f"There is no request {self.key[:60]!r}; it may have been removed after its time"


@dataclass(eq=False)
class IdempotencyKeyReused(ErrorWithFields, MasterError):
    """The same idempotency key came with other content; ``key`` is the request that it stands for."""

    code = "idempotency_key_reused"
    idempotency_key: str
    key: str

    def __str__(self) -> str:
        return (
            f"The idempotency key {self.idempotency_key!r} stands for request {self.key}, which asks for something "
            "else; use a new key for a new request"
        )


@dataclass(eq=False)
class QuotaExceeded(ErrorWithFields, MasterError):
    """A tenant or a user has as much as is allowed; ``what`` says of what, as in "3 requests at once"."""

    code = "quota_exceeded"
    retryable = True
    what: str
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"No more than {self.what} are allowed; try again in {self.retry_after_seconds:.0f} s"


@dataclass(eq=False)
class QueueFull(ErrorWithFields, MasterError):
    """As many requests wait, of everybody together, as may wait."""

    code = "queue_full"
    retryable = True
    limit: int
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"{self.limit} requests are waiting, and no more can; try again in {self.retry_after_seconds:.0f} s"


@dataclass(eq=False)
class RequestQuarantined(ErrorWithFields, MasterError):
    """The workflow failed on so many workers that it is not run any more; ``reason`` is a sentence."""

    code = "request_quarantined"
    workflow_hash: str
    reason: str

    def __str__(self) -> str:
        return f"This workflow is not run any more: {self.reason.rstrip('.')}. The operator lifts it with `replay`"


@dataclass(eq=False)
class NotReplayable(ErrorWithFields, MasterError):
    """Only what failed or was cancelled can be run again."""

    code = "not_replayable"
    key: str
    state: str

    def __str__(self) -> str:
        return f"Request {self.key} is {self.state}; only what failed or was cancelled can be replayed"


@dataclass(eq=False)
class AccessKeyNotFound(ErrorWithFields, MasterError):
    """No API key has this identifier."""

    code = "access_key_not_found"
    identifier: str

    def __str__(self) -> str:
        return f"There is no API key {self.identifier[:60]!r}; `comfypod master keys list` shows them"


@dataclass(eq=False)
class DeadLetterNotFound(ErrorWithFields, MasterError):
    """There is no such message among those that were given up."""

    code = "dead_letter_not_found"
    identifier: str

    def __str__(self) -> str:
        return f"There is no dead letter {self.identifier[:80]!r}; `comfypod master dead list` shows them"


@dataclass(eq=False)
class StoreUnavailable(ErrorWithFields, MasterError):
    """The database does not answer, or cannot write; what was under way has left nothing. ``cause`` is a clause."""

    code = "store_unavailable"
    retryable = True
    cause: str

    def __str__(self) -> str:
        return f"The database of requests cannot be used: {self.cause}"


@dataclass(eq=False)
class StoreOutdated(ErrorWithFields, MasterError):
    """The tables are of another version than this program's; ``found`` is 0 where there are none.

    ``made_by`` is the command that makes or changes them.
    """

    code = "store_outdated"
    found: int
    expected: int
    made_by: str = "comfypod master migrate --database URL"

    def __str__(self) -> str:
        if self.found > self.expected:
            return (
                f"The database is of version {self.found}, newer than this program ({self.expected}); update comfypod"
            )
        found = f"of version {self.found}" if self.found else "without comfypod's tables"
        return f"The database is {found}, and {self.expected} is needed; run `{self.made_by}`"
