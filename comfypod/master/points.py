"""Named points in a request's life, at which a test may look on, or kill the process.

What the master promises holds whenever it dies. The promise is tested by dying at each of these points: an observer
is set by the test's own entry point, in its own process. Without one, reaching a point does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

Point = Literal[
    "claimed",  # DBOS gave us the request; nothing is written yet
    "before_post",  # the attempt is written; POST /run comes next
    "after_post",  # RunPod has the job; its id is nowhere but in memory
    "after_save",  # the id is written
    "while_following",  # an answer about the job came
    "before_finish",  # the end is known; it is not written yet
    "after_finish",  # the end and the outbox's rows are written; DBOS does not know that the workflow has ended
    "before_adoption",  # another master is silent; its requests come next
]
POINTS: tuple[Point, ...] = get_args(Point)

_observers: list[Callable[[Point, str], None]] = []


def observe(observer: Callable[[Point, str], None]) -> None:
    """Have ``observer`` called with the point and the request's key (or the master's name) from now on."""
    _observers[:] = [observer]


def reached(point: Point, key: str) -> None:
    """Say that the point is reached."""
    for observer in _observers:
        observer(point, key)
