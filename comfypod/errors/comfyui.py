"""ComfyUI did not deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfypod.errors.base import ComfyPodError, ErrorWithFields
from comfypod.errors.rejection import error_sentence, node_error_sentences


class ComfyUIError(ComfyPodError):
    """ComfyUI did not deliver."""


@dataclass(eq=False)
class GPUUnavailable(ErrorWithFields, ComfyUIError):
    """This machine has no GPU that ComfyUI could use; ``cause`` is a sentence without a full stop."""

    code = "gpu_unavailable"
    retryable = True
    cause: str

    def __str__(self) -> str:
        return f"There is no usable GPU here: {self.cause}."


@dataclass(eq=False)
class ComfyUIUnavailable(ErrorWithFields, ComfyUIError):
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
class PromptRejected(ErrorWithFields, ComfyUIError):
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
class PromptFailed(ErrorWithFields, ComfyUIError):
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
class PromptStalled(ErrorWithFields, ComfyUIError):
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
class PromptInterrupted(ErrorWithFields, ComfyUIError):
    """Somebody other than this job's owner interrupted the prompt."""

    code = "prompt_interrupted"
    node_id: str | None = None

    def __str__(self) -> str:
        return "The prompt was interrupted" + (f" in node {self.node_id}" if self.node_id else "")


@dataclass(eq=False)
class PromptLost(ErrorWithFields, ComfyUIError):
    """The prompt is neither queued nor in the history: ComfyUI restarted, or its queue was cleared."""

    code = "prompt_lost"
    retryable = True
    prompt_id: str

    def __str__(self) -> str:
        return f"ComfyUI no longer knows prompt {self.prompt_id}; send the job again"
