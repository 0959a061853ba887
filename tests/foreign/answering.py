"""The side of `clients.ClientProcess` that runs in the process of a Python client."""

from __future__ import annotations

import json
from typing import Any


def answer_with(value: Any) -> None:
    """Answer the call."""
    print(f"answer {json.dumps({'value': value})}", flush=True)


def answer_with_error(error: Exception) -> None:
    """Answer that the client raised."""
    print(f"answer {json.dumps({'error': f'{type(error).__name__}: {error}'})}", flush=True)
