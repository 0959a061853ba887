"""ComfyUI's protocol without I/O: messages and snapshots in, events and one verdict out.

Facts are from ComfyUI 0.3.64 and 0.8.0 (``server.py``, ``execution.py``, ``protocol.py``) as observed on the wire.

The websocket is a hint and the source of progress; the truth about a prompt's end is the queue and the history, asked
in that order: a prompt leaves the queue and enters the history in one step (``execution.py``, ``task_done``).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from comfypod.errors import OutOfMemory, PromptFailed, PromptInterrupted, PromptLost
from comfypod.schema.output import TextOutput
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
class OutputFile:
    """A file that a node left: ``type`` is the folder, "output" or "temp"; ``index`` counts a node's files from 0."""

    node_id: str
    index: int
    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True, slots=True)
class PromptResult:
    """What a prompt that succeeded left, in the workflow's node order."""

    files: Sequence[OutputFile]
    texts: Sequence[TextOutput]


class _Binary(IntEnum):
    """Binary events (``protocol.py: BinaryEventTypes``)."""

    PREVIEW_IMAGE = 1
    PREVIEW_IMAGE_WITH_METADATA = 4


class PromptSession:
    """One prompt's life as ComfyUI tells it.

    Feed every websocket message to `receive_message` and hand its events on. When `end_announced` is true, after a
    reconnection and on silence, ask ``/queue``, then ``/history/{id}``, and feed both to `receive_snapshot`: it returns
    the result, raises what ended the prompt, or returns None while the prompt is queued or running.
    """

    def __init__(self, prompt_id: str, workflow: Workflow) -> None:
        self.prompt_id = prompt_id
        self.workflow = workflow
        self.end_announced = False
        self._current_node: str | None = None

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
        except ValueError:
            return ()
        data = message.get("data") if isinstance(message, dict) else None
        if not isinstance(data, dict):
            return ()
        return self._receive_text(str(message.get("type")), data)

    def _receive_text(self, kind: str, data: dict[str, Any]) -> Sequence[Event]:
        # The one message without prompt_id that is about us: on reconnection, the running node of this client's prompt.
        if data.get("prompt_id", self.prompt_id if kind == "executing" else None) != self.prompt_id:
            return ()
        if kind == "execution_start":
            return (PromptStarted(),)
        if kind == "execution_cached":
            return (NodesCached(tuple(map(str, _list(data.get("nodes"))))),)
        if kind == "executing":
            return self._receive_executing(data)
        if kind == "progress":
            return self._receive_progress(data)
        return ()

    def _receive_executing(self, data: dict[str, Any]) -> Sequence[Event]:
        node = data.get("display_node") or data.get("node")
        if node is None:
            # The last message of a prompt, sent after its history exists (main.py: prompt_worker).
            self.end_announced = "prompt_id" in data
            return ()
        self._current_node = str(node)
        return (NodeStarted(self._current_node),)

    def _receive_progress(self, data: dict[str, Any]) -> Sequence[Event]:
        value, maximum = data.get("value"), data.get("max")
        node = data.get("node") or self._current_node
        if node is None or not isinstance(value, int | float) or not isinstance(maximum, int | float):
            return ()
        return (NodeProgressed(str(node), value, maximum),)

    def _receive_binary(self, raw: bytes) -> Sequence[Event]:
        """Frames: 4 bytes event, then 4 bytes image type (1 JPEG, 2 PNG) or length of a JSON header, then the image."""
        if len(raw) < 8:
            return ()
        event, number = struct.unpack_from(">II", raw)
        if event == _Binary.PREVIEW_IMAGE:
            return (PreviewReceived(self._current_node, "image/png" if number == 2 else "image/jpeg", raw[8:]),)
        if event != _Binary.PREVIEW_IMAGE_WITH_METADATA:
            return ()
        try:
            metadata = json.loads(raw[8 : 8 + number])
        except ValueError:
            return ()
        if not isinstance(metadata, dict) or metadata.get("prompt_id") != self.prompt_id:
            return ()
        node = metadata.get("display_node_id") or metadata.get("node_id")
        content_type = str(metadata.get("image_type", "image/jpeg"))
        return (PreviewReceived(None if node is None else str(node), content_type, raw[8 + number :]),)

    def receive_snapshot(self, queued_ids: Collection[str], history: Mapping[str, Any]) -> PromptResult | None:
        """The verdict, or None while the prompt is queued or running.

        Args:
            queued_ids: ids in ``GET /queue``, running and pending; asked first.
            history: the answer of ``GET /history/{id}``, asked afterwards.

        Raises:
            PromptFailed, OutOfMemory: a node raised.
            PromptInterrupted: somebody interrupted it.
            PromptLost: neither queue nor history knows it.
        """
        entry = history.get(self.prompt_id)
        if not isinstance(entry, dict):
            if self.prompt_id in queued_ids:
                return None
            raise PromptLost(self.prompt_id)
        status = _object(entry.get("status"))
        if status.get("status_str") == "success":
            return self._result(entry)
        raise self._failure(_list(status.get("messages")))

    def _failure(self, messages: Sequence[Any]) -> PromptFailed | PromptInterrupted:
        """The error in a history entry: its last message says which."""
        pairs = [message for message in messages if isinstance(message, list) and len(message) == 2]
        ends = {str(kind): _object(data) for kind, data in pairs}
        if "execution_interrupted" in ends:
            return PromptInterrupted(_text_or_none(ends["execution_interrupted"].get("node_id")))
        data = ends.get("execution_error", {})
        exception_type = str(data.get("exception_type", "unknown"))
        error = OutOfMemory if exception_type.rpartition(".")[2] == "OutOfMemoryError" else PromptFailed
        return error(
            node_id=str(data.get("node_id", "?")),
            class_type=str(data.get("node_type", "?")),
            exception_type=exception_type,
            message=str(data.get("exception_message", "")).strip()[:LONGEST_MESSAGE],
        )

    def _result(self, entry: Mapping[str, Any]) -> PromptResult:
        """Collect every list element that names a file, and keep the rest as data, whatever the key is."""
        outputs, meta = _object(entry.get("outputs")), _object(entry.get("meta"))
        position = {node_id: index for index, node_id in enumerate(self.workflow.nodes)}
        visible = [(_visible_id(node_id, meta), shown) for node_id, shown in outputs.items() if isinstance(shown, dict)]
        visible.sort(key=lambda item: position.get(item[0], len(position)))
        files: list[OutputFile] = []
        texts: list[TextOutput] = []
        for node_id, shown in visible:
            for key, value in _shown_values(shown):
                if isinstance(value, dict) and "filename" in value and "type" in value:
                    index = sum(file.node_id == node_id for file in files)
                    files.append(_output_file(node_id, index, value))
                elif key != "animated":  # a flag beside the files of SaveAnimatedWEBP, SaveVideo …
                    texts.append(TextOutput(node_id, key, value))
        return PromptResult(files, texts)


def _visible_id(node_id: str, meta: Mapping[str, Any]) -> str:
    """The id a person sees: nodes expanded at run time have ids such as ``1.0.0.3``, and their display node in meta."""
    entry = meta.get(node_id)
    display = entry.get("display_node") if isinstance(entry, dict) else None
    return str(display or node_id)


def _shown_values(shown: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, values in shown.items():
        for value in _list(values):
            yield key, value


def _output_file(node_id: str, index: int, value: Mapping[str, Any]) -> OutputFile:
    return OutputFile(node_id, index, str(value["filename"]), str(value.get("subfolder") or ""), str(value["type"]))


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:  # noqa: ANN401 (foreign JSON)
    return value if isinstance(value, list) else []


def _text_or_none(value: Any) -> str | None:  # noqa: ANN401
    return None if value is None else str(value)
