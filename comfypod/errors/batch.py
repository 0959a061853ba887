"""What a batch, its pods, and those who rent them out, cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields
from comfypod.errors.inputs import InputError


class BatchError(ComfyPodError):
    """What a batch, its pods, and those who rent them out, cannot do."""


@dataclass(eq=False)
class InvalidManifest(ErrorWithFields, InputError):
    """A manifest cannot be read as one; ``problems`` are sentences, each with its row, the first of them at least."""

    code = "invalid_manifest"
    problems: Sequence[str]

    def __str__(self) -> str:
        return " ".join(self.problems)


@dataclass(eq=False)
class PlanImpossible(ErrorWithFields, InputError):
    """No plan keeps to what was asked for; ``reasons`` are sentences that say what would have to change."""

    code = "plan_impossible"
    reasons: Sequence[str]

    def __str__(self) -> str:
        return " ".join(self.reasons)


@dataclass(eq=False)
class BatchNotFound(ErrorWithFields, BatchError):
    """There is no such batch in this store."""

    code = "batch_not_found"
    batch: str

    def __str__(self) -> str:
        return f"There is no batch {self.batch[:60]!r} in this database"


@dataclass(eq=False)
class PodNotFound(ErrorWithFields, BatchError):
    """There is no pod of this name in the batch."""

    code = "pod_not_found"
    pod: str

    def __str__(self) -> str:
        return f"There is no pod {self.pod[:120]!r} in this batch"


@dataclass(eq=False)
class PodEnded(ErrorWithFields, BatchError):
    """The coordinator has done with this pod; ``reason`` is a clause."""

    code = "pod_ended"
    pod: str
    reason: str

    def __str__(self) -> str:
        return f"The pod {self.pod[:120]} has ended: {self.reason}"


@dataclass(eq=False)
class BatchInUse(ErrorWithFields, BatchError):
    """Another process runs this batch; ``owner`` is its machine and number."""

    code = "batch_in_use"
    batch: str
    owner: str

    def __str__(self) -> str:
        return f"The batch {self.batch[:60]} is run by another process ({self.owner}); stop it first"


@dataclass(eq=False)
class NoCapacity(ErrorWithFields, BatchError):
    """Nothing of this type can be rented now."""

    code = "no_capacity"
    retryable = True
    provider: str
    gpu: str
    problem: str

    def __str__(self) -> str:
        return f"{self.provider} has no {self.gpu} now: {self.problem}"


@dataclass(eq=False)
class ProviderUnavailable(ErrorWithFields, BatchError):
    """A provider did not answer, or not sensibly; ``problem`` is a clause."""

    code = "provider_unavailable"
    retryable = True
    provider: str
    problem: str

    def __str__(self) -> str:
        return f"{self.provider} is not available: {self.problem}"


@dataclass(eq=False)
class ProviderRefused(ErrorWithFields, BatchError):
    """A provider will not do this, however often it is asked; ``problem`` is a clause."""

    code = "provider_refused"
    provider: str
    problem: str

    def __str__(self) -> str:
        return f"{self.provider} refused: {self.problem}"


@dataclass(eq=False)
class PodUnfit(ErrorWithFields, BatchError):
    """This machine will not do: no usable GPU, too little disk, a slow link; ``problem`` is a clause."""

    code = "pod_unfit"
    problem: str

    def __str__(self) -> str:
        return f"This pod is not fit for the batch: {self.problem}"


@dataclass(eq=False)
class CoordinatorUnavailable(ErrorWithFields, BatchError):
    """The coordinator of the batch did not answer, or not sensibly; ``problem`` is a clause."""

    code = "coordinator_unavailable"
    retryable = True
    problem: str

    def __str__(self) -> str:
        return f"The coordinator of the batch is not available: {self.problem}"


class CoordinatorRefused(CoordinatorUnavailable):
    """It will not have this pod: a wrong token, an unknown name, an ended batch."""

    code = "coordinator_refused"
    retryable = False

    def __str__(self) -> str:
        return f"The coordinator of the batch refused: {self.problem}"
