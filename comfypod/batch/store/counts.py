"""How many items are where, by group: changed in the transaction that moves them, so that nobody ever counts rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import sqlalchemy as sa

from comfypod.batch.documents import ItemState
from comfypod.batch.store.schema import BATCHES, GROUPS, IS_LEASED, ITEMS, SHARES

STATES: tuple[ItemState, ...] = get_args(ItemState)

Moves = Counter[tuple[int, ItemState, ItemState]]
"""How many items of a group went from one state to another."""


def count_moves(connection: sa.Connection, batch: int, moves: Mapping[tuple[int, ItemState, ItemState], int]) -> None:
    """Change the counts of groups."""
    changes: dict[int, Counter[str]] = {}
    for (group, before, after), items in moves.items():
        change = changes.setdefault(group, Counter())
        change[before] -= items
        change[after] += items
    for group, change in sorted(changes.items()):
        values = {state: GROUPS.c[state] + number for state, number in change.items() if number}
        if values:
            key = (GROUPS.c.batch == batch, GROUPS.c.number == group)
            connection.execute(sa.update(GROUPS).where(*key).values(values))


def count_taken(connection: sa.Connection, batch: int, taken: Mapping[tuple[int, int], int]) -> None:
    """Change what is taken of shares; keys are the pod's number and the group's."""
    for (pod_number, group), items in sorted(taken.items()):
        key = (SHARES.c.batch == batch, SHARES.c.pod_number == pod_number, SHARES.c.group_number == group)
        connection.execute(sa.update(SHARES).where(*key).values(taken=SHARES.c.taken + items))


def give_back(connection: sa.Connection, batch: int, *which: sa.ColumnElement[bool]) -> int:
    """Take leases away: their items wait again. Returns how many."""
    statement = (
        sa.update(ITEMS)
        .where(ITEMS.c.batch == batch, IS_LEASED, *which)
        .values(state="waiting", lease_until=None)
        .returning(ITEMS.c.group_number, ITEMS.c.pod_number)
    )
    rows = connection.execute(statement).all()
    count_moves(connection, batch, Counter((row.group_number, "leased", "waiting") for row in rows))
    not_taken(connection, batch, rows)
    return len(rows)


def not_taken(connection: sa.Connection, batch: int, rows: Iterable[sa.Row[Any]]) -> None:
    """These items, with their pod's number and group, are of their share again."""
    numbers = Counter((row.pod_number, row.group_number) for row in rows if row.pod_number is not None)
    count_taken(connection, batch, {key: -items for key, items in numbers.items()})


def totals(connection: sa.Connection, batch: int) -> dict[ItemState, int]:
    """How many items are in each state."""
    sums = [sa.func.coalesce(sa.func.sum(GROUPS.c[state]), 0) for state in STATES]
    row = connection.execute(sa.select(*sums).where(GROUPS.c.batch == batch)).one()
    return {state: int(value) for state, value in zip(STATES, row, strict=True)}


def close_if_done(connection: sa.Connection, batch: int, now: float) -> bool:
    """A batch none of whose items waits or is leased is over. Returns whether it is, or was cancelled."""
    counts = totals(connection, batch)
    if counts["waiting"] or counts["leased"]:
        return False
    statement = sa.update(BATCHES).where(BATCHES.c.number == batch, BATCHES.c.state.in_(("running", "paused")))
    connection.execute(statement.values(state="over", ended_at=now, note=None))
    return True
