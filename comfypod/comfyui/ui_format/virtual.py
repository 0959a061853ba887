"""Node classes that exist in the front end only, or whose work the browser does. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from comfypod.schema.workflow import EXPORT_HINT

PRIMITIVE, GET_NODE, SET_NODE = "PrimitiveNode", "GetNode", "SetNode"

PASSES_THROUGH = frozenset({"Reroute", "Reroute (rgthree)", SET_NODE})
"""What comes in at an input goes out at the output of the same number."""

_DECORATION = frozenset(
    {
        "Note",
        "MarkdownNote",
        "Label (rgthree)",
        "Bookmark (rgthree)",
        "Fast Actions Button (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Muter (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Node Collector (rgthree)",
    }
)

VIRTUAL = PASSES_THROUGH | _DECORATION | {PRIMITIVE, GET_NODE}
"""Classes that the server never hears of."""

_EVERYWHERE = f"sends its values without links (cg-use-everywhere), as only the browser can tell; {EXPORT_HINT}"
_BROWSER = "in the browser; replace it by a node that loads a file"

REFUSED: Mapping[str, str] = {
    "Anything Everywhere": _EVERYWHERE,
    "Anything Everywhere?": _EVERYWHERE,
    "Anything Everywhere3": _EVERYWHERE,
    "Prompts Everywhere": _EVERYWHERE,
    "Seed Everywhere": _EVERYWHERE,
    "Random Unmuter (rgthree)": f"chooses in the browser which nodes run; {EXPORT_HINT}",
    "WebcamCapture": f"takes its picture {_BROWSER}",
    "RecordAudio": f"records {_BROWSER}",
    "Load3D": f"renders its pictures {_BROWSER}",
}
"""Classes that cannot be converted: why, and what to do; the rest of a sentence that the class's name begins."""

GROUP_NODE_PREFIXES = ("workflow>", "workflow/")
GROUP_NODE = (
    "is a group node of an old front end; open the workflow in a current ComfyUI, which makes a subgraph of it, and "
    f"save it again, or {EXPORT_HINT}"
)
UNKNOWN = "is neither a node class of this ComfyUI nor a subgraph of the workflow; install the custom node that has it"
UNREAD = f"keeps values in a way that only its own front-end code can read; {EXPORT_HINT}"
