"""Progress of a job: what ComfyUI's events mean for the whole of it, and how long it will still take."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from comfypod.comfyui.protocol import Event, NodeProgressed, NodesCached, NodeStarted, PreviewReceived
from comfypod.schema.output import Timings
from comfypod.schema.progress import PreviewImage, Progress, Stage
from comfypod.schema.workflow import Workflow
from comfypod.worker.costs import LearnedCosts
from comfypod.worker.runs import Run

LARGEST_STEP = 10**9
"""Steps beyond it, and numbers that are none, are a node's mistake and pass unheard."""

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


class ProgressTracker:
    """Follows one job: its stage, its nodes, how much of it is done and how long each part took.

    Nodes weigh what they cost on earlier runs, as ``costs`` knows. Call `enter` with each stage, `receive` with every
    event, `begin_again` when the workflow is run once more, and `learn` when the job has succeeded. ``clock`` gives
    seconds.
    """

    def __init__(self, workflow: Workflow, costs: LearnedCosts | None = None, clock: Clock = time.monotonic) -> None:
        self.changed = asyncio.Event()
        self._workflow = workflow
        self._costs = LearnedCosts() if costs is None else costs
        self._clock = clock
        self._stage: Stage = "prepare"
        self._stage_begun = clock()
        self._stage_seconds: defaultdict[Stage, float] = defaultdict(float)
        self._earlier_node_seconds: defaultdict[str, float] = defaultdict(float)
        self._run = Run(self._costs.estimate(workflow), self._stage_begun)
        self._step: tuple[float, float] | None = None
        self._preview: PreviewReceived | None = None
        self._value = 0.0
        self._told: str | None = None

    @property
    def stage(self) -> Stage:
        """Where the job is."""
        return self._stage

    def replace_workflow(self, workflow: Workflow) -> None:
        """The workflow became known only now, or other than it was."""
        self._workflow = workflow
        self._run = Run(self._costs.estimate(workflow), self._stage_begun)

    def tell(self, message: str) -> None:
        """Say what is being done, until the next stage begins or a node starts."""
        self._told = message
        self.changed.set()

    def enter(self, stage: Stage) -> None:
        """The job came to ``stage``."""
        self._told = None
        now = self._clock()
        self._leave_node(now)
        self._stage_seconds[self._stage] += now - self._stage_begun
        self._stage, self._stage_begun = stage, now
        if stage == "execute":
            # Anew, as other jobs may have taught something while this one waited.
            self._run = Run(self._costs.estimate(self._workflow), now)
        elif stage == "deliver":
            self._run.finish()
        self.changed.set()

    def begin_again(self) -> None:
        """The workflow will be run once more: no node is done, and the time so far stays counted."""
        self.enter("queue")
        for node_id, seconds in self._run.node_seconds().items():
            self._earlier_node_seconds[node_id] += seconds
        self._run = Run(self._costs.estimate(self._workflow), self._stage_begun)

    def learn(self) -> None:
        """Keep what the nodes cost, for the next run; to be called once, after `enter` with ``"deliver"``."""
        self._costs.learn(self._workflow, self._run.measured())

    def receive(self, item: Event) -> None:
        """Take in an event of ComfyUI."""
        if self._stage == "deliver":
            return  # the prompt is over
        if self._stage != "execute" and not isinstance(item, PreviewReceived):
            self.enter("execute")  # with whatever comes first, as messages may be lost with a connection
        if isinstance(item, NodesCached):
            self._run.receive_cached(item.node_ids)
        elif isinstance(item, NodeStarted):
            self._start_node(item.node_id)
        elif isinstance(item, NodeProgressed):
            self._receive_step(item)
        elif isinstance(item, PreviewReceived):
            self._preview = item
        self.changed.set()

    def _receive_step(self, item: NodeProgressed) -> None:
        if not (item.value >= 0 and 0 < item.maximum <= LARGEST_STEP):
            return
        value = min(item.value, item.maximum)
        # The nodes that one expands to tell their steps under their own ids (main.py: hijack_progress).
        node_id = item.node_id if item.node_id in self._workflow.nodes else self._run.current
        if node_id is None:
            return
        if not self._run.has_begun(node_id):
            self._start_node(node_id)
        self._run.receive_step(node_id, value / item.maximum, self._clock())
        if node_id == self._run.current:
            self._step = (value, item.maximum)

    def _start_node(self, node_id: str) -> None:
        now = self._clock()
        if node_id == self._run.current:  # a node that it expanded to, or told again after a reconnection
            self._step, self._preview = None, None
            return
        self._leave_node(now)
        self._run.start(node_id, now)

    def _leave_node(self, now: float) -> None:
        self._run.leave(now)
        self._step, self._preview = None, None

    def timings(self) -> Timings:
        """Where the time went, up to now."""
        spent = dict(self._stage_seconds)
        spent[self._stage] = spent.get(self._stage, 0.0) + self._clock() - self._stage_begun
        nodes = dict(self._earlier_node_seconds)
        for node_id, seconds in self._run.node_seconds().items():
            nodes[node_id] = nodes.get(node_id, 0.0) + seconds
        return Timings(
            prepare_ms=round(1000 * spent.get("prepare", 0.0)),
            queue_ms=round(1000 * spent.get("queue", 0.0)),
            execute_ms=round(1000 * spent.get("execute", 0.0)),
            deliver_ms=round(1000 * spent.get("deliver", 0.0)),
            total_ms=round(1000 * sum(spent.values())),
            nodes={node_id: round(1000 * seconds) for node_id, seconds in nodes.items()},
        )

    def snapshot(self, sequence: int) -> Progress:
        """The state now, as an update; ``value`` never falls."""
        begin, end = _SHARES[self._stage]
        fraction = self._run.fraction() if self._stage == "execute" else 0.0
        self._value = max(self._value, begin + (end - begin) * fraction)
        step, steps = self._step or (None, None)
        node_id = self._run.current
        title = self._workflow.title(node_id) if node_id else None
        return Progress(
            sequence=sequence,
            stage=self._stage,
            value=round(self._value, 4),
            nodes_done=self._run.nodes_done,
            nodes_total=len(self._workflow.nodes),
            current_node=node_id,
            current_node_class=self._workflow.class_type(node_id) if node_id else None,
            current_node_title=title,
            step=None if step is None else int(step),
            steps=None if steps is None else int(steps),
            eta_seconds=self._eta_seconds(),
            message=self._message(title),
            preview=self._preview_image(),
        )

    def _eta_seconds(self) -> float | None:
        """What is left of the execution, if anything can be said of it."""
        left = self._run.left_seconds(self._clock()) if self._stage == "execute" else None
        return None if left is None else round(left, 1)

    def _message(self, title: str | None) -> str:
        if title is None:
            return self._told or _MESSAGES[self._stage]
        return f"{title} {self._step[0]:.0f}/{self._step[1]:.0f}" if self._step else title

    def _preview_image(self) -> PreviewImage | None:
        item = self._preview
        if item is None:
            return None
        return PreviewImage(item.node_id, item.content_type, base64.b64encode(item.image).decode("ascii"))
