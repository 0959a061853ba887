"""ComfyUI's protocol without I/O: messages and snapshots in, events and one verdict out.

Facts are from ComfyUI 0.3.64 and 0.8.0 (``server.py``, ``execution.py``, ``protocol.py``) as observed on the wire.

The websocket is a hint and the source of progress; the truth about a prompt's end is the queue and the history, asked
in that order: a prompt leaves the queue and enters the history in one step (``execution.py``, ``task_done``). An entry
in the history is the truth without the queue.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeGuard

from comfypod.comfyui.diagnosis import is_out_of_memory
from comfypod.comfyui.outputs import PromptResult, collect_outputs
from comfypod.errors import OutOfMemory, PromptFailed, PromptInterrupted, PromptLost, PromptRejected, ProtocolViolation
from comfypod.schema.wire import as_list, as_object
from comfypod.schema.workflow import Workflow

LONGEST_MESSAGE = 2000
"""Characters kept of a node's exception message (300 kB ones have been seen)."""

FEATURE_FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
"""The first frame a client sends; as a later one it is ignored (``server.py: websocket_handler``)."""


@dataclass(frozen=True, slots=True)
class PromptStarted:
    """ComfyUI took the prompt from its queue."""


@dataclass(frozen=True, slots=True)
class NodesCached:
    """These nodes will not run: their results are known from the prompt before."""

    node_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node runs; ``node_id`` is the one a person sees, also for nodes expanded at run time."""

    node_id: str


@dataclass(frozen=True, slots=True)
class NodeProgressed:
    """A node came to step ``value`` of ``maximum``."""

    node_id: str
    value: float
    maximum: float


@dataclass(frozen=True, slots=True)
class PreviewReceived:
    """A picture of a running node's state; ``image`` is an encoded file."""

    node_id: str | None
    content_type: str
    image: bytes


Event = PromptStarted | NodesCached | NodeStarted | NodeProgressed | PreviewReceived
EventSink = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """Ids of the prompts that run and that wait, at one moment."""

    running: frozenset[str]
    pending: frozenset[str]

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> QueueSnapshot:
        """Read the answer of ``GET /queue``.

        Raises:
            ProtocolViolation: it has another shape.
        """
        try:  # [number, prompt_id, prompt, extra_data, output ids]
            running, pending = (
                frozenset(str(item[1]) for item in answer[key]) for key in ("queue_running", "queue_pending")
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ProtocolViolation("ComfyUI (GET /queue)", str(answer)[:200]) from error
        return cls(running, pending)

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self.running or prompt_id in self.pending


class _Binary(IntEnum):
    """Binary events (``protocol.py: BinaryEventTypes``)."""

    PREVIEW_IMAGE = 1
    PREVIEW_IMAGE_WITH_METADATA = 4


def preview_metadata(raw: bytes) -> str | None:
    """The JSON text at the head of a binary frame; None for a frame of another kind."""
    event, length = struct.unpack_from(">II", raw) if len(raw) >= 8 else (0, 0)
    return raw[8 : 8 + length].decode(errors="replace") if event == _Binary.PREVIEW_IMAGE_WITH_METADATA else None


class PromptSession:
    """One prompt's life as ComfyUI tells it.

    Feed the answer to ``POST /prompt`` to `receive_answer`. Feed every websocket message to `receive_message` and hand
    its events on. After a reconnection and on silence ask ``/queue``, then ``/history/{id}``, and feed both to
    `receive_snapshot`: it returns the result, raises what ended the prompt, or returns None while the prompt is queued
    or running. When `end_announced` is true, ask ``/history/{id}`` and feed it to `receive_history`: None says that
    both must be asked. `started` says that it has left the queue.
    """

    def __init__(self, prompt_id: str, workflow: Workflow, *, allow_partial: bool = False) -> None:
        self.prompt_id = prompt_id
        self.workflow = workflow
        self._allow_partial = allow_partial
        self._node_errors: Mapping[str, Any] = {}
        self.started = False
        self.end_announced = False
        self.current_node: str | None = None

    def receive_message(self, raw: str | bytes) -> Sequence[Event]:
        """The events in a websocket message: none for messages of others, unknown ones, and garbage. Never raises."""
        if isinstance(raw, bytes):
            return self._receive_binary(raw)
        # Every progress_state repeats the state of all nodes (12 MB in a 250-node prompt) and says nothing that
        # executing and progress do not.
        if raw.startswith('{"type": "progress_state"'):
            return ()
        try:
            message = json.loads(raw)
        except (ValueError, RecursionError):
            return ()
        data = message.get("data") if isinstance(message, dict) else None
        if not isinstance(data, dict):
            return ()
        return self._receive_text(str(message.get("type")), data)

    def concerns(self, raw: str | bytes) -> bool:
        """Whether a message is a sign of life of this prompt; ``status`` and other people's messages are none."""
        return self.started if isinstance(raw, bytes) else self.prompt_id in raw

    def _receive_text(self, kind: str, data: dict[str, Any]) -> Sequence[Event]:
        # The one message without prompt_id that may be about us: on reconnection, the node that runs for this client.
        is_greeting = kind == "executing" and "prompt_id" not in data and self.started
        if not is_greeting and data.get("prompt_id") != self.prompt_id:
            return ()
        self.started = True
        if kind == "execution_start":
            return (PromptStarted(),)
        if kind == "execution_cached":
            return (NodesCached(tuple(map(str, as_list(data.get("nodes"))))),)
        if kind == "executing":
            return self._receive_executing(data)
        if kind == "progress":
            return self._receive_progress(data)
        return ()

    def _receive_executing(self, data: dict[str, Any]) -> Sequence[Event]:
        node = data.get("display_node") or data.get("node")
        if node is None:
            # The last message of a prompt, sent after its history exists (main.py: prompt_worker).
            self.end_announced |= "prompt_id" in data
            return ()
        self.current_node = str(node)
        return (NodeStarted(self.current_node),)

    def _receive_progress(self, data: dict[str, Any]) -> Sequence[Event]:
        value, maximum = data.get("value"), data.get("max")
        node = data.get("node") or self.current_node
        if node is None or not _is_number(value) or not _is_number(maximum):
            return ()
        return (NodeProgressed(str(node), value, maximum),)

    def _receive_binary(self, raw: bytes) -> Sequence[Event]:
        """Frames: 4 bytes event, then 4 bytes image type (1 JPEG, 2 PNG) or length of a JSON header, then the image."""
        if len(raw) < 8:
            return ()
        event, number = struct.unpack_from(">II", raw)
        if event == _Binary.PREVIEW_IMAGE and self.started:
            return (PreviewReceived(self.current_node, "image/png" if number == 2 else "image/jpeg", raw[8:]),)
        try:
            metadata = json.loads(preview_metadata(raw) or "null")
        except (ValueError, RecursionError):
            return ()
        if not isinstance(metadata, dict) or metadata.get("prompt_id") != self.prompt_id:
            return ()
        node = metadata.get("display_node_id") or metadata.get("node_id")
        content_type = str(metadata.get("image_type", "image/jpeg"))
        return (PreviewReceived(None if node is None else str(node), content_type, raw[8 + number :]),)

    def receive_answer(self, status: int, body: str) -> None:
        """Take in the answer to ``POST /prompt``: HTTP status and body.

        Raises:
            PromptRejected: ComfyUI refused the workflow; or some of its outputs (it runs the others), unless that is
                allowed.
            ProtocolViolation: it answered neither yes nor no.
        """
        if status >= 500:
            # What its validation did not expect, for example a node that is null: its answer says nothing more.
            error = {"message": "ComfyUI's validation failed on it", "details": f"HTTP {status}"}
            raise PromptRejected(error, {})
        if status == 413:
            raise PromptRejected({"message": "it is too large", "details": body[:LONGEST_MESSAGE]}, {})
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ProtocolViolation("ComfyUI (POST /prompt)", f"HTTP {status} {body[:200]}")
        if status != 200:
            raise PromptRejected(as_object(answer.get("error")), as_object(answer.get("node_errors")))
        self._node_errors = as_object(answer.get("node_errors"))
        if self._node_errors and not self._allow_partial:
            raise PromptRejected({"message": "some outputs failed validation"}, self._node_errors)

    def receive_snapshot(self, queue: QueueSnapshot, history: Mapping[str, Any]) -> PromptResult | None:
        """The verdict, or None while the prompt is queued or running.

        Args:
            queue: from the answer of ``GET /queue``; asked first.
            history: the answer of ``GET /history/{id}``, asked afterwards.

        Raises:
            PromptFailed, OutOfMemory: a node raised.
            PromptInterrupted: somebody interrupted it.
            PromptLost: neither queue nor history knows it.
        """
        self.started |= self.prompt_id in queue.running
        result = self.receive_history(history)
        if result is None and self.prompt_id not in queue:
            raise PromptLost(self.prompt_id)
        return result

    def receive_history(self, history: Mapping[str, Any]) -> PromptResult | None:
        """The verdict; None if the answer of ``GET /history/{id}`` has no entry, or none yet.

        Raises:
            PromptFailed, OutOfMemory: a node raised.
            PromptInterrupted: somebody interrupted it.
        """
        entry = history.get(self.prompt_id)
        if not isinstance(entry, dict):
            return None
        status = as_object(entry.get("status"))
        if status.get("status_str") == "success":
            return collect_outputs(entry, self.workflow, self._node_errors)
        raise self._failure(as_list(status.get("messages")), entry)

    def _failure(self, messages: Sequence[Any], entry: Mapping[str, Any]) -> PromptFailed | PromptInterrupted:
        """The error in a history entry: its last message says which."""
        pairs = [message for message in messages if isinstance(message, list) and len(message) == 2]
        ends = {str(kind): as_object(data) for kind, data in pairs}
        if "execution_interrupted" in ends:
            return PromptInterrupted(_text_or_none(ends["execution_interrupted"].get("node_id")))
        data = ends.get("execution_error", {})
        exception_type = str(data.get("exception_type", "unknown"))
        message = str(data.get("exception_message", "")).strip()
        error = OutOfMemory if is_out_of_memory(exception_type, message) else PromptFailed
        return error(
            node_id=str(data.get("node_id", "?")),
            class_type=str(data.get("node_type", "?")),
            exception_type=exception_type,
            message=message[:LONGEST_MESSAGE],
            history=entry,
        )


def _is_number(value: Any) -> TypeGuard[float]:  # noqa: ANN401
    return isinstance(value, int | float) and math.isfinite(value)


def _text_or_none(value: Any) -> str | None:  # noqa: ANN401
    return None if value is None else str(value)
