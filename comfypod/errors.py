"""Every way in which comfypod fails, as one tree.

Each class has a stable ``code`` and says whether the same request may succeed later (``retryable``). The fields hold
the facts; the sentence a person reads is made from them in ``__str__`` and nowhere else::

    ComfyPodError
    ├─ ConfigurationError      configuration         the operator acts
    ├─ InputError
    │  ├─ InvalidJobInput      invalid_job_input     the caller acts
    │  ├─ InvalidWorkflow      invalid_workflow
    │  └─ InputFetchFailed     input_fetch_failed    blocked, too large, not there, not what its name says
    │     └─ InputSourceUnavailable                  retryable: the source did not answer
    ├─ ComfyUIError
    │  ├─ ComfyUIUnavailable   comfyui_unavailable   retryable
    │  │  └─ ComfyUIUnresponsive                     it is alive, and busy or stuck
    │  ├─ PromptRejected       prompt_rejected
    │  ├─ PromptFailed         prompt_failed
    │  │  └─ OutOfMemory       out_of_memory         retryable, on a larger GPU
    │  ├─ PromptStalled        prompt_stalled        retryable
    │  ├─ PromptInterrupted    prompt_interrupted
    │  └─ PromptLost           prompt_lost           retryable
    ├─ DeadlineExceeded        deadline_exceeded
    ├─ DownloadFailed          download_failed       what storage says; callers hear it as one of the next two
    │  └─ DownloadInterrupted                        retryable
    ├─ ModelFetchFailed        model_fetch_failed    the operator acts
    │  └─ ModelSourceUnavailable                     retryable
    ├─ DiskFailed              disk_failed           retryable: the worker's own disk
    ├─ DeliveryError
    │  ├─ NoOutput             no_output
    │  ├─ OutputTooLarge       output_too_large      the operator acts
    │  ├─ OutputVanished       output_vanished       retryable
    │  ├─ UploadFailed         upload_failed         retryable
    │  │  └─ UploadRefused                           not retryable
    │  └─ SavingFailed         saving_failed         the client's disk
    ├─ CloudError
    │  ├─ AuthenticationFailed, EndpointNotFound, RequestRefused, JobNotFound
    │  ├─ CloudUnavailable                           retryable
    │  └─ JobFailed, JobCancelled, JobTimedOut
    └─ ProtocolViolation       protocol_violation    a server said what its protocol does not allow

A class exists only if somebody catches it, or if its code or ``retryable`` differs from its parent's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from comfypod.rejection import error_sentence, node_error_sentences


class ComfyPodError(Exception):
    """Any expected failure. Everything else that is raised is a bug."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def details(self) -> dict[str, Any]:
        """The fields, for ``details`` of a failed job's output."""
        return {}


class _WithFields(ComfyPodError):
    """A failure whose facts are dataclass fields."""

    def details(self) -> dict[str, Any]:
        """The fields by name, but those marked as the worker's own."""
        shown = [item for item in fields(self) if not item.metadata.get("own")]  # type: ignore[arg-type]
        return {item.name: getattr(self, item.name) for item in shown}


@dataclass(eq=False)
class ConfigurationError(_WithFields):
    """The worker or the command was set up wrongly; ``problems`` are sentences."""

    code = "configuration"
    problems: Sequence[str]

    def __str__(self) -> str:
        return " ".join(self.problems)


class InputError(ComfyPodError):
    """What the caller sent cannot be run."""


@dataclass(eq=False)
class InvalidJobInput(_WithFields, InputError):
    """The job's input is not what ``docs/reference/job.md`` describes; ``problems`` are ``path: what to change``."""

    code = "invalid_job_input"
    problems: Sequence[str]

    def __str__(self) -> str:
        return "The job input is not valid: " + "; ".join(self.problems)


@dataclass(eq=False)
class InvalidWorkflow(_WithFields, InputError):
    """The workflow is not an API-format document, or not one that this ComfyUI can run.

    ``problem`` is a sentence; ``problems`` are clauses of their own where there is more than one thing to say.
    """

    code = "invalid_workflow"
    problem: str
    node_id: str | None = None
    problems: Sequence[str] = ()

    def __str__(self) -> str:
        if self.node_id is not None:
            return f"Node {self.node_id}: {self.problem}"
        more = f" (and {len(self.problems) - 3} more)" if len(self.problems) > 3 else ""
        return f"{self.problem}: {'; '.join(self.problems[:3])}{more}" if self.problems else self.problem


@dataclass(eq=False)
class InputFetchFailed(_WithFields, InputError):
    """A file of the job could not be had; ``name`` is the job's word for it, ``cause`` a clause."""

    code = "input_fetch_failed"
    name: str
    cause: str

    def __str__(self) -> str:
        return f"The file {self.name!r} could not be fetched: {self.cause}"


class InputSourceUnavailable(InputFetchFailed):
    """Its source did not answer, or broke off; later it may be there."""

    retryable = True


@dataclass(eq=False)
class DownloadFailed(_WithFields, ComfyPodError):
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
class ModelFetchFailed(_WithFields, ComfyPodError):
    """A model file of ``models.toml`` could not be brought; ``cause`` is a clause."""

    code = "model_fetch_failed"
    model: str
    cause: str

    def __str__(self) -> str:
        return f"The model {self.model!r} could not be fetched: {self.cause}"


class ModelSourceUnavailable(ModelFetchFailed):
    """Its source did not answer, or broke off; later it may be there."""

    retryable = True


class ComfyUIError(ComfyPodError):
    """ComfyUI did not deliver."""


@dataclass(eq=False)
class ComfyUIUnavailable(_WithFields, ComfyUIError):
    """The process exited, never became ready, or stopped answering.

    ``phase`` is where ("start", "submit", "execute" …), ``cause`` a sentence without a full stop, ``exit_code`` the
    process's (negative: the signal), ``log_tail`` its last lines.
    """

    code = "comfyui_unavailable"
    retryable = True
    phase: str
    cause: str
    exit_code: int | None = None
    log_tail: Sequence[str] = ()

    def __str__(self) -> str:
        last = f" Its last line: {self.log_tail[-1]}" if self.log_tail else ""
        return f"ComfyUI is unavailable ({self.phase}): {self.cause}.{last}"


class ComfyUIUnresponsive(ComfyUIUnavailable):
    """It takes connections and does not answer in time: a model that loads may hold it up, or it hangs."""


@dataclass(eq=False)
class PromptRejected(_WithFields, ComfyUIError):
    """ComfyUI refused the workflow (HTTP 400 on ``POST /prompt``, or parts of it with 200 and ``node_errors``).

    ``failed_imports`` are the custom node packs that failed to import when ComfyUI started, and why. ``hints`` are
    sentences about values that are not to be had, by ``NODE.INPUT``: they say more than ComfyUI does.
    """

    code = "prompt_rejected"
    error: Mapping[str, Any]
    node_errors: Mapping[str, Any]
    failed_imports: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict, metadata={"own": True})

    def __str__(self) -> str:
        nodes = self.node_errors.items()
        sentences = [text for node_id, node in nodes for text in node_error_sentences(node_id, node, self.hints)]
        if not sentences:
            sentences = [error_sentence(self.error, self.failed_imports)]
        more = f" (and {len(sentences) - 3} more)" if len(sentences) > 3 else ""
        return "ComfyUI refused the workflow: " + "; ".join(sentences[:3]) + more


@dataclass(eq=False)
class PromptFailed(_WithFields, ComfyUIError):
    """A node raised; ``history`` is ComfyUI's entry, with what other nodes had saved before."""

    code = "prompt_failed"
    node_id: str
    class_type: str
    exception_type: str
    message: str
    history: Mapping[str, Any] = field(default_factory=dict, repr=False, metadata={"own": True})

    def __str__(self) -> str:
        return f"Node {self.node_id} ({self.class_type}) failed: {self.message or self.exception_type}"


class OutOfMemory(PromptFailed):
    """The GPU's memory did not suffice."""

    code = "out_of_memory"
    retryable = True


@dataclass(eq=False)
class PromptStalled(_WithFields, ComfyUIError):
    """The prompt ran, or was to run, and neither its messages nor ComfyUI's log told anything for ``seconds``."""

    code = "prompt_stalled"
    retryable = True
    node_id: str | None
    class_type: str | None
    seconds: float

    def __str__(self) -> str:
        node = f"Node {self.node_id} ({self.class_type})" if self.node_id else "The prompt"
        return (
            f"{node} gave no sign of life for {self.seconds:g} s and was stopped; "
            "if it needs that long, raise STALL_TIMEOUT_SECONDS"
        )


@dataclass(eq=False)
class PromptInterrupted(_WithFields, ComfyUIError):
    """Somebody other than this job's owner interrupted the prompt."""

    code = "prompt_interrupted"
    node_id: str | None = None

    def __str__(self) -> str:
        return "The prompt was interrupted" + (f" in node {self.node_id}" if self.node_id else "")


@dataclass(eq=False)
class PromptLost(_WithFields, ComfyUIError):
    """The prompt is neither queued nor in the history: ComfyUI restarted, or its queue was cleared."""

    code = "prompt_lost"
    retryable = True
    prompt_id: str

    def __str__(self) -> str:
        return f"ComfyUI no longer knows prompt {self.prompt_id}; send the job again"


@dataclass(eq=False)
class DeadlineExceeded(_WithFields):
    """The deadline passed; ``phase`` says where, ``seconds`` how long was allowed in all."""

    code = "deadline_exceeded"
    phase: str
    seconds: float

    def __str__(self) -> str:
        return f"The {self.seconds:g} s allowed were over ({self.phase}); allow more time, or ask for less work"


@dataclass(eq=False)
class DiskFailed(_WithFields, ComfyPodError):
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
class NoOutput(_WithFields, DeliveryError):
    """The workflow ended and left no file and no text that was asked for."""

    code = "no_output"
    temporary_files: int = 0

    def __str__(self) -> str:
        hint = " (or ask for its previews with outputs.temporary)" if self.temporary_files else ""
        return f"The workflow saved nothing: add a node that saves its result, such as SaveImage{hint}"


@dataclass(eq=False)
class OutputTooLarge(_WithFields, DeliveryError):
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
class OutputVanished(_WithFields, DeliveryError):
    """ComfyUI named a file that is not there: a cached node names the files of an earlier run, for example."""

    code = "output_vanished"
    retryable = True
    node_id: str
    filename: str

    def __str__(self) -> str:
        return f"Node {self.node_id} names the file {self.filename!r}, which is not there (any more)"


@dataclass(eq=False)
class UploadFailed(_WithFields, DeliveryError):
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
class SavingFailed(_WithFields, DeliveryError):
    """A result could not be written where the client stands; ``cause`` is the system's reason."""

    code = "saving_failed"
    path: str
    cause: str

    def __str__(self) -> str:
        return f"{self.path} cannot be written: {self.cause}; free space, or choose another folder"


class CloudError(ComfyPodError):
    """RunPod, seen from outside, did not deliver."""

    code = "cloud_error"


@dataclass(eq=False)
class AuthenticationFailed(_WithFields, CloudError):
    """The API key was refused (HTTP 401)."""

    code = "authentication_failed"
    url: str

    def __str__(self) -> str:
        return f"{self.url} refused the API key; set RUNPOD_API_KEY to a key that may use this endpoint"


@dataclass(eq=False)
class EndpointNotFound(_WithFields, CloudError):
    """There is no such endpoint (HTTP 404 on /run)."""

    code = "endpoint_not_found"
    url: str

    def __str__(self) -> str:
        return f"There is no endpoint at {self.url}; check the endpoint id"


@dataclass(eq=False)
class RequestRefused(_WithFields, CloudError):
    """The platform refused the request itself (HTTP 4xx): too large, or not what it expects."""

    code = "request_refused"
    url: str
    status: int
    answer: str

    def __str__(self) -> str:
        return f"{self.url} refused the request with HTTP {self.status}: {self.answer or 'no reason was given'}"


@dataclass(eq=False)
class JobNotFound(_WithFields, CloudError):
    """The job is unknown, or its result expired (HTTP 404 on /status)."""

    code = "job_not_found"
    job_id: str

    def __str__(self) -> str:
        return f"Job {self.job_id} is unknown; results are kept for 30 minutes only"


@dataclass(eq=False)
class CloudUnavailable(_WithFields, CloudError):
    """The platform did not answer, or answered 429 or 5xx for as long as the deadline allowed."""

    code = "cloud_unavailable"
    retryable = True
    url: str
    cause: str

    def __str__(self) -> str:
        return f"{self.url} is unavailable: {self.cause}"


@dataclass(eq=False)
class JobFailed(_WithFields, CloudError):
    """The job ended FAILED; ``output`` is what the worker said besides."""

    code = "job_failed"
    job_id: str
    error: str
    output: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.error


@dataclass(eq=False)
class JobCancelled(_WithFields, CloudError):
    """The job was cancelled."""

    code = "job_cancelled"
    job_id: str

    def __str__(self) -> str:
        return f"Job {self.job_id} was cancelled"


@dataclass(eq=False)
class JobTimedOut(_WithFields, CloudError):
    """The platform gave the job up (TIMED_OUT)."""

    code = "job_timed_out"
    job_id: str

    def __str__(self) -> str:
        return f"RunPod gave job {self.job_id} up after its execution timeout or time to live"


@dataclass(eq=False)
class ProtocolViolation(_WithFields):
    """A server answered what its protocol does not allow; ``received`` is the beginning of it."""

    code = "protocol_violation"
    source: str
    received: str

    def __str__(self) -> str:
        return f"{self.source} answered something unexpected: {self.received}"
