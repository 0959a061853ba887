"""When a message is looked at again. Pure; seconds.

Discord takes five edits of a message in five seconds, and fifty requests of a bot in one: who waits long is told less.
"""

from __future__ import annotations

SHORTEST_GAP = 1.5
NEAR = 10
"""So many before one, and people watch."""
NEAR_SECONDS = 3.0
FAR_SECONDS = 15.0
PER_SECOND = 20
"""So many places of a long queue are looked up in a second, however long it is."""
CALM_SECONDS = 5.0


def seconds_until_look(position: int | None) -> float:
    """How long nothing but a change of the request itself is worth a look; ``position`` as in the queue."""
    if position is None:
        return CALM_SECONDS
    return NEAR_SECONDS if position <= NEAR else max(FAR_SECONDS, position / PER_SECOND)
