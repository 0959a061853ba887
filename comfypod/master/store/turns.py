"""Gives turns. Every submission locks one row, the turnstile, until its end.

So the number of a turn, the quotas and the length of the queue are exact, however many front ends submit. Whatever else
locks the turnstile does so before it locks a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from comfypod.master.fairness import CLASS_SIZE, PRIORITIES, Priority, next_tag, tag_of, turn
from comfypod.master.states import QUEUED
from comfypod.master.store.schema import REQUESTS, TURNSTILE

VirtualTimes = Mapping[Priority, int]


@dataclass(frozen=True, slots=True)
class Flow:
    """Whose requests keep their order."""

    tenant: str
    user: str
    priority: Priority
    weight: int


def pass_turnstile(connection: sa.Connection) -> VirtualTimes:
    """Wait for the submissions before this one; returns the tag that was started last, by class."""
    row = connection.execute(sa.select(TURNSTILE).with_for_update()).one()
    return {priority: getattr(row, priority) for priority in PRIORITIES}


def next_turn(connection: sa.Connection, virtual_times: VirtualTimes, flow: Flow) -> int:
    """The turn of a new request, behind the turnstile."""
    virtual_time = virtual_times[flow.priority]
    if virtual_time and not _anybody_waits(connection, flow.priority):
        virtual_time = 0  # the numbers begin anew, so that they do not come to their end
        connection.execute(sa.update(TURNSTILE).values({flow.priority: 0}))
    last = connection.scalar(
        sa.select(sa.func.max(REQUESTS.c.turn)).where(
            REQUESTS.c.tenant == flow.tenant,
            REQUESTS.c.user == flow.user,
            REQUESTS.c.priority == flow.priority,
            REQUESTS.c.state == QUEUED,
            REQUESTS.c.ended_at.is_(None),  # by which the index is found
        )
    )
    return turn(flow.priority, next_tag(virtual_time, None if last is None else tag_of(last), flow.weight))


def advance_virtual_time(connection: sa.Connection, key: str, run: int) -> None:
    """A request is started, if it waits: those that come from now on are behind it."""
    row = connection.execute(
        sa.select(REQUESTS.c.turn, REQUESTS.c.priority).where(
            REQUESTS.c.key == key, REQUESTS.c.run == run, REQUESTS.c.state == QUEUED
        )
    ).first()
    if row is not None:
        column, tag = TURNSTILE.c[row.priority], tag_of(row.turn)
        connection.execute(sa.update(TURNSTILE).where(column < tag).values({row.priority: tag}))


def _anybody_waits(connection: sa.Connection, priority: Priority) -> bool:
    first = turn(priority, 0)
    waits = sa.and_(REQUESTS.c.state == QUEUED, REQUESTS.c.turn >= first, REQUESTS.c.turn < first + CLASS_SIZE)
    return connection.execute(sa.select(REQUESTS.c.key).where(waits).limit(1)).first() is not None
