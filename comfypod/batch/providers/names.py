"""How pods of ours are called, so that they are found again whoever rented them. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

PREFIX = "comfypod-"
_NAME = re.compile(r"comfypod-([A-Za-z0-9_][A-Za-z0-9_-]{0,99})-([0-9]{1,6})-([0-9]{1,6})")


class PodName(NamedTuple):
    """``comfypod-BATCH-NUMBER-GENERATION``."""

    batch: str
    number: int
    """Of the pod in the plan."""
    generation: int
    """How many of this number there were before it."""

    def __str__(self) -> str:
        return f"{PREFIX}{self.batch}-{self.number}-{self.generation}"

    @classmethod
    def parse(cls, name: str) -> PodName | None:
        """What a name says; None: it is not one of ours."""
        match = _NAME.fullmatch(name)
        return cls(match[1], int(match[2]), int(match[3])) if match else None


def is_of(name: str, batch: str | None) -> bool:
    """Whether a pod of this name is ours, and of this batch; None: of any."""
    parsed = PodName.parse(name)
    return parsed is not None and batch in (None, parsed.batch)
