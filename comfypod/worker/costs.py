"""What nodes cost: learned from the runs before, so that the next run can tell how far it is. No clock, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from operator import itemgetter
from typing import Any

from comfypod.schema.workflow import Workflow

MOST_WORKFLOWS = 64
MOST_NODES = 500
"""What is kept in memory: so many workflows, and of each so many nodes, the dearest; about 200 bytes a node."""

MOST_STEPS = 10_000
"""ComfyUI's own limit for ``steps`` (``nodes.py: KSampler.INPUT_TYPES``)."""

SMALLEST_SECONDS = 0.001
"""What a node costs at least, so that a share of the whole can always be told."""

NEWEST_PART = 0.5
"""What the newest run counts in the moving average. Half, as the first run, with its cold disk, is the odd one."""


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What a node costs in a run.

    In its ``seconds`` the steps it tells go from the first to the last ``rounds`` times (over the items of a list, the
    nodes it expands to), each time in ``round_seconds``; 0 if it tells none. Before them it may load a model; after
    them it works on for ``tail_seconds``.
    """

    seconds: float
    rounds: float = 1.0
    round_seconds: float = 0.0
    tail_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run should cost: ``nodes`` holds every node of the workflow, guessed where it is not in ``learned``.

    With nothing learned the guesses are weights without a unit; else they are scaled to fit the seconds learned.
    """

    nodes: Mapping[str, NodeCost]
    learned: frozenset[str]


class LearnedCosts:
    """What nodes cost on earlier runs, by workflow; bounded, the workflow unused for longest goes first.

    Workflows are the same if ids, classes and links of their nodes are: prompt, seed, size and steps may differ. A node
    with an integer ``steps`` is learned by the step. One event loop; a worker has one of these for its lifetime.
    """

    def __init__(self, most_workflows: int = MOST_WORKFLOWS, most_nodes: int = MOST_NODES) -> None:
        self._most_workflows = most_workflows
        self._most_nodes = most_nodes
        # By shape, then by the node's place among the sorted ids (which may be long, and are not kept): seconds a step.
        self._workflows: dict[bytes, dict[int, NodeCost]] = {}

    def __len__(self) -> int:
        """How many workflows are known."""
        return len(self._workflows)

    def estimate(self, workflow: Workflow) -> Estimate:
        """What a run of ``workflow`` should cost; counts as a use of it."""
        shape, steps = _shape(workflow), _steps(workflow)
        known = self._workflows.pop(shape, {})
        if known:
            self._workflows[shape] = known  # back in, as the newest
        places = {node_id: place for place, node_id in enumerate(sorted(steps)) if place in known}
        learned = {node_id: _of_steps(known[place], steps[node_id]) for node_id, place in places.items()}
        default = sum(1.0 + steps[node_id] for node_id in learned)
        scale = sum(cost.seconds for cost in learned.values()) / default if learned else 1.0
        if len(known) >= self._most_nodes:  # the others were forgotten, as the cheapest
            scale = min(scale, *(unit.seconds for unit in known.values()))
        nodes = {node_id: learned.get(node_id) or NodeCost(scale * (1.0 + count)) for node_id, count in steps.items()}
        return Estimate(nodes, frozenset(learned))

    def learn(self, workflow: Workflow, measured: Mapping[str, NodeCost]) -> None:
        """Take in a run that succeeded; what is known of nodes that are not in ``measured`` (cached ones) is kept."""
        shape, steps = _shape(workflow), _steps(workflow)
        known = self._workflows.pop(shape, {})
        for place, node_id in enumerate(sorted(steps)):
            if node_id in measured:
                known[place] = _averaged(known.get(place), measured[node_id], steps[node_id])
        if known:
            self._workflows[shape] = self._dearest(known, [steps[node_id] for node_id in sorted(steps)])
        while len(self._workflows) > self._most_workflows:
            del self._workflows[next(iter(self._workflows))]

    def _dearest(self, known: dict[int, NodeCost], steps: Sequence[int]) -> dict[int, NodeCost]:
        """No more nodes than are to be kept: those that matter most; ``steps`` by place."""
        if len(known) <= self._most_nodes:
            return known
        places = nlargest(self._most_nodes, known, key=lambda place: _of_steps(known[place], steps[place]).seconds)
        return {place: known[place] for place in places}


def _of_steps(unit: NodeCost, steps: int) -> NodeCost:
    """What a node costs, of whose steps ``unit`` is one."""
    return replace(unit, seconds=unit.seconds * max(1, steps), round_seconds=unit.round_seconds * max(1, steps))


def _averaged(before: NodeCost | None, measured: NodeCost, steps: int) -> NodeCost:
    """The cost of one of ``steps``, drawn from ``before`` towards ``measured``; rounds are counted, not averaged."""
    seconds = max(SMALLEST_SECONDS, measured.seconds) / max(1, steps)
    newest = replace(measured, seconds=seconds, round_seconds=measured.round_seconds / max(1, steps))
    if before is None:
        return newest
    return NodeCost(
        seconds=_drawn(before.seconds, newest.seconds),
        rounds=newest.rounds,
        round_seconds=_drawn(before.round_seconds, newest.round_seconds),
        tail_seconds=_drawn(before.tail_seconds, newest.tail_seconds),
    )


def _drawn(before: float, newest: float) -> float:
    return before + NEWEST_PART * (newest - before)


def _steps(workflow: Workflow) -> dict[str, int]:
    """The ``steps`` of every node; 0 where it has none, or not as a number."""
    return {node_id: _steps_of(node["inputs"]) for node_id, node in workflow.nodes.items()}


def _steps_of(inputs: Mapping[str, Any]) -> int:
    steps = inputs.get("steps")
    return min(max(0, steps), MOST_STEPS) if isinstance(steps, int) and not isinstance(steps, bool) else 0


def _shape(workflow: Workflow) -> bytes:
    """A digest of ids, classes and links, whatever their order in the document is."""
    nodes = [
        (node_id, node["class_type"], _links(node["inputs"]))
        for node_id, node in sorted(workflow.nodes.items(), key=itemgetter(0))
    ]
    return hashlib.sha256(json.dumps(nodes).encode()).digest()


def _links(inputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in sorted(inputs.items(), key=itemgetter(0)) if _is_link(value)]


def _is_link(value: Any) -> bool:  # noqa: ANN401 (foreign JSON)
    """``[node id, output]`` (``comfy_execution/graph_utils.py: is_link``)."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )
