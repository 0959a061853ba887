"""Which jobs a list shall have: ``metadata[KEY]=VALUE``, ``limit`` and ``cursor``. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field

from comfypod.errors import InvalidCursor, InvalidMetadata, InvalidMetadataFilter, MalformedCall
from comfypod.gateway.jobs.submission import check_label_key
from comfypod.master.keys import is_key

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 100
MOST_FILTERS = 3


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, newest first: with these labels, from before this key."""

    labels: dict[str, str] = field(default_factory=dict)
    limit: int = DEFAULT_LIMIT
    before: str | None = None

    @classmethod
    def parse(cls, query: Iterable[tuple[str, str]]) -> Page:
        """Read a query; fields that are unknown are left out.

        Raises:
            InvalidMetadataFilter, InvalidCursor, MalformedCall: a field is not as it should be.
        """
        labels: dict[str, str] = {}
        limit, before = DEFAULT_LIMIT, None
        for name, value in query:
            if name.startswith("metadata["):
                labels[_label_key(name)] = value
            elif name == "limit":
                limit = _limit(value)
            elif name == "cursor":
                before = _from_cursor(value)
        if len(labels) > MOST_FILTERS:
            raise InvalidMetadataFilter(f"At most {MOST_FILTERS} labels can be asked for at once")
        return cls(labels, limit, before)


def cursor_after(key: str) -> str:
    """Where the next page begins, for the last key of this one."""
    return base64.urlsafe_b64encode(bytes.fromhex(key)).decode().rstrip("=")


def _from_cursor(cursor: str) -> str:
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).hex()
    except (binascii.Error, ValueError) as error:
        raise InvalidCursor("cursor is none that this list named") from error
    if not is_key(key):
        raise InvalidCursor("cursor is none that this list named")
    return key


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LARGEST_LIMIT:
        raise MalformedCall(f"limit must be a number from 1 to {LARGEST_LIMIT}")
    return int(text)


def _label_key(name: str) -> str:
    try:
        return check_label_key(name.removeprefix("metadata[").removesuffix("]"))
    except InvalidMetadata as error:
        raise InvalidMetadataFilter(str(error)) from error
