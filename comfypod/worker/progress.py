"""Progress of a job: what ComfyUI's events mean for the whole of it, and how long it will still take."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.comfyui.protocol import Event, NodeProgressed, NodesCached, NodeStarted, PreviewReceived
from comfypod.schema.output import Timings
from comfypod.schema.progress import PreviewImage, Progress, Stage
from comfypod.schema.workflow import Workflow
from comfypod.worker.costs import Estimate, LearnedCosts, NodeCost

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

_PACES = (0.25, 4.0)
"""A node's pace against the learned one counts no further than this: beyond, the node was odd, not the run."""

_ENOUGH = 0.5
"""When this share of a run, or of a node's steps, is done, what is left is judged by it; before, more and more so."""

Clock = Callable[[], float]
SendProgress = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[None]]
"""``send(job, value)``: tell the platform; returns when it has been told."""


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
        self._run = _Run(self._costs.estimate(workflow), self._stage_begun)
        self._step: tuple[float, float] | None = None
        self._preview: PreviewReceived | None = None
        self._value = 0.0

    def enter(self, stage: Stage) -> None:
        """The job came to ``stage``."""
        now = self._clock()
        self._leave_node(now)
        self._stage_seconds[self._stage] += now - self._stage_begun
        self._stage, self._stage_begun = stage, now
        if stage == "execute":
            # Anew, as other jobs may have taught something while this one waited.
            self._run = _Run(self._costs.estimate(self._workflow), now)
        elif stage == "deliver":
            self._run.finish()
        self.changed.set()

    def begin_again(self) -> None:
        """The workflow will be run once more: no node is done, and the time so far stays counted."""
        self.enter("queue")
        for node_id, seconds in self._run.node_seconds().items():
            self._earlier_node_seconds[node_id] += seconds
        self._run = _Run(self._costs.estimate(self._workflow), self._stage_begun)

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
            return _MESSAGES[self._stage]
        return f"{title} {self._step[0]:.0f}/{self._step[1]:.0f}" if self._step else title

    def _preview_image(self) -> PreviewImage | None:
        item = self._preview
        if item is None:
            return None
        return PreviewImage(item.node_id, item.content_type, base64.b64encode(item.image).decode("ascii"))


class _Run:
    """One run of the workflow on ComfyUI: what its nodes did, what of it is done and what is left.

    A node counts as left when another begins: ComfyUI tells no more. Of nodes that overlap (async ones) each has the
    time until the next began, which is all the time there was, in the order in which the next run will spend it.
    """

    def __init__(self, estimate: Estimate, begun: float) -> None:
        self.current: str | None = None
        self._begun = begun
        self._current_begun = begun
        self._expected = estimate.nodes
        self._learned = estimate.learned
        self._nodes: dict[str, _NodeRun] = {}
        self._cached: set[str] = set()
        self._done: set[str] = set()

    @property
    def nodes_done(self) -> int:
        """How many of the workflow's nodes are done or cached."""
        return len(self._done)

    def has_begun(self, node_id: str) -> bool:
        """Whether the node was told to run, now or earlier in this run."""
        return node_id in self._nodes

    def receive_cached(self, node_ids: Iterable[str]) -> None:
        """These nodes will not run."""
        cached = self._expected.keys() & set(node_ids)
        self._cached |= cached
        self._done |= cached

    def start(self, node_id: str, now: float) -> None:
        """A node runs, perhaps not for the first time."""
        self.current, self._current_begun = node_id, now
        self._nodes.setdefault(node_id, _NodeRun())
        self._cached.discard(node_id)
        self._done.discard(node_id)

    def receive_step(self, node_id: str, fraction: float, now: float) -> None:
        """A node that has begun came to ``fraction`` (0..1) of its steps."""
        rounds = self._expected[node_id].rounds if node_id in self._expected else 1.0
        self._nodes[node_id].step(fraction, self._seconds(node_id, now), rounds)

    def leave(self, now: float) -> None:
        """The running node, if any, runs no more."""
        if self.current is None:
            return
        node = self._nodes[self.current]
        node.seconds, node.share = self._seconds(self.current, now), 1.0
        if self.current in self._expected:
            self._done.add(self.current)
        self.current = None

    def finish(self) -> None:
        """The run succeeded: what did not run need not."""
        self._done = set(self._expected)

    def _seconds(self, node_id: str, now: float) -> float:
        """For how long the node has run."""
        return self._nodes[node_id].seconds + (now - self._current_begun if node_id == self.current else 0.0)

    def node_seconds(self) -> dict[str, float]:
        """The time of each node that ran and was left."""
        return {node_id: node.seconds for node_id, node in self._nodes.items() if node_id != self.current}

    def measured(self) -> dict[str, NodeCost]:
        """What a run that succeeded teaches.

        Where nothing was cached, a node that did not run is one that nobody needs: a branch not taken, or no way to an
        output. Otherwise it may have been spared only because what it leads to was cached.
        """
        costs = {node_id: node.cost() for node_id, node in self._nodes.items()}
        unneeded = self._expected if costs and not self._cached else ()
        return {node_id: NodeCost(0.0) for node_id in unneeded} | costs

    def fraction(self) -> float:
        """The share of the run that is done, 0..1: cached and left nodes wholly, the others by their steps."""
        return self._fraction(self._expected)

    def _fraction(self, node_ids: Collection[str]) -> float:
        total = sum(self._expected[node_id].seconds for node_id in node_ids)
        done = sum(self._expected[node_id].seconds * self._share(node_id) for node_id in node_ids)
        return min(1.0, done / (total or 1.0))

    def _share(self, node_id: str) -> float:
        if node_id in self._cached:
            return 1.0
        return self._nodes[node_id].share if node_id in self._nodes else 0.0

    def left_seconds(self, now: float) -> float | None:
        """How long the run will still take: as learned, else at the pace so far; None while neither says anything."""
        running = [node_id for node_id in self._expected if node_id not in self._cached]
        total = sum(self._expected[node_id].seconds for node_id in running)
        learned = sum(self._expected[node_id].seconds for node_id in running if node_id in self._learned)
        if 2 * learned >= total:
            return self._left_as_learned(running, total, now)
        fraction = self._fraction(running)
        if fraction < 0.05:
            return None
        return (now - self._begun) * (1 - fraction) / fraction

    def _left_as_learned(self, running: Collection[str], total: float, now: float) -> float:
        pace = self._pace(running, total)
        ahead = [node_id for node_id in running if node_id not in self._done and node_id != self.current]
        seconds = pace * sum(self._expected[node_id].seconds for node_id in ahead)
        if self.current is not None and self.current in self._expected:
            expected = self._expected[self.current]
            seconds += self._nodes[self.current].left_seconds(expected, pace, self._seconds(self.current, now))
        return seconds

    def _pace(self, running: Collection[str], total: float) -> float:
        """This run's time for what was to take 1 s: believed wholly when nodes of enough of the ``total`` tell it."""
        told = paced = 0.0
        for node_id in running:
            node, expected = self._nodes.get(node_id), self._expected[node_id]
            pace = node.pace(expected, left=node_id in self._done) if node else None
            if pace is not None:
                told += expected.seconds
                paced += expected.seconds * pace
        return 1.0 + (paced / told - 1.0) * min(1.0, told / total / _ENOUGH) if told else 1.0


@dataclass(slots=True)
class _NodeRun:
    """What one node did in a run. A mark is how many rounds its steps had gone, and after how many seconds of it."""

    seconds: float = 0.0
    share: float = 0.0
    rounds: float = 0.0
    fraction: float = 0.0
    first_mark: tuple[float, float] | None = None
    last_mark: tuple[float, float] = (0.0, 0.0)

    def step(self, fraction: float, seconds: float, expected_rounds: float) -> None:
        """It came to ``fraction`` (0..1) of its steps; a smaller one than before begins another round."""
        self.rounds += fraction - self.fraction if fraction >= self.fraction else fraction
        self.fraction = fraction
        self.share = max(self.share, min(1.0, self.rounds / expected_rounds))
        self.last_mark = (self.rounds, seconds)
        self.first_mark = self.first_mark or self.last_mark

    def round_seconds(self) -> float:
        """How long its steps take once, from the second on: the first waits for the model. 0 if too few were told."""
        if self.first_mark is None or self.rounds <= self.first_mark[0]:
            return 0.0
        return (self.last_mark[1] - self.first_mark[1]) / (self.rounds - self.first_mark[0])

    def cost(self) -> NodeCost:
        """What it cost, now that it was left."""
        tail_seconds = self.seconds - self.last_mark[1] if self.rounds else 0.0
        return NodeCost(self.seconds, self.rounds or 1.0, self.round_seconds(), tail_seconds)

    def pace(self, expected: NodeCost, *, left: bool) -> float | None:
        """Its time for what was to take 1 s, by its steps if it tells any; None before anything can be said."""
        round_seconds = self.round_seconds()
        if round_seconds > 0 and expected.round_seconds > 0:
            pace = round_seconds / expected.round_seconds
        elif left:
            pace = self.seconds / expected.seconds
        else:
            return None
        smallest, largest = _PACES
        return min(max(pace, smallest), largest)

    def left_seconds(self, expected: NodeCost, pace: float, seconds: float) -> float:
        """How long it will still run, after ``seconds``: by its steps as soon as it tells any."""
        foreseen, measured = pace * expected.round_seconds, self.round_seconds()
        if self.first_mark is None or not (foreseen or measured):
            # Overdue, it may take as long as it is overdue already: better than nothing for a minute, and no nonsense.
            foreseen = pace * expected.seconds
            return min(abs(foreseen - seconds), foreseen)
        trust = min(1.0, self.rounds / expected.rounds / _ENOUGH) if foreseen else 1.0
        round_seconds = foreseen + (trust if measured else 0.0) * (measured - foreseen)
        rounds, since = max(0.0, expected.rounds - self.rounds), seconds - self.last_mark[1]
        return max(0.0, round_seconds * rounds + expected.tail_seconds - since)
