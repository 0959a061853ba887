"""Items into the database: very many, in chunks, each a transaction; what was broken off goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from comfypod.batch.documents import Item, Plan
from comfypod.batch.store.counts import close_if_done
from comfypod.batch.store.schema import BATCHES, GROUPS, ITEMS, JOBS, SHARES, key_of
from comfypod.batch.store.section import Section, chunks, groups_of
from comfypod.errors import InvalidManifest
from comfypod.master.store.section import insert

CHUNK: Final = 2000

OnRows = Callable[[int], object]
"""Told how many rows are there."""


class _Numbers:
    """Numbers of groups: items that need the same files, in whichever order, are of one group."""

    def __init__(self, known: Iterable[tuple[int, Sequence[str]]]) -> None:
        self.assets: dict[int, tuple[str, ...]] = {number: tuple(assets) for number, assets in known}
        self._numbers = {frozenset(assets): number for number, assets in self.assets.items()}
        self._fresh: list[int] = []

    def of(self, assets: Sequence[str]) -> int:
        """The number of the group that needs these."""
        key = frozenset(assets)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            self.assets[number] = tuple(assets)
            self._fresh.append(number)
        return number

    def take_fresh(self) -> list[int]:
        """Those that are new since this was last called."""
        fresh, self._fresh = self._fresh, []
        return fresh


class Filling(Section):
    """A batch's way from made to startable."""

    def fill(self, batch: int, items: Iterable[Item], on_rows: OnRows = lambda _: None) -> None:
        """Write the items, which come in the order of their rows, and then let them be leased.

        Raises:
            InvalidManifest: they are not as many as were planned.
        """
        with self._database.read() as connection:
            query = sa.select(BATCHES.c.next_row, BATCHES.c.started_at, BATCHES.c.plan)
            row = connection.execute(query.where(BATCHES.c.number == batch)).one()
            numbers = _Numbers(groups_of(connection, batch))
        if row.started_at is not None:
            return
        plan = Plan.model_validate(row.plan)
        for pod in plan.pods:  # their order is the groups', so that those nobody planned for come last
            for share in pod.shares:
                numbers.of(share.signature.assets)
        self._write_groups(batch, numbers)
        for chunk in chunks((item for item in items if item.row >= row.next_row), CHUNK):
            self._write(batch, chunk, numbers)
            on_rows(chunk[-1].row + 1)
        self._start(batch, plan, numbers)

    def _write_groups(self, batch: int, numbers: _Numbers) -> None:
        with self._database.write() as connection:
            self._insert_groups(connection, batch, numbers)

    @staticmethod
    def _insert_groups(connection: sa.Connection, batch: int, numbers: _Numbers) -> None:
        empty = {"work": 0.0, "waiting": 0, "leased": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
        fresh = [
            {"batch": batch, "number": number, "assets": list(numbers.assets[number]), **empty}
            for number in numbers.take_fresh()
        ]
        if fresh:
            connection.execute(sa.insert(GROUPS), fresh)

    def _write(self, batch: int, chunk: Sequence[Item], numbers: _Numbers) -> None:
        rows, jobs = [], []
        for item in chunk:
            group = numbers.of(item.assets)
            rows.append(_item_row(batch, item, group))
            own = list(item.assets) if item.assets != numbers.assets[group] else None
            jobs.append({"key": rows[-1]["key"], "job": item.job, "assets": own, "name": item.name})
        next_row = chunk[-1].row + 1
        with self._database.write() as connection:
            self._insert_groups(connection, batch, numbers)
            # Another process may have been faster with the same ones.
            connection.execute(insert(self._database, ITEMS).on_conflict_do_nothing(), rows)
            connection.execute(insert(self._database, JOBS).on_conflict_do_nothing(), jobs)
            statement = sa.update(BATCHES).where(BATCHES.c.number == batch, BATCHES.c.next_row < next_row)
            connection.execute(statement.values(next_row=next_row))

    def _start(self, batch: int, plan: Plan, numbers: _Numbers) -> None:
        """Count the groups, and say what each pod is to make of them; from then on items may be leased."""
        now = self._clock()
        sums = (
            sa.select(ITEMS.c.group_number, sa.func.count().label("items"), sa.func.sum(ITEMS.c.work).label("work"))
            .where(ITEMS.c.batch == batch)
            .group_by(ITEMS.c.group_number)
        )
        with self._changing(batch) as (connection, row):
            if row.started_at is not None:
                return
            found = connection.execute(sums).all()
            there = sum(group.items for group in found)
            if there != plan.items:
                problem = f"The manifest has {there:,} items, and the plan was made for {plan.items:,}; plan it anew."
                raise InvalidManifest([problem])
            for group in found:
                key = (GROUPS.c.batch == batch, GROUPS.c.number == group.group_number)
                values = {"waiting": group.items, "work": group.work}
                connection.execute(sa.update(GROUPS).where(*key).values(values))
            if shares := _share_rows(batch, plan, numbers):
                connection.execute(sa.insert(SHARES), shares)
            connection.execute(sa.update(BATCHES).where(BATCHES.c.number == batch).values(started_at=now))
            close_if_done(connection, batch, now)  # there may be none at all


def _item_row(batch: int, item: Item, group: int) -> dict[str, Any]:
    return {
        "key": key_of(batch, item.row),
        "batch": batch,
        "identifier": item.identifier,
        "group_number": group,
        "work": item.work,
        "state": "waiting",
        "failures": 0,
    }


def _share_rows(batch: int, plan: Plan, numbers: _Numbers) -> list[dict[str, Any]]:
    """Each group at most once for each pod, where it comes first."""
    rows = []
    for pod in plan.pods:
        shares: dict[int, int] = {}
        for share in pod.shares:
            group = numbers.of(share.signature.assets)
            shares[group] = shares.get(group, 0) + share.items
        for position, (group, items) in enumerate(shares.items()):
            key = {"batch": batch, "pod_number": pod.number, "position": position}
            rows.append({**key, "group_number": group, "planned": items, "taken": 0})
    return rows
