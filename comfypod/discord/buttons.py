"""The buttons of a message. Pure: all that a click must be understood by stands in the custom id.

So they work after every restart, and with any process of the bot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

Action = Literal["cancel", "repeat", "vary", "upscale"]

LABELS: dict[Action, str] = {"cancel": "Cancel", "repeat": "Repeat", "vary": "Vary", "upscale": "Upscale"}
_CUSTOM_ID = re.compile(r"cp:(cancel|repeat|vary|upscale):([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Click:
    """What a click asks for, of which request."""

    action: Action
    key: str


def custom_id(action: Action, key: str) -> str:
    """The custom id of a request's button."""
    return f"cp:{action}:{key}"


def click_of(text: str) -> Click | None:
    """What a custom id asks for; None if it is none of ours."""
    found = _CUSTOM_ID.fullmatch(text)
    return Click(cast("Action", found[1]), found[2]) if found else None
