"""The workflow as a graph: its links, the order in which nodes run, and the keys under which results are cached.

Pure. The order is ComfyUI's (seen in the recordings of 0.8.0): a ready output node first, then a node that an output
node waits for, then one that such a node waits for, then whichever became known first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.emulator.nodes.base import Input, NodeClass

Workflow = dict[str, Any]
# A value that came as JSON, of whatever type.
Json = Any


@dataclass(frozen=True, slots=True)
class Link:
    """An input that takes output ``slot`` of node ``source``."""

    source: str
    slot: int


def as_link(value: object) -> Link | None:
    """Return ``["node id", slot]`` as a link, and None for anything else, which is a literal value."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    source, slot = value
    if not isinstance(source, str) or type(slot) not in (int, float):
        return None
    return Link(source, int(slot))


def declared_inputs(node_class: NodeClass) -> Iterator[tuple[str, Input, bool]]:
    """Yield ``(name, declaration, required)`` of every input of a class, required ones first."""
    for name, declaration in node_class.required.items():
        yield name, declaration, True
    for name, declaration in node_class.optional.items():
        yield name, declaration, False


def links_of(node: Mapping[str, Any], node_class: NodeClass) -> Iterator[Link]:
    """Yield the links among the declared inputs of a node."""
    inputs = node["inputs"]
    for name, _, _ in declared_inputs(node_class):
        link = as_link(inputs.get(name))
        if link is not None:
            yield link


class ExecutionOrder:
    """Which node runs next. Add the outputs, then alternate `pick` and `complete` until `pick` returns None."""

    def __init__(
        self, workflow: Workflow, node_classes: Mapping[str, NodeClass], is_cached: Callable[[str], bool]
    ) -> None:
        self._workflow = workflow
        self._node_classes = node_classes
        self._is_cached = is_cached
        self._waits_for: dict[str, set[str]] = {}
        self._blocks: dict[str, list[str]] = {}

    def add(self, output: str) -> None:
        """Add a node and, in front of it, everything it needs that is not cached."""
        unseen = [output]
        while unseen:
            node_id = unseen.pop()
            if node_id in self._waits_for:
                continue
            needed = self._uncached_sources(node_id)
            self._waits_for[node_id] = set(needed)
            for source in needed:
                self._blocks.setdefault(source, []).append(node_id)
            unseen.extend(needed)

    def _uncached_sources(self, node_id: str) -> list[str]:
        node = self._workflow[node_id]
        links = links_of(node, self._node_classes[node["class_type"]])
        return [source for source in dict.fromkeys(link.source for link in links) if not self._is_cached(source)]

    def pick(self) -> str | None:
        """Return the node to run next, or None if nothing is left."""
        ready = [node_id for node_id, sources in self._waits_for.items() if not sources]
        for steps_to_output in range(3):
            for node_id in ready:
                if self._leads_to_output(node_id, steps_to_output):
                    return node_id
        return ready[0] if ready else None

    def _leads_to_output(self, node_id: str, steps: int) -> bool:
        if steps == 0:
            return self._node_classes[self._workflow[node_id]["class_type"]].output_node
        return any(self._leads_to_output(blocked, steps - 1) for blocked in self._blocks.get(node_id, ()))

    def complete(self, node_id: str) -> None:
        """Take a node that ran, or whose result was found in the cache, out of the order."""
        del self._waits_for[node_id]
        for blocked in self._blocks.pop(node_id, ()):
            self._waits_for[blocked].discard(node_id)


def cache_keys(workflow: Workflow, fingerprint: Callable[[str], str | None]) -> dict[str, str]:
    """Return one key per node: equal keys mean equal results.

    A key covers the class, the inputs, the keys of all nodes above and what ``fingerprint(node_id)`` adds. Nodes that
    are malformed, or hang on a missing node or a cycle, get no key; no output that passed validation needs them.
    """
    waiting = {node_id: _sources(node) for node_id, node in workflow.items() if _is_well_formed(node)}
    keys: dict[str, str] = {}
    while True:
        ready = [node_id for node_id, sources in waiting.items() if sources <= keys.keys()]
        if not ready:
            return keys
        for node_id in ready:
            del waiting[node_id]
            keys[node_id] = _key(workflow[node_id], keys, fingerprint(node_id))


def _is_well_formed(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("inputs"), dict)


def _sources(node: Mapping[str, Any]) -> set[str]:
    return {link.source for link in map(as_link, node["inputs"].values()) if link is not None}


def _key(node: Mapping[str, Any], keys: Mapping[str, str], fingerprint: str | None) -> str:
    inputs: dict[str, Any] = {}
    for name, value in node["inputs"].items():
        link = as_link(value)
        inputs[name] = {"literal": value} if link is None else {"key": keys[link.source], "slot": link.slot}
    content = json.dumps([node["class_type"], fingerprint, inputs], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
