"""Names of visitors, runs and uploads: they become parts of paths, so nothing else is ever taken for one. Pure."""

from __future__ import annotations

import re
import secrets
import time

_VISITOR = re.compile(r"[A-Za-z0-9_-]{8,64}")
_ITEM = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that looks like a number. In ASCII's order, so names sort as the numbers do."""
_RANDOM_BITS = 78
_LENGTH = 26
"""Of 5 bits each: 52 for microseconds since 1970, which last until 2112, and random ones."""


def new_id() -> str:
    """A name that nobody can guess, and that sorts behind those made earlier."""
    number = (time.time_ns() // 1000 << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def is_item_id(text: str) -> bool:
    """Whether this can be the name of a run or an upload."""
    return _ITEM.fullmatch(text) is not None


def checked_visitor_id(visitor_id: str) -> str:
    """The visitor's name.

    Raises:
        ValueError: it is none. Visitors do not choose their names, so this is a mistake in the program.
    """
    if not _VISITOR.fullmatch(visitor_id):
        msg = f"{visitor_id!r:.100} is no visitor's name"
        raise ValueError(msg)
    return visitor_id


def is_visitor_id(text: str) -> bool:
    """Whether this can be the name of a visitor."""
    return _VISITOR.fullmatch(text) is not None
