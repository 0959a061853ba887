"""Runs one prompt at a time, in a worker thread, and tells its client about it in ComfyUI's words and order.

The order of messages is that of ComfyUI 0.8.0, as recorded; the tests replay the recordings. Results of nodes are kept
from one prompt to the next if their inputs did not change, and only those of the last prompt ("classic" cache).
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from comfypod.emulator.engine.files import Folders
from comfypod.emulator.engine.graph import ExecutionOrder, Workflow, as_link, cache_keys, declared_inputs
from comfypod.emulator.engine.progress import ProgressState, SentImage, encode_picture, encode_preview
from comfypod.emulator.engine.queue import HistoryEntry, QueuedPrompt
from comfypod.emulator.engine.striking import ExecutionFaults
from comfypod.emulator.engine.validation import exception_name
from comfypod.emulator.faults import FaultPlan
from comfypod.emulator.nodes.base import Catalog, InterruptedByUserError, NodeClass, NodeResult

logger = logging.getLogger(__name__)

PREVIEW_METHODS = ("none", "auto", "latent2rgb", "taesd")

# What ComfyUI adds to the message of this one type (execution.py of 0.8.0).
OUT_OF_MEMORY_TYPE = "torch.OutOfMemoryError"
OUT_OF_MEMORY_TIPS = (
    "This error means you ran out of memory on your GPU.\n\n"
    "TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number."
)


class Publisher(Protocol):
    """Where messages go. ``client_id`` None means every connection; see `comfypod.emulator.engine.sockets`."""

    def publish(self, event: str, data: Mapping[str, Any], client_id: object) -> None:
        """Send a JSON message; may be called from any thread."""

    def publish_binary(self, frame: bytes, client_id: object) -> None:
        """Send a binary frame; may be called from any thread."""

    def takes_preview_metadata(self, client_id: object) -> bool:
        """Whether this client announced ``supports_preview_metadata``."""


class Executor:
    """What outlives a prompt: the cache, the interrupt flag, and which node runs for whom."""

    def __init__(
        self,
        node_classes: Mapping[str, NodeClass],
        catalog: Catalog,
        folders: Folders,
        publisher: Publisher,
        *,
        preview_method: str = "none",
        faults: ExecutionFaults | None = None,
    ) -> None:
        self.node_classes = node_classes
        self.catalog = catalog
        self.folders = folders
        self.publisher = publisher
        self.preview_method = preview_method
        self.faults = faults or ExecutionFaults(FaultPlan(), in_server=lambda action: action())
        self.cache: dict[str, NodeResult] = {}
        self.current: tuple[object, str] | None = None
        self._interrupted = threading.Event()
        self._cache_unwanted = threading.Event()

    def interrupt(self) -> None:
        """Stop the running prompt at its next check; without effect when none runs."""
        self._interrupted.set()

    def forget_interrupt(self) -> None:
        """Start anew: an interrupt that came while nothing ran leaves no trace."""
        self._interrupted.clear()

    def check_interrupted(self) -> None:
        """Raise `InterruptedByUserError` once per interrupt."""
        if self._interrupted.is_set():
            self._interrupted.clear()
            raise InterruptedByUserError

    def drop_cache(self) -> None:
        """Let the next prompt run all its nodes."""
        self._cache_unwanted.set()

    def current_node(self, client_id: str) -> str | None:
        """Return the node that runs for this client, if one does."""
        current = self.current
        return current[1] if current is not None and current[0] == client_id else None

    def run(self, prompt: QueuedPrompt) -> HistoryEntry:
        """Run a prompt to its end and return its history entry; a failing node is part of the entry."""
        if self._cache_unwanted.is_set():
            self._cache_unwanted.clear()
            self.cache.clear()
        entry = _PromptRun(self, prompt).run()
        # Not in a finally: as in ComfyUI, a node that ended this thread stays the one that runs.
        self.current = None
        return entry


@dataclass(slots=True)
class _Context:
    """The `NodeContext` of one node."""

    run: _PromptRun
    node_id: str
    reports: int = 0

    @property
    def input_folder(self) -> Path:
        return self.run.executor.folders.input

    @property
    def output_folder(self) -> Path:
        return self.run.executor.folders.output

    @property
    def temporary_folder(self) -> Path:
        return self.run.executor.folders.temp

    @property
    def prompt(self) -> Workflow:
        return self.run.prompt.workflow

    @property
    def extra_pnginfo(self) -> Mapping[str, Any] | None:
        information = self.run.prompt.extra_data.get("extra_pnginfo")
        return information if isinstance(information, dict) else None

    @property
    def previews_wanted(self) -> bool:
        return self.run.previews_wanted

    def check_interrupted(self) -> None:
        self.run.executor.check_interrupted()

    def report_progress(self, value: int, maximum: int, preview: Image.Image | None = None) -> None:
        self._report(value, maximum, encode_preview(preview) if preview is not None and self.previews_wanted else None)

    def send_picture(self, value: int, maximum: int, picture: Image.Image) -> None:
        self._report(value, maximum, encode_picture(picture))

    def _report(self, value: int, maximum: int, image: SentImage | None) -> None:
        # As in ComfyUI the check comes first: the message of the step in which the interrupt came is not sent.
        self.check_interrupted()
        self.run.report_progress(self.node_id, value, maximum, image)
        self.reports += 1
        self.run.strike(self.node_id, self.reports)


class _PromptRun:
    """One run of one prompt."""

    def __init__(self, executor: Executor, prompt: QueuedPrompt) -> None:
        self.executor = executor
        self.prompt = prompt
        self.client_id = prompt.extra_data.get("client_id")
        self.previews_wanted = self._preview_method() != "none"
        self._keys = cache_keys(prompt.workflow, self._fingerprint)
        self._progress = ProgressState(prompt.prompt_id)
        self._messages: list[tuple[str, dict[str, Any]]] = []
        self._outputs: dict[str, Any] = {}
        self._executed: list[str] = []
        self._results: dict[str, NodeResult] = {}

    def run(self) -> HistoryEntry:
        """Run the nodes in order; return the history entry."""
        self._record("execution_start", {})
        self._keep_only_own_results()
        cached = [node_id for node_id in self.prompt.workflow if self._cached(node_id) is not None]
        self._record("execution_cached", {"nodes": cached})
        order = ExecutionOrder(
            self.prompt.workflow, self.executor.node_classes, lambda node_id: self._cached(node_id) is not None
        )
        for output in self.prompt.outputs:
            order.add(output)
        success = True
        while success and (node_id := order.pick()) is not None:
            success = self._settle(node_id)
            order.complete(node_id)
        if success:
            self._record("execution_success", {})
        return self._history_entry(success=success)

    def _settle(self, node_id: str) -> bool:
        """Take a node's result from the cache or run it; False if that ended the prompt."""
        result = self._cached(node_id)
        if result is None:
            return self._execute(node_id)
        # 0.8.0 loses the output of a cached node in the history as well if nobody is listening.
        if self.client_id is not None:
            self._send_executed(node_id, result.ui)
            if result.ui is not None:
                self._outputs[node_id] = result.ui
        self._finish(node_id)
        return True

    def _execute(self, node_id: str) -> bool:
        """Run a node, with all messages about it; False if it failed or was interrupted."""
        self._progress.start(node_id)
        self._send_progress_state()
        if self.client_id is not None:
            self.executor.current = (self.client_id, node_id)
            self._send("executing", {"node": node_id, "display_node": node_id})
        inputs: dict[str, Any] = {}
        try:
            inputs.update(self._inputs(node_id))
            self.executor.check_interrupted()
            self.strike(node_id, None)
            result = self._shown(node_id, self._class_of(node_id).run(_Context(self, node_id), **inputs))
        except InterruptedByUserError:
            self._record("execution_interrupted", self._place(node_id), broadcast=True)
            return False
        # The boundary to node code, which may raise anything; it becomes the prompt's execution_error. SystemExit and
        # the like end the worker thread, as they do in ComfyUI.
        except Exception as error:  # noqa: BLE001
            self._record("execution_error", self._failure(node_id, inputs, error))
            return False
        self._keep(node_id, result)
        if result.ui:
            self._send_executed(node_id, result.ui)
            self._outputs[node_id] = result.ui
        self._executed.append(node_id)
        self._finish(node_id)
        return True

    def strike(self, node_id: str, step: int | None) -> None:
        """Have a planned fault happen as a node starts (step None) or has reported progress for the step-th time."""
        self.executor.faults.at_node(node_id, self._class_name(node_id), step, self.executor.check_interrupted)

    def _shown(self, node_id: str, result: NodeResult) -> NodeResult:
        """Return a result with its ui as it will be sent. What is not JSON stays, and ends ComfyUI when it is sent."""
        if not result.ui:
            return NodeResult(result.outputs)
        ui = self.executor.faults.at_output(node_id, self._class_name(node_id), result.ui)
        try:
            return NodeResult(result.outputs, json.loads(json.dumps(ui)))
        except (TypeError, ValueError, RecursionError):
            return NodeResult(result.outputs, ui)

    def report_progress(self, node_id: str, value: int, maximum: int, image: SentImage | None) -> None:
        """Send what belongs to one step; the image goes before ``progress`` if it carries metadata, else after."""
        self._progress.advance(node_id, value, maximum)
        self._send_progress_state()
        progress = {"value": value, "max": maximum, "prompt_id": self.prompt.prompt_id, "node": node_id}
        publisher = self.executor.publisher
        with_metadata = publisher.takes_preview_metadata(self.client_id)
        if image is not None and with_metadata:
            publisher.publish_binary(image.frame_with_metadata(self._progress.identity(node_id)), self.client_id)
        publisher.publish("progress", progress, self.client_id)
        if image is not None and not with_metadata:
            publisher.publish_binary(image.frame(), self.client_id)

    def _preview_method(self) -> str:
        wanted = self.prompt.extra_data.get("preview_method")
        return wanted if wanted in PREVIEW_METHODS else self.executor.preview_method

    def _class_name(self, node_id: str) -> str:
        return str(self.prompt.workflow[node_id]["class_type"])

    def _class_of(self, node_id: str) -> NodeClass:
        return self.executor.node_classes[self._class_name(node_id)]

    def _cached(self, node_id: str) -> NodeResult | None:
        key = self._keys.get(node_id)
        return None if key is None else self.executor.cache.get(key)

    def _keep_only_own_results(self) -> None:
        wanted = set(self._keys.values())
        for key in [key for key in self.executor.cache if key not in wanted]:
            del self.executor.cache[key]

    def _fingerprint(self, node_id: str) -> str | None:
        """Return what a node's result depends on besides its inputs; never the same twice if that cannot be told."""
        node_class = self._class_of(node_id)
        if node_class.fingerprint is None:
            return None
        inputs = self.prompt.workflow[node_id]["inputs"]
        literals = {
            name: inputs[name]
            for name, _, _ in declared_inputs(node_class)
            if name in inputs and as_link(inputs[name]) is None
        }
        try:
            return node_class.fingerprint(self.executor.catalog, **literals)
        # The boundary to node code. ComfyUI warns and runs the node, which will then tell what is wrong.
        except Exception:
            logger.warning("The fingerprint of node %s failed; it will run", node_id, exc_info=True)
            return f"unknown {next(_unique)}"

    def _inputs(self, node_id: str) -> dict[str, Any]:
        """Return the arguments of a node: literals, and outputs of the nodes that ran before."""
        given = self.prompt.workflow[node_id]["inputs"]
        arguments = {}
        for name, _, _ in declared_inputs(self._class_of(node_id)):
            if name not in given:
                continue
            link = as_link(given[name])
            arguments[name] = given[name] if link is None else self._output(link.source, link.slot)
        return arguments

    def _output(self, node_id: str, slot: int) -> object:
        result = self._results.get(node_id) or self._cached(node_id)
        if result is None:
            raise RuntimeError(f"Node {node_id} has no result, although it should have run.")
        return result.outputs[slot]

    def _keep(self, node_id: str, result: NodeResult) -> None:
        self._results[node_id] = result
        key = self._keys.get(node_id)
        if key is not None:
            self.executor.cache[key] = result

    def _finish(self, node_id: str) -> None:
        self._progress.finish(node_id)
        self._send_progress_state()

    def _place(self, node_id: str) -> dict[str, Any]:
        return {"node_id": node_id, "node_type": self._class_name(node_id), "executed": list(self._executed)}

    def _failure(self, node_id: str, inputs: Mapping[str, Any], error: Exception) -> dict[str, Any]:
        exception_type = exception_name(error)
        tips = OUT_OF_MEMORY_TIPS if exception_type == OUT_OF_MEMORY_TYPE else ""
        return {
            **self._place(node_id),
            "exception_message": f"{error}\n{tips}",
            "exception_type": exception_type,
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {name: [_printable(value)] for name, value in inputs.items()},
            "current_outputs": list(self._keys),
        }

    def _record(self, event: str, data: Mapping[str, Any], *, broadcast: bool = False) -> None:
        """Send a message that the history keeps as well. Without a client only a broadcast one is sent."""
        stamped = {"prompt_id": self.prompt.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self._messages.append((event, stamped))
        if self.client_id is not None or broadcast:
            self.executor.publisher.publish(event, stamped, self.client_id)

    def _send(self, event: str, data: Mapping[str, Any]) -> None:
        self.executor.publisher.publish(event, {**data, "prompt_id": self.prompt.prompt_id}, self.client_id)

    def _send_executed(self, node_id: str, ui: object) -> None:
        if self.client_id is not None:
            self._send("executed", {"node": node_id, "display_node": node_id, "output": ui})

    def _send_progress_state(self) -> None:
        self.executor.publisher.publish("progress_state", self._progress.message(), self.client_id)

    def _history_entry(self, *, success: bool) -> HistoryEntry:
        status = {"status_str": "success" if success else "error", "completed": success}
        return {
            "prompt": self.prompt.to_json(),
            "outputs": self._outputs,
            "status": {**status, "messages": [list(message) for message in self._messages]},
            "meta": {node_id: _meta(node_id) for node_id in self._outputs},
        }


_unique = itertools.count()


def _meta(node_id: str) -> dict[str, Any]:
    return {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}


def _printable(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
