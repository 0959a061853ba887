"""Making very many objects that all stay. Pure."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bulk() -> Iterator[None]:
    """The body makes very many objects, none of them in a cycle: Python is not to look through all of them meanwhile.

    Its collector of cycles visits every object again and again as their number grows: half of the time of a plan for
    a million rows. Elsewhere in the process cycles are collected a little later.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
