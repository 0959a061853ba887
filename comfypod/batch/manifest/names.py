"""The name under which an item's results are kept: one part of a path, on any system and in any bucket. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

LONGEST_NAME_BYTES: Final = 100
_PLAIN: Final = re.compile(r"(?!\.)[A-Za-z0-9_.+ -]{0,99}[A-Za-z0-9_+-]")
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{32}")
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Windows keeps them for devices (learn.microsoft.com, "Naming Files, Paths, and Namespaces")."""
_NOT_IN_NAMES: Final = frozenset('/\\:*?"<>|%#')
"""What parts paths, is no part of a file's name on some system, or means something in an address."""


def name_problem(name: Any) -> str | None:  # noqa: ANN401 (what a row has)
    """Why results cannot be kept under this name, as a clause; None if they can."""
    if not isinstance(name, str):
        return "must be a text"
    if _PLAIN.fullmatch(name) and name[0] != " ":
        is_taken = _RESERVED.fullmatch(name) or _IDENTIFIER.fullmatch(name)
        return "must not look like an identifier, or like a device of Windows" if is_taken else None
    return _unusual_problem(name)


def _unusual_problem(name: str) -> str | None:
    if not name or len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME_BYTES:
        return f"must have 1 to {LONGEST_NAME_BYTES} bytes"
    if not name.isprintable() or set(name) & _NOT_IN_NAMES:
        return "must have no control characters and none of " + " ".join(sorted(_NOT_IN_NAMES))
    if name.startswith((".", " ")) or name.endswith((".", " ")):
        return "must not begin or end with a point or a space"
    return "must not look like a device of Windows" if _RESERVED.fullmatch(name) else None
