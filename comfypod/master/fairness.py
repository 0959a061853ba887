"""Whose turn it is, as a number that a queue sorts by: start-time fair queueing. Pure.

Each class of priority has a virtual time, the tag of the request that was started last; all that wait are at it, or
after it. A new request's tag is one step after the last one of its user that waits. If none does, it is a little less
than a step after the virtual time: within that span everybody else has at most one. So who comes with one request is
behind at most one of each other user, however many those have; and who always comes with one does not go before others
for ever, for each start moves the virtual time on. A user's own requests keep their order.

Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996.
"""

from __future__ import annotations

from typing import Final, Literal

Priority = Literal["high", "normal", "low"]

PRIORITIES: Final[tuple[Priority, ...]] = ("high", "normal", "low")
STEP: Final = 32  # the step of weight 1; heavier users take shorter ones, but at least 2: a little less must be above 0
MAXIMUM_WEIGHT: Final = STEP // 2
CLASS_SIZE: Final = 2**29  # DBOS takes priorities from 1 to 2**31 - 1, lower first


def next_tag(virtual_time: int, last_of_user: int | None, weight: int = 1) -> int:
    """The tag of a new request.

    Args:
        virtual_time: the tag of the request of its class that was started last.
        last_of_user: the highest tag among those of its user that wait in its class.
        weight: how many turns its user gets for one of weight 1.

    Returns:
        At least 1 and less than CLASS_SIZE. After 16 million turns without a moment at which nobody waited, tags
        reach the end, and the rest go by their time.
    """
    step = STEP // min(max(1, weight), MAXIMUM_WEIGHT)
    tag = virtual_time + step - 1 if last_of_user is None else max(virtual_time, last_of_user) + step
    return min(tag, CLASS_SIZE - 1)


def turn(priority: Priority, tag: int) -> int:
    """The number that the queue sorts by, from 1 to 2**31 - 1; lower first."""
    return PRIORITIES.index(priority) * CLASS_SIZE + tag


def tag_of(turn_number: int) -> int:
    """The tag within its class."""
    return turn_number % CLASS_SIZE
