"""One run of a workflow on ComfyUI: what its nodes did, what of it is done and what is left. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from comfypod.worker.costs import Estimate, NodeCost

_PACES = (0.25, 4.0)
"""A node's pace against the learned one counts no further than this: beyond, the node was odd, not the run."""

_ENOUGH = 0.5
"""When this share of a run, or of a node's steps, is done, what is left is judged by it; before, more and more so."""


class Run:
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
        self._nodes: dict[str, NodeRun] = {}
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
        self._nodes.setdefault(node_id, NodeRun())
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
class NodeRun:
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
