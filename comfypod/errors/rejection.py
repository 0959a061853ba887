"""ComfyUI's validation errors as sentences: the words of `PromptRejected`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def error_sentence(error: Mapping[str, Any], failed_imports: Mapping[str, str]) -> str:
    """ComfyUI's top-level error; an unknown node class is by far the most common one."""
    message, details = str(error.get("message", "")).rstrip("."), str(error.get("details", ""))
    if "does not exist" in message or error.get("type") == "missing_node_type":
        advice = "use a node this ComfyUI has, or install the node pack it belongs to"
        if failed_imports:
            packs = ", ".join(f"{pack} ({reason})" for pack, reason in failed_imports.items())
            advice = (
                f"these custom node packs failed to import when ComfyUI started: {packs}; it may belong to one of them"
            )
        return f"{message} ({details}); {advice}"
    return f"{message} ({details})" if details and details != error.get("message") else message or "no reason was given"


def node_error_sentences(
    node_id: str,
    node_error: Any,  # noqa: ANN401 (foreign JSON)
    hints: Mapping[str, str],
) -> list[str]:
    """One sentence per error of an entry in ComfyUI's ``node_errors``, or the hint of that ``NODE.INPUT``."""
    if not isinstance(node_error, dict):
        return [f"node {node_id}: {node_error}"]
    where = f"node {node_id} ({node_error.get('class_type', '?')})"
    errors = [error for error in node_error.get("errors") or () if isinstance(error, dict)]
    return [
        hints.get(f"{node_id}.{_extra(error).get('input_name')}") or f"{where}: {_node_error_sentence(error)}"
        for error in errors
    ]


def _extra(error: Mapping[str, Any]) -> Mapping[str, Any]:
    return error["extra_info"] if isinstance(error.get("extra_info"), dict) else {}


def _node_error_sentence(error: Mapping[str, Any]) -> str:
    extra = _extra(error)
    if error.get("type") == "value_not_in_list":
        choices = _choices(extra.get("input_config"))
        known = f"choose one of: {', '.join(choices[:20])}" if choices else "nothing is installed to choose from"
        return f"{extra.get('input_name')} {extra.get('received_value')!r} is not available here; {known}"
    message, details = str(error.get("message", "")).rstrip("."), str(error.get("details", ""))
    return f"{message}: {details}" if details else message


def _choices(input_config: Any) -> list[str]:  # noqa: ANN401 (foreign JSON)
    """The installed choices in an ``input_config``: ``[[choices], options]``, or ``["COMBO", {"options": …}]``."""
    if not isinstance(input_config, list) or not input_config:
        return []
    choices = input_config[0]
    if choices == "COMBO" and len(input_config) > 1 and isinstance(input_config[1], dict):
        choices = input_config[1].get("options")
    return [str(choice) for choice in choices] if isinstance(choices, list) else []
