"""What one call comes to: an answer, or the two ways of having none. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


class NotSent(Exception):
    """There was no connection, so nothing was asked of the platform; the message says why."""


class AnswerLost(Exception):
    """The request may have arrived, and there is no (whole) answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    content: bytes

    @property
    def text(self) -> str:
        """The beginning of it, for people."""
        return self.content[:300].decode("utf-8", "replace").strip()

    @property
    def is_trouble(self) -> bool:
        """Whether the platform is busy or broken, and may answer otherwise later.

        408 and 425 are a proxy's word that it did not get the request whole, or did not pass it on; it may be wrong.
        """
        return self.status in {408, 425, 429} or self.status >= 500

    def document(self) -> Any:  # noqa: ANN401 (any JSON)
        """The JSON in it, or None where there is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None
