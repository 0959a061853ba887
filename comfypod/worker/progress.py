"""Progress of a job: what ComfyUI's events mean for the whole of it, and its way to the platform."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp

from comfypod.comfyui.protocol import Event, NodeProgressed, NodesCached, NodeStarted, PreviewReceived, PromptStarted
from comfypod.logs import event
from comfypod.schema.output import Timings
from comfypod.schema.progress import PreviewImage, Progress, Stage
from comfypod.schema.workflow import Workflow

SEND_TIMEOUT_SECONDS = 5.0
"""An update that takes longer is given up: a newer one is worth more."""

_SHARES: Mapping[Stage, tuple[float, float]] = {
    "prepare": (0.0, 0.02),
    "queue": (0.02, 0.02),
    "execute": (0.02, 0.95),
    "deliver": (0.95, 1.0),
}
"""Which part of the whole job a stage is."""

_MESSAGES: Mapping[Stage, str] = {
    "prepare": "Preparing inputs",
    "queue": "Waiting for ComfyUI",
    "execute": "Running",
    "deliver": "Fetching the results",
}
"""What a stage is called where no node has more to say."""

Clock = Callable[[], float]
SendProgress = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[None]]
"""``send(job, value)``: tell the platform; returns when it has been told."""


class ProgressTracker:
    """Follows one job: its stage, its nodes, how much of it is done and how long each part took.

    A node weighs 1, and as much more as the steps it is to sample. ``clock`` gives seconds.
    """

    def __init__(self, workflow: Workflow, clock: Clock = time.monotonic) -> None:
        self.changed = asyncio.Event()
        self._workflow = workflow
        self._clock = clock
        self._stage: Stage = "prepare"
        self._stage_begun: dict[Stage, float] = {"prepare": clock()}
        self._weights = {node_id: _weight(node["inputs"]) for node_id, node in workflow.nodes.items()}
        self._done: set[str] = set()
        self._cached: set[str] = set()
        self._node: str | None = None
        self._node_begun = 0.0
        self._node_seconds: dict[str, float] = {}
        self._step: tuple[float, float] | None = None
        self._preview: PreviewReceived | None = None
        self._value = 0.0

    def enter(self, stage: Stage) -> None:
        """The job came to ``stage``."""
        self._leave_node()
        self._stage = stage
        self._stage_begun[stage] = self._clock()
        self.changed.set()

    def receive(self, item: Event) -> None:
        """Take in an event of ComfyUI."""
        if isinstance(item, PromptStarted):
            self.enter("execute")
        elif isinstance(item, NodesCached):
            self._cached.update(item.node_ids)
            self._done.update(item.node_ids)
        elif isinstance(item, NodeStarted):
            self._leave_node()
            self._node, self._node_begun = item.node_id, self._clock()
        elif isinstance(item, NodeProgressed):
            self._step = (item.value, item.maximum)
        else:
            self._preview = item
        self.changed.set()

    def _leave_node(self) -> None:
        if self._node is not None:
            spent = self._clock() - self._node_begun
            self._node_seconds[self._node] = self._node_seconds.get(self._node, 0.0) + spent
            self._done.add(self._node)
        self._node, self._step, self._preview = None, None, None

    def timings(self) -> Timings:
        """Where the time went, up to now."""
        now = self._clock()
        begun = sorted(self._stage_begun.items(), key=lambda item: item[1])
        ends = [moment for _, moment in begun[1:]] + [now]
        spent = {stage: round(1000 * (end - moment)) for (stage, moment), end in zip(begun, ends, strict=True)}
        return Timings(
            prepare_ms=spent.get("prepare", 0),
            queue_ms=spent.get("queue", 0),
            execute_ms=spent.get("execute", 0),
            deliver_ms=spent.get("deliver", 0),
            total_ms=round(1000 * (now - begun[0][1])),
            nodes={node_id: round(1000 * seconds) for node_id, seconds in self._node_seconds.items()},
        )

    def snapshot(self, sequence: int) -> Progress:
        """The state now, as an update; ``value`` never falls."""
        begin, end = _SHARES[self._stage]
        fraction = self._fraction() if self._stage == "execute" else 0.0
        self._value = max(self._value, begin + (end - begin) * fraction)
        step, steps = self._step or (None, None)
        title = self._workflow.title(self._node) if self._node else None
        return Progress(
            sequence=sequence,
            stage=self._stage,
            value=round(self._value, 4),
            nodes_done=len(self._done),
            nodes_total=len(self._done | self._workflow.nodes.keys()),
            current_node=self._node,
            current_node_class=self._workflow.class_type(self._node) if self._node else None,
            current_node_title=title,
            step=None if step is None else int(step),
            steps=None if steps is None else int(steps),
            eta_seconds=self._eta_seconds(),
            message=self._message(title),
            preview=self._preview_image(),
        )

    def _fraction(self, without: Collection[str] = ()) -> float:
        """Weighed share of the nodes that are done, the current one by its steps; 0..1."""
        weights = {node_id: weight for node_id, weight in self._weights.items() if node_id not in without}
        finished = sum(weight for node_id, weight in weights.items() if node_id in self._done)
        if self._node in weights and self._step and self._step[1] > 0:
            finished += weights[self._node] * min(1.0, self._step[0] / self._step[1])
        return min(1.0, finished / (sum(weights.values()) or 1))

    def _eta_seconds(self) -> float | None:
        """What is left of the execution, at the pace so far; cached nodes took no time and say nothing of it."""
        if self._stage != "execute":
            return None
        fraction = self._fraction(without=self._cached)
        if fraction < 0.05:
            return None
        spent = self._clock() - self._stage_begun["execute"]
        return round(spent * (1 - fraction) / fraction, 1)

    def _message(self, title: str | None) -> str:
        if title is None:
            return _MESSAGES[self._stage]
        return f"{title} {self._step[0]:.0f}/{self._step[1]:.0f}" if self._step else title

    def _preview_image(self) -> PreviewImage | None:
        item = self._preview
        if item is None:
            return None
        return PreviewImage(item.node_id, item.content_type, base64.b64encode(item.image).decode("ascii"))


def _weight(inputs: Mapping[str, Any]) -> float:
    steps = inputs.get("steps")
    return 1.0 + (steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else 0)


class ProgressReporter:
    """Sends the newest state of a tracker to the platform, in order, at most once per ``interval_seconds``.

    As an async context manager: when the body has ended, no update is under way, so none can arrive after the result.
    Without ``send`` (no platform to tell) it is silent.
    """

    def __init__(
        self, tracker: ProgressTracker, job: Mapping[str, Any], send: SendProgress | None, interval_seconds: float
    ) -> None:
        self._tracker = tracker
        self._job = job
        self._send = send
        self._interval_seconds = interval_seconds
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._send is not None:
            self._task = asyncio.create_task(self._report(self._send))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is None:
            return
        self._closing.set()
        if kind is None or issubclass(kind, Exception):
            await self._task  # bounded by SEND_TIMEOUT_SECONDS
        else:  # cancelled: nobody waits for an update any more
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _report(self, send: SendProgress) -> None:
        sequence = 0
        while not self._closing.is_set():
            sequence += 1
            self._tracker.changed.clear()
            await self._send_one(send, self._tracker.snapshot(sequence).to_json())
            await _wait(self._closing, self._interval_seconds)
            await _first(self._tracker.changed, self._closing)

    async def _send_one(self, send: SendProgress, value: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await send(self._job, value)
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            # The job goes on without: the next update says more than this one did.
            event("progress_not_sent", logging.WARNING, cause=repr(error))


async def _wait(signal: asyncio.Event, seconds: float) -> None:
    """Return when the signal is set, or after ``seconds``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await signal.wait()


async def _first(*signals: asyncio.Event) -> None:
    """Return when one of the signals is set."""
    waits = [asyncio.create_task(signal.wait()) for signal in signals]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
