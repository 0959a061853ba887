"""What people ask for in a run, and the picture that each of them must get."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

INVALID_CLASS = "NoSuchNode"


def job_input(number: int, *, is_valid: bool) -> dict[str, Any]:
    """A request of this number; one that is not valid has a node that no worker knows."""
    class_type = "EmptyImage" if is_valid else INVALID_CLASS
    return {
        "workflow": {
            "1": {"class_type": class_type, "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": number}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "chaos"}},
        }
    }


def is_valid(asked: Mapping[str, Any]) -> bool:
    """Whether a worker can run it."""
    return bool(asked["workflow"]["1"]["class_type"] != INVALID_CLASS)


def number_of(asked: Mapping[str, Any]) -> int:
    """Whose request it is."""
    return int(asked["workflow"]["1"]["inputs"]["color"])


def picture_of(number: int) -> bytes:
    """The file that comes of it; no two numbers have the same."""
    return b"picture of number %d" % number


def sha256_of(number: int) -> str:
    """What identifies the picture of a request."""
    return hashlib.sha256(picture_of(number)).hexdigest()
