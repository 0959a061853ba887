"""Durations as people write them: ``6h``, ``90m``, ``1h30m``, ``2d``, ``45s``, or a number of seconds."""

from __future__ import annotations

import re

from comfypod.errors import ConfigurationError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhms]?)")


def parse_duration(text: str) -> float:
    """Seconds, more than none.

    Raises:
        ConfigurationError: it is no duration.
    """
    compact = text.replace(" ", "").lower()
    parts = _PART.findall(compact)
    is_whole = "".join(number + unit for number, unit in parts) == compact
    seconds = sum(float(number) * _UNITS.get(unit, 1.0) for number, unit in parts)
    if not is_whole or not 0 < seconds < 1e9 or (len(parts) > 1 and not all(unit for _, unit in parts)):
        raise ConfigurationError([f"{text[:40]!r} is no duration; write 6h, 90m, 1h30m or 2d."])
    return seconds
