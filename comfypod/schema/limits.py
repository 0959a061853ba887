"""What JSON from outside may look like before anything else reads it: finite, shallow, not endless."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

MAXIMUM_DEPTH = 100
"""Deeper documents overrun the stack of whatever reads them recursively, ComfyUI included."""
MAXIMUM_VALUES = 1_000_000
LONGEST_INTEGER_BITS = 64

Path = tuple[str | int, ...]


def find_excess(document: Any, *, name: str = "input") -> Iterator[str]:  # noqa: ANN401 (foreign JSON)
    """A sentence, ``path: what is wrong``, for each value that no part of the worker can take; not recursive.

    NaN and infinities are no JSON, and RunPod refuses a result that repeats them.
    """
    stack: list[tuple[Path, Any]] = [((), document)]
    count = 0
    while stack:
        path, value = stack.pop()
        count += 1
        if count > MAXIMUM_VALUES:
            yield f"{name}: holds more than {MAXIMUM_VALUES:,} values"
            return
        if len(path) > MAXIMUM_DEPTH:
            yield f"{_written(path[:5], name)}…: is nested more than {MAXIMUM_DEPTH} deep"
            return
        if isinstance(value, dict):
            stack += [((*path, str(key)), item) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [((*path, index), item) for index, item in enumerate(value)]
        elif problem := _problem(value):
            yield f"{_written(path, name)}: {problem}"


def _problem(value: Any) -> str | None:  # noqa: ANN401
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, not {value}"
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER_BITS:
        return f"must be a whole number of at most {LONGEST_INTEGER_BITS} bits"
    return None


def _written(path: Path, name: str) -> str:
    """The path as a person writes it: ``workflow.3.inputs.seed``, ``files[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:80]}" if text else part[:80]
    return text.encode("utf-8", "replace").decode() or name
