"""The gateway does not do what a program asked of it. The codes are those of the Comfy API v2, where it has one."""

from __future__ import annotations

from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields


class GatewayError(ComfyPodError):
    """The gateway does not do what a program asked of it."""


class Unauthorized(GatewayError):
    """There is no key, or it is nobody's."""

    code = "unauthorized"

    def __str__(self) -> str:
        return "Send a key of this gateway: Authorization: Bearer cp_… (comfypod master keys add makes one)"


@dataclass(eq=False)
class MalformedCall(ErrorWithFields, GatewayError):
    """The request is not as this interface wants it; ``problem`` is a sentence."""

    code = "invalid_request"
    problem: str

    def __str__(self) -> str:
        return self.problem


class InvalidMetadata(MalformedCall):
    """The labels of a job are too many, too long, or no labels."""

    code = "metadata_invalid"


class InvalidMetadataFilter(MalformedCall):
    """What a list of jobs shall be filtered by is no label."""

    code = "invalid_metadata_filter"


class InvalidCursor(MalformedCall):
    """The place to go on from in a list is none that this gateway named."""

    code = "invalid_cursor"


class NothingFound(MalformedCall):
    """There is no such job, asset or address; or it is somebody else's, which nobody is told."""

    code = "not_found"


class WorkflowFormatUI(GatewayError):
    """The workflow is as ComfyUI's page saves it."""

    code = "workflow_format_ui"

    def __str__(self) -> str:
        return (
            "This is the UI format, which this interface does not take; "
            "in ComfyUI choose Workflow > Export (API) and send that file"
        )


@dataclass(eq=False)
class MissingAsset(ErrorWithFields, GatewayError):
    """The workflow loads an asset that is not there; ``node_id`` is the node that names it."""

    code = "missing_asset"
    asset_id: str
    node_id: str

    def __str__(self) -> str:
        return f"Node {self.node_id} loads the asset {self.asset_id[:100]!r}, which is not there; upload the file first"


@dataclass(eq=False)
class KeyUsed(ErrorWithFields, GatewayError):
    """The Idempotency-Key was used before; ``job_id`` is the job that it made."""

    code = "idempotency_key_reuse"
    job_id: str

    def __str__(self) -> str:
        return f"This Idempotency-Key made the job {self.job_id} already; ask for that job, or draw another key"


@dataclass(eq=False)
class DeploymentNotReady(ErrorWithFields, GatewayError):
    """No master is there to run what is asked for."""

    code = "deployment_not_ready"
    retryable = True
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"No master is running; try again in {self.retry_after_seconds:.0f} s, or start one: comfypod master run"


@dataclass(eq=False)
class TooManyStreams(ErrorWithFields, GatewayError):
    """A tenant follows more jobs at once than it may."""

    code = "too_many_streams"
    retryable = True
    most: int
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"At most {self.most} event streams may be open at once; close one, or ask for the job now and then"


@dataclass(eq=False)
class PayloadTooLarge(ErrorWithFields, GatewayError):
    """A body is larger than it may be; ``what`` is a noun."""

    code = "payload_too_large"
    what: str
    limit_bytes: int

    def __str__(self) -> str:
        return f"{self.what} may have at most {self.limit_bytes:,} bytes"


@dataclass(eq=False)
class HashMismatch(ErrorWithFields, GatewayError):
    """What was received is not what the client says it sent."""

    code = "hash_mismatch"
    expected: str
    received: str

    def __str__(self) -> str:
        return f"The file that arrived has the hash {self.received}, not {self.expected[:100]}; send it again"


@dataclass(eq=False)
class BlobNotFound(ErrorWithFields, GatewayError):
    """No file with this hash was uploaded by this tenant."""

    code = "blob_not_found"
    hash: str

    def __str__(self) -> str:
        return f"There is no file of yours with the hash {self.hash[:100]!r}; upload it"


@dataclass(eq=False)
class AssetInUse(ErrorWithFields, GatewayError):
    """A job that has not ended loads the asset."""

    code = "asset_in_use"
    asset_id: str

    def __str__(self) -> str:
        return f"A job that has not ended loads the asset {self.asset_id}; delete it when the job has ended"


@dataclass(eq=False)
class OutputUnavailable(ErrorWithFields, GatewayError):
    """The job told of a file that has no place in the bucket."""

    code = "output_unavailable"
    asset_id: str

    def __str__(self) -> str:
        return f"The bytes of {self.asset_id} are not to be had any more; run the job again"


@dataclass(eq=False)
class RangeNotSatisfiable(ErrorWithFields, GatewayError):
    """A part of a file is asked for that it does not have."""

    code = "range_not_satisfiable"
    size_bytes: int

    def __str__(self) -> str:
        return f"The file has {self.size_bytes:,} bytes, and none in this range"


@dataclass(eq=False)
class WebhookRefused(ErrorWithFields, GatewayError):
    """The address of a webhook is none that may be posted to."""

    code = "webhook_refused"
    address: str
    cause: str

    def __str__(self) -> str:
        return f"No webhook is sent to {self.address}: {self.cause}"
