"""Which items a pod is to make next: a lease keeps two pods from making one.

In order: its own shares of the plan as far as their files are there; what else can be made of the files that are
there; a few of its own that wait for files; and, when nothing of its own is left, groups of others whose files it has
room for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from comfypod.batch.documents import Item, Work
from comfypod.batch.store.books import Book
from comfypod.batch.store.counts import count_moves, count_taken, give_back, totals
from comfypod.batch.store.filling import Filling
from comfypod.batch.store.pods import Pods
from comfypod.batch.store.schema import GROUPS, HAS_WAITING, IS_LEASED, IS_WAITING, ITEMS, JOBS, PODS, ROWS, SHARES

RETRY_SECONDS: Final = 2.0
SPARE_SECONDS: Final = 30.0
"""So long a pod that can take nothing is kept, for something may come back from another; then it ends."""
MOST_AT_ONCE: Final = 200
HELP_FACTOR: Final = 2.0
"""A pod helps with others' groups if what is waiting of one takes it so many times as long as to fetch its files."""
_FEW: Final = 2
_PARTS: Final = 2
_LEAST_IN_HAND: Final = 4
"""Two that ComfyUI has, and two that follow: else it would wait for every lease."""
_TAKEN: Final = [ITEMS.c.key, ITEMS.c.identifier, ITEMS.c.work, JOBS.c.job, JOBS.c.assets, JOBS.c.name]


@dataclass(frozen=True, slots=True)
class _Asker:
    """A pod that asks, and what it has."""

    connection: sa.Connection
    batch: int
    book: Book
    pod: sa.Row[Any]
    present: frozenset[str]


class Leasing(Filling, Pods):
    """Items out to pods."""

    def lease(self, batch: int, pod: str, count: int, present: Collection[str], *, made: int = 0) -> Work:
        """What a pod is to make next, and of which it says so by its pulses from now on.

        Args:
            batch: its number.
            pod: its name.
            count: so many items at most.
            present: the files that it has.
            made: of what it has in hand, so many are only to be sent or recorded: they keep it from nothing.

        Raises:
            PodNotFound, PodEnded: there is no such pod any more.
        """
        now = self._clock()
        book = self.book(batch)
        with self._changing(batch) as (connection, row):
            this = self._live(connection, batch, pod)
            if row.state != "running" or row.started_at is None or this.drain_reason is not None:
                state = "over" if this.drain_reason is not None else row.state
                return Work(state=state, lease_seconds=row.lease_seconds, retry_seconds=RETRY_SECONDS)
            asker = _Asker(connection, batch, book, this, frozenset(present))
            held = _held(asker)
            room = min(count, MOST_AT_ONCE, self._fair(asker) - max(0, sum(held.values()) - made))
            found = _Cart(asker, room, now + row.lease_seconds)
            ahead = sum(items for group, items in held.items() if book.missing(group, asker.present))
            _choose(found, later=max(0, max(_FEW, row.session_items // 4) - ahead))
            if found.items:
                self._set_spare(connection, batch, this, None)
                needed = dict.fromkeys(key for item in found.items for key in item.assets if key not in present)
                assets = tuple(book.assets[key] for key in needed if key in book.assets)
                return Work(state="running", items=tuple(found.items), assets=assets, lease_seconds=row.lease_seconds)
            is_over = room > 0 and self._is_spare(asker, now)
            return Work(
                state="over" if is_over else "running", lease_seconds=row.lease_seconds, retry_seconds=RETRY_SECONDS
            )

    def expire(self, batch: int) -> int:
        """Let items wait again whose lease has run out. Returns how many."""
        with self._changing(batch) as (connection, _):
            return give_back(connection, batch, ITEMS.c.lease_until < self._clock())

    def prolong(self, batch: int) -> None:
        """Begin all leases anew: after the coordinator was away, no pod could say that it still has its items."""
        with self._changing(batch) as (connection, row):
            until = self._clock() + row.lease_seconds
            statement = sa.update(ITEMS).where(ITEMS.c.batch == batch, IS_LEASED)
            connection.execute(statement.values(lease_until=until))

    @staticmethod
    def _fair(asker: _Asker) -> int:
        """How many items a pod may have in hand, so that in the end no pod waits for another's: guided self-scheduling.

        Source: Polychronopoulos and Kuck, IEEE Transactions on Computers C-36 (1987): a part of what is left for each.
        """
        counts = totals(asker.connection, asker.batch)
        query = sa.select(sa.func.count()).where(PODS.c.batch == asker.batch, PODS.c.drain_reason.is_(None))
        pods = asker.connection.scalar(query.where(PODS.c.state.in_(("starting", "running")))) or 1
        return max(_LEAST_IN_HAND, -(-(counts["waiting"] + counts["leased"]) // (_PARTS * pods)))

    def _is_spare(self, asker: _Asker, now: float) -> bool:
        """Whether a pod that got nothing can end: all is done, or others make the rest without it."""
        counts = totals(asker.connection, asker.batch)
        if not counts["waiting"] and not counts["leased"]:
            return True
        since = asker.pod.spare_since
        if since is None:
            self._set_spare(asker.connection, asker.batch, asker.pod, now)
        if since is None or now - since < SPARE_SECONDS or _held(asker) or not _others(asker):
            return False
        key = (PODS.c.batch == asker.batch, PODS.c.name == asker.pod.name)
        asker.connection.execute(sa.update(PODS).where(*key).values(drain_reason="spare"))
        self._note(asker.connection, asker.batch, asker.pod.name, "spare", "others make the rest")
        return True

    @staticmethod
    def _set_spare(connection: sa.Connection, batch: int, pod: sa.Row[Any], since: float | None) -> None:
        if pod.spare_since != since:
            key = (PODS.c.batch == batch, PODS.c.name == pod.name)
            connection.execute(sa.update(PODS).where(*key).values(spare_since=since))


class _Cart:
    """Takes items for a pod, group by group, until it has enough."""

    def __init__(self, asker: _Asker, count: int, until: float) -> None:
        self.asker = asker
        self.items: list[Item] = []
        self._room = count
        self._until = until

    @property
    def is_full(self) -> bool:
        """Whether it has enough."""
        return len(self.items) >= self._room

    def take(self, group: int, most: int | None = None, *, is_own: bool, avoids: bool = True) -> int:
        """Take items of a group. Returns how many.

        Args:
            group: its number.
            most: so many at most.
            is_own: whether they are of the pod's share.
            avoids: leave out what failed on this pod before.
        """
        asker = self.asker
        room = self._room - len(self.items)
        limit = room if most is None else min(room, most)
        if limit <= 0:
            return 0
        conditions = [ITEMS.c.batch == asker.batch, ITEMS.c.group_number == group, IS_WAITING]
        if avoids:
            conditions.append(sa.or_(ITEMS.c.avoid.is_(None), ITEMS.c.avoid != asker.pod.name))
        query = (
            sa.select(*_TAKEN)
            .join(JOBS, JOBS.c.key == ITEMS.c.key)
            .where(*conditions)
            .order_by(ITEMS.c.key)
            .limit(limit)
        )
        rows = asker.connection.execute(query).all()
        if not rows:
            return 0
        self.items += [_item(row, asker.book.groups[group]) for row in rows]
        number = asker.pod.number if is_own else None
        lease = {"state": "leased", "pod": asker.pod.name, "pod_number": number, "lease_until": self._until}
        which = ITEMS.c.key.in_([row.key for row in rows])
        asker.connection.execute(sa.update(ITEMS).where(which, ITEMS.c.state == "waiting").values(lease))
        count_moves(asker.connection, asker.batch, {(group, "waiting", "leased"): len(rows)})
        if number is not None:
            count_taken(asker.connection, asker.batch, {(number, group): len(rows)})
        return len(rows)


def _choose(cart: _Cart, later: int) -> None:
    """Fill the cart, in the order that the module tells; ``later``: so many at most whose files are still to come."""
    asker = cart.asker
    own = [(group, room, bool(asker.book.missing(group, asker.present))) for group, room in _own(asker)]
    for group, room, is_missing in own:
        if not is_missing:
            cart.take(group, room, is_own=True)
    if not cart.is_full:
        _take_ready(cart)
    if cart.is_full:
        return
    for group, room, is_missing in own:
        if is_missing:
            later -= cart.take(group, min(room, later), is_own=True)
    if not cart.items:
        _help(cart, later)
    if not cart.items:
        _take_ready(cart, avoids=False)  # what failed here may as well be tried again here


def _take_ready(cart: _Cart, *, avoids: bool = True) -> None:
    """Take whatever can be made of the files that are there."""
    for group in _waiting(cart.asker):
        if cart.is_full:
            return
        if not cart.asker.book.missing(group, cart.asker.present):
            cart.take(group, is_own=False, avoids=avoids)


def _help(cart: _Cart, most: int) -> None:
    """Take of a group of others whose files are worth fetching for what is waiting of it, and fit."""
    asker = cart.asker
    offer = asker.book.pods[asker.pod.number].offer
    for group in _waiting(asker):
        missing = asker.book.missing(group, asker.present)
        seconds = asker.book.bytes_of(missing) / offer.download_bytes_per_second
        work = _waiting_work(asker, group) / offer.megapixel_steps_per_second
        if work >= HELP_FACTOR * seconds and asker.book.fits(asker.pod.number, asker.present, missing):
            cart.take(group, most, is_own=False)
        if cart.items:
            return


def _own(asker: _Asker) -> list[tuple[int, int]]:
    """Groups of the pod's shares of which something waits, in order, with how much of it is the pod's."""
    query = (
        sa.select(SHARES.c.group_number, SHARES.c.planned - SHARES.c.taken)
        .join(GROUPS, sa.and_(GROUPS.c.batch == SHARES.c.batch, GROUPS.c.number == SHARES.c.group_number))
        .where(SHARES.c.batch == asker.batch, SHARES.c.pod_number == asker.pod.number)
        .where(SHARES.c.taken < SHARES.c.planned, HAS_WAITING)
        .order_by(SHARES.c.position)
    )
    return [(int(group), int(room)) for group, room in asker.connection.execute(query)]


def _waiting(asker: _Asker) -> Iterator[int]:
    """All groups of which something waits; those of the pod's own shares first."""
    of_own = sa.exists().where(
        SHARES.c.batch == GROUPS.c.batch,
        SHARES.c.group_number == GROUPS.c.number,
        SHARES.c.pod_number == asker.pod.number,
    )
    query = sa.select(GROUPS.c.number).where(GROUPS.c.batch == asker.batch, HAS_WAITING)
    yield from list(asker.connection.scalars(query.order_by(sa.case((of_own, 0), else_=1), GROUPS.c.number)))


def _waiting_work(asker: _Asker, group: int) -> float:
    """Megapixel-steps, if all items of the group are alike."""
    sums = sum((GROUPS.c[name] for name in ("leased", "succeeded", "failed", "cancelled")), GROUPS.c.waiting)
    query = sa.select(GROUPS.c.work * GROUPS.c.waiting / sums)
    return float(asker.connection.scalar(query.where(GROUPS.c.batch == asker.batch, GROUPS.c.number == group)) or 0)


def _held(asker: _Asker) -> dict[int, int]:
    """How many items the pod has in hand, by group."""
    query = (
        sa.select(ITEMS.c.group_number, sa.func.count())
        .where(ITEMS.c.batch == asker.batch, IS_LEASED, ITEMS.c.pod == asker.pod.name)
        .group_by(ITEMS.c.group_number)
    )
    return {int(group): int(items) for group, items in asker.connection.execute(query)}


def _others(asker: _Asker) -> bool:
    """Whether there is another pod that works."""
    query = sa.select(PODS.c.name).where(
        PODS.c.batch == asker.batch, PODS.c.name != asker.pod.name, PODS.c.state == "running"
    )
    return asker.connection.execute(query.where(PODS.c.drain_reason.is_(None)).limit(1)).first() is not None


def _item(row: sa.Row[Any], assets: tuple[str, ...]) -> Item:
    own = tuple(row.assets) if row.assets is not None else assets
    return Item(identifier=row.identifier, row=row.key % ROWS, job=row.job, assets=own, work=row.work, name=row.name)
