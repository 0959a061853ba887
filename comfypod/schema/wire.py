"""What may cross a wire as JSON: strict, and encodable as UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def json_safe(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    """``value`` with null for NaN and infinities, and ``?`` for lone surrogates.

    ComfyUI sends both, and callers may. RunPod refuses a result with the one, and the SDK loses one with the other.
    """
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(json_safe(str(key))): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value


def listed(names: Iterable[Any], most: int = 20) -> str:
    """``a, b, c and 5 more``: names in a sentence, not endless."""
    shown = [shortened(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def shortened(text: Any, longest: int = 100) -> str:  # noqa: ANN401 (foreign JSON)
    """The text, or its beginning if it is longer than a sentence bears."""
    whole = str(text)
    return whole if len(whole) <= longest else f"{whole[:longest]}…"


def as_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 (foreign JSON)
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 (foreign JSON)
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
