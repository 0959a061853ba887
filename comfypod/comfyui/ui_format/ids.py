"""Node ids that occur in several graphs of a document become unique, with the numbers that the front end gives. Pure.

Its newest versions require that no id of a subgraph's node occurs elsewhere, and renumber on opening; older ones
counted in each subgraph anew. Source: ComfyUI_frontend, src/lib/litegraph/src/subgraph/subgraphDeduplication.ts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from comfypod.comfyui.ui_format.document import Document, SavedGraph, SavedNode


def make_ids_unique(document: Document) -> None:
    """Renumber, in place, nodes of subgraphs whose id is taken by the root or by an earlier subgraph."""
    used = set(document.root.nodes)
    renamed = {graph.id: _renumber(graph, used, document) for graph in document.subgraphs.values()}
    for graph in (*document.subgraphs.values(), document.root):
        for node in graph.nodes.values():
            if renamed.get(node.type):
                _follow(node, renamed[node.type])


def _renumber(graph: SavedGraph, used: set[str], document: Document) -> Mapping[str, str]:
    """Give new ids where needed, and return them by the old ones; ``used`` and the counter go on."""
    renamed: dict[str, str] = {}
    for node in graph.nodes.values():
        if node.id in used:
            renamed[node.id] = node.id = _next_id(used, document)
        elif node.id.isdecimal():
            document.last_node_id = max(document.last_node_id, int(node.id))
        used.add(node.id)
    if renamed:
        graph.nodes = {node.id: node for node in graph.nodes.values()}
        graph.links = {
            key: replace(
                link,
                origin_id=renamed.get(link.origin_id, link.origin_id),
                target_id=renamed.get(link.target_id, link.target_id),
            )
            for key, link in graph.links.items()
        }
    return renamed


def _next_id(used: set[str], document: Document) -> str:
    document.last_node_id += 1
    while str(document.last_node_id) in used:
        document.last_node_id += 1
    return str(document.last_node_id)


def _follow(node: SavedNode, renamed: Mapping[str, str]) -> None:
    """Let the list of promoted widgets of a subgraph's node name the new ids."""
    entries = node.properties.get("proxyWidgets")
    if isinstance(entries, list):
        followed = [_renamed_entry(entry, renamed) for entry in entries]
        node.properties = {**node.properties, "proxyWidgets": followed}


def _renamed_entry(entry: object, renamed: Mapping[str, str]) -> object:
    if isinstance(entry, list) and entry and isinstance(entry[0], str):
        return [renamed.get(entry[0], entry[0]), *entry[1:]]
    return entry
