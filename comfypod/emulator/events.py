"""What happens in the local RunPod, as lines of its log."""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)


def log_event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Log that ``name`` happened, with its fields."""
    _log.log(level, name, extra={"fields": fields})
