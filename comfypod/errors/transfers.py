"""Files that did not get where they should: downloads, model files, disks, results."""

from __future__ import annotations

from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields


@dataclass(eq=False)
class DownloadFailed(ErrorWithFields, ComfyPodError):
    """An address was refused, or did not yield what it should; ``address`` has neither credentials nor query."""

    code = "download_failed"
    address: str
    cause: str

    def __str__(self) -> str:
        return f"{self.address}: {self.cause}"


class DownloadInterrupted(DownloadFailed):
    """The source did not answer, answered 429 or 5xx, or broke off, for as long as was allowed."""

    retryable = True


@dataclass(eq=False)
class ModelFetchFailed(ErrorWithFields, ComfyPodError):
    """A model file of ``models.toml`` could not be brought; ``cause`` is a clause."""

    code = "model_fetch_failed"
    model: str
    cause: str

    def __str__(self) -> str:
        return f"The model {self.model!r} could not be fetched: {self.cause}"


class ModelSourceUnavailable(ModelFetchFailed):
    """Its source did not answer, or broke off; later it may be there."""

    retryable = True


@dataclass(eq=False)
class DiskFailed(ErrorWithFields, ComfyPodError):
    """The worker's own disk is full, or does not take a file; ``what`` is a noun, ``cause`` the system's reason."""

    code = "disk_failed"
    retryable = True
    what: str
    cause: str

    def __str__(self) -> str:
        return f"The worker's disk did not take {self.what}: {self.cause}"


class DeliveryError(ComfyPodError):
    """What the workflow made could not be handed over."""


@dataclass(eq=False)
class NoOutput(ErrorWithFields, DeliveryError):
    """The workflow ended and left no file and no text that was asked for."""

    code = "no_output"
    temporary_files: int = 0

    def __str__(self) -> str:
        hint = " (or ask for its previews with outputs.temporary)" if self.temporary_files else ""
        return f"The workflow saved nothing: add a node that saves its result, such as SaveImage{hint}"


@dataclass(eq=False)
class OutputTooLarge(ErrorWithFields, DeliveryError):
    """The answer would exceed what the platform accepts; sizes in bytes."""

    code = "output_too_large"
    size_bytes: int
    limit_bytes: int
    setting: str = "INLINE_LIMIT_BYTES"

    def __str__(self) -> str:
        return (
            f"The result is {self.size_bytes:,} bytes, more than the {self.limit_bytes:,} that can be returned inline "
            f"({self.setting}); set up a bucket (BUCKET_ENDPOINT_URL, BUCKET_NAME, BUCKET_ACCESS_KEY_ID, "
            "BUCKET_SECRET_ACCESS_KEY), or make it smaller, for example with outputs.format"
        )


@dataclass(eq=False)
class OutputVanished(ErrorWithFields, DeliveryError):
    """ComfyUI named a file that is not there: a cached node names the files of an earlier run, for example."""

    code = "output_vanished"
    retryable = True
    node_id: str
    filename: str

    def __str__(self) -> str:
        return f"Node {self.node_id} names the file {self.filename!r}, which is not there (any more)"


@dataclass(eq=False)
class UploadFailed(ErrorWithFields, DeliveryError):
    """An output file could not be stored in the bucket; ``target`` is ``bucket/key``, ``cause`` a clause."""

    code = "upload_failed"
    retryable = True
    target: str
    cause: str

    def __str__(self) -> str:
        return f"{self.target} could not be uploaded: {self.cause}"


class UploadRefused(UploadFailed):
    """The store, or the rules of this worker, do not allow it: another try ends the same."""

    retryable = False


@dataclass(eq=False)
class CommitsUnavailable(ErrorWithFields, DeliveryError):
    """What is known of a job that is run once could not be read or written; ``record`` is ``bucket/key``.

    A result that was being committed may be there: look for it before the job is run again, as workers do.
    """

    code = "commits_unavailable"
    retryable = True
    record: str
    cause: str

    def __str__(self) -> str:
        return f"{self.record}, which says whether the job is done or under way, cannot be used: {self.cause}"


class CommitsRefused(CommitsUnavailable):
    """The store does not allow it, or has no conditional writes: the operator acts."""

    retryable = False


@dataclass(eq=False)
class SavingFailed(ErrorWithFields, DeliveryError):
    """A result could not be written where the client stands; ``cause`` is the system's reason."""

    code = "saving_failed"
    path: str
    cause: str
    remedy: str = "free space, or choose another folder"

    def __str__(self) -> str:
        return f"{self.path} cannot be written: {self.cause}; {self.remedy}"
