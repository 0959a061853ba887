"""The queue of prompts and the history of those that ran, shared by the HTTP handlers and the worker thread."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from comfypod.emulator.engine.graph import Workflow

# ComfyUI's MAXIMUM_HISTORY_SIZE (execution.py).
MAXIMUM_HISTORY_ENTRIES = 10_000

HistoryEntry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QueuedPrompt:
    """A prompt that passed validation. The smallest ``number`` runs first."""

    number: float
    prompt_id: str
    workflow: Workflow
    extra_data: dict[str, Any]
    outputs: tuple[str, ...]

    def to_json(self) -> list[Any]:
        """Return the five elements that ``/queue`` and ``/history`` show."""
        return [self.number, self.prompt_id, self.workflow, self.extra_data, list(self.outputs)]


class History:
    """What ``/history`` answers: newest last, in memory only."""

    def __init__(self) -> None:
        self._entries: dict[str, HistoryEntry] = {}
        self._lock = threading.Lock()

    def add(self, prompt_id: str, entry: HistoryEntry) -> None:
        """Write an entry; an earlier one of the same id is replaced where it stands."""
        with self._lock:
            if prompt_id not in self._entries and len(self._entries) >= MAXIMUM_HISTORY_ENTRIES:
                del self._entries[next(iter(self._entries))]
            self._entries[prompt_id] = entry

    def get(self, prompt_id: str) -> dict[str, HistoryEntry]:
        """Return ``{prompt_id: entry}``, or an empty object if the id is unknown."""
        with self._lock:
            return {prompt_id: self._entries[prompt_id]} if prompt_id in self._entries else {}

    def page(self, max_items: int | None = None, offset: int = -1) -> dict[str, HistoryEntry]:
        """Return the last ``max_items`` entries, or those from ``offset`` on if that is not negative.

        The corners are ComfyUI's: an offset yields at least one entry, ``max_items=0`` without an offset yields none.
        """
        with self._lock:
            entries = list(self._entries.items())
        if offset < 0:
            start = 0 if max_items is None else max(0, len(entries) - max_items)
            return dict(entries[start:])
        stop = None if max_items is None else offset + max(1, max_items)
        return dict(entries[offset:stop])

    def delete(self, prompt_id: str) -> None:
        """Forget one entry, if it is there."""
        with self._lock:
            self._entries.pop(prompt_id, None)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            self._entries.clear()


class PromptQueue:
    """Pending prompts in the order of their numbers, and the one that runs.

    ``on_change`` is called under the queue's lock after every change, which is what keeps the ``status`` messages in
    step with the queue; it must not block.
    """

    def __init__(self, history: History, on_change: Callable[[], None]) -> None:
        self._history = history
        self._on_change = on_change
        self._lock = threading.RLock()
        self._not_empty = threading.Condition(self._lock)
        self._pending: list[tuple[tuple[float, str, int], QueuedPrompt]] = []
        self._running: QueuedPrompt | None = None
        self._sequence = itertools.count()
        self._closed = False

    def put(self, prompt: QueuedPrompt) -> None:
        """Queue a prompt."""
        with self._lock:
            # ComfyUI orders equal numbers by id. The sequence keeps equal ids from being compared any further, which
            # is where ComfyUI's own queue breaks.
            key = (prompt.number, prompt.prompt_id, next(self._sequence))
            heapq.heappush(self._pending, (key, prompt))
            self._on_change()
            self._not_empty.notify()

    def take(self, on_take: Callable[[], None]) -> QueuedPrompt | None:
        """Wait for the next prompt and mark it as running; None once the queue is closed.

        ``on_take`` runs under the lock, before anybody can see the prompt as running.
        """
        with self._not_empty:
            self._not_empty.wait_for(lambda: self._pending or self._closed)
            if self._closed:
                return None
            self._running = heapq.heappop(self._pending)[1]
            on_take()
            self._on_change()
            return self._running

    def finish(self, prompt: QueuedPrompt, entry: HistoryEntry | None) -> None:
        """Write the history of a prompt that ran, if it is not lost, then tell that nothing runs, in this order."""
        with self._lock:
            if entry is not None:
                self._history.add(prompt.prompt_id, entry)
            self._running = None
            self._on_change()

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._lock:
            self._closed = True
            self._not_empty.notify_all()

    def if_running(self, prompt_id: str, action: Callable[[], None]) -> None:
        """Call ``action`` if the prompt is the one that runs; it cannot end in between."""
        with self._lock:
            if self._running is not None and self._running.prompt_id == prompt_id:
                action()

    def delete(self, prompt_ids: Iterable[Any]) -> None:
        """Remove pending prompts. Their owners are told nothing but ``status``."""
        for prompt_id in prompt_ids:
            with self._lock:
                index = next((i for i, (_, item) in enumerate(self._pending) if item.prompt_id == prompt_id), None)
                if index is None:
                    continue
                del self._pending[index]
                heapq.heapify(self._pending)
                self._on_change()

    def clear(self) -> None:
        """Remove all pending prompts."""
        with self._lock:
            self._pending.clear()
            self._on_change()

    def remaining(self) -> int:
        """Return how many prompts are pending or running."""
        with self._lock:
            return len(self._pending) + (self._running is not None)

    def snapshot(self) -> tuple[list[QueuedPrompt], list[QueuedPrompt]]:
        """Return the running and the pending prompts; the pending ones in heap order, as ComfyUI shows them."""
        with self._lock:
            running = [] if self._running is None else [self._running]
            return running, [prompt for _, prompt in self._pending]
