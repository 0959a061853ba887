"""Pods of a batch: asked for, rented, working, ending, ended; and what they say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import fields
from typing import Any, Final

import sqlalchemy as sa

from comfypod.batch.documents import Condition, Offer, Orders, Pod, PodWish, Pulse, Welcome
from comfypod.batch.store.counts import count_moves, count_taken, give_back
from comfypod.batch.store.records import BatchEvent, BatchPod
from comfypod.batch.store.schema import BATCHES, EVENTS, GROUPS, ITEMS, PODS, SAMPLES, SHARES
from comfypod.batch.store.section import Section, chunks
from comfypod.errors import PodEnded, PodNotFound
from comfypod.master.store.section import insert

SAMPLE_SECONDS: Final = 2.0
SAMPLES_PER_TENFOLD: Final = 300
"""A sample is kept if the last one is longer ago than this part of the whole time: few, however long it takes."""
MOST_CAUSE: Final = 1000
MOST_EVENTS: Final = 2000
_LOOKED_AT: Final = (
    *("name", "number", "state", "end_reason", "drain_reason", "spare_since"),
    *("asked_at", "rented_at", "hello_at", "ends_at", "sampled_at", "offer"),
)
_SHOWN: Final = tuple(PODS.c[item.name] for item in fields(BatchPod))


class Pods(Section):
    """What is kept of pods."""

    def add_pod(self, batch: int, wish: PodWish, generation: int, ends_at: float) -> None:
        """Write down a pod before it is asked for: whatever comes of that, it is known."""
        row = {
            "batch": batch,
            "name": wish.name,
            "number": wish.number,
            "generation": generation,
            "provider": wish.offer.provider,
            "state": "starting",
            "offer": wish.offer.model_dump(mode="json"),
            "bid_dollars_per_hour": wish.bid_dollars_per_hour,
            "dollars_per_hour": wish.bid_dollars_per_hour or wish.offer.dollars_per_hour,
            "disk_bytes": wish.disk_bytes,
            "asked_at": self._clock(),
            "ends_at": ends_at,
            "sampled_at": 0.0,
        }
        zero = dict.fromkeys(("items", "wasted_runs", "files", "file_bytes"), 0)
        none = dict.fromkeys(("work", "gpu_seconds", "wasted_gpu_seconds"), 0.0)
        with self._changing(batch) as (connection, _):
            connection.execute(sa.insert(PODS).values(**row, **zero, **none))

    def rented(self, batch: int, pod: Pod, wish: PodWish | None = None) -> None:
        """A pod is there, and is paid for from now on; ``wish``: the one that was granted, if it was not the first."""
        values: dict[str, Any] = {
            "identifier": pod.identifier,
            "dollars_per_hour": pod.dollars_per_hour,
            "rented_at": sa.func.coalesce(PODS.c.rented_at, pod.started_at, self._clock()),
        }
        if wish is not None:
            values |= {"offer": wish.offer.model_dump(mode="json"), "bid_dollars_per_hour": wish.bid_dollars_per_hour}
        with self._changing(batch) as (connection, _):
            key = (PODS.c.batch == batch, PODS.c.name == pod.name)
            connection.execute(sa.update(PODS).where(*key).values(values))
            self._note(connection, batch, pod.name, "rented", f"{pod.gpu} at ${pod.dollars_per_hour:g}/h")

    def pods(self, batch: int, *, live_only: bool = False) -> list[BatchPod]:
        """All pods that there ever were, in the order in which they were asked for; or those that have not ended."""
        query = sa.select(*_SHOWN).where(PODS.c.batch == batch)
        if live_only:
            query = query.where(PODS.c.state != "ended")
        with self._database.read() as connection:
            return [_pod(row) for row in connection.execute(query.order_by(PODS.c.asked_at, PODS.c.name))]

    def hello(self, batch: int, pod: str, condition: Condition) -> None:
        """A pod works from now on, or, if it is not fit, is to be ended.

        Raises:
            PodNotFound, PodEnded: there is no such pod any more.
        """
        now = self._clock()
        with self._changing(batch) as (connection, _):
            this = self._live(connection, batch, pod)
            key = (PODS.c.batch == batch, PODS.c.name == pod)
            values: dict[str, Any] = {
                "state": "running",
                "hello_at": this.hello_at if this.hello_at is not None else now,
                "rented_at": this.rented_at if this.rented_at is not None else this.asked_at,
                "pulsed_at": now,
                "condition": condition.model_dump(mode="json"),
            }
            if condition.problem is not None:
                values["drain_reason"] = "unfit"
                self._note(connection, batch, pod, "unfit", condition.problem)
            connection.execute(sa.update(PODS).where(*key).values(values))

    def welcome(self, batch: int, pod: str) -> Welcome:
        """What a pod is told in answer: which files it needs, for what is left of its shares."""
        book = self.book(batch)
        with self._database.read() as connection:
            row = connection.execute(sa.select(BATCHES).where(BATCHES.c.number == batch)).one()
            this = connection.execute(
                sa.select(PODS.c.number, PODS.c.ends_at, PODS.c.drain_reason, PODS.c.offer).where(
                    PODS.c.batch == batch, PODS.c.name == pod
                )
            ).one()
            left = (
                sa.select(GROUPS.c.number)
                .join(SHARES, sa.and_(SHARES.c.batch == GROUPS.c.batch, SHARES.c.group_number == GROUPS.c.number))
                .where(GROUPS.c.batch == batch, SHARES.c.pod_number == this.number)
                .where(GROUPS.c.waiting + GROUPS.c.leased > 0)
            )
            needed = {key for group in connection.scalars(left) for key in book.groups[group]}
        planned = book.pods[this.number].downloads
        order = [*planned, *sorted(needed.difference(planned))]
        assets = tuple(book.assets[key] for key in order if key in needed and key in book.assets)
        return Welcome(
            batch=row.identifier,
            state="over" if this.drain_reason is not None else row.state,
            assets=assets,
            results=row.results,
            lease_seconds=row.lease_seconds,
            session_items=row.session_items,
            ends_at=this.ends_at,
            offer=Offer.model_validate(this.offer),
        )

    def pulse(self, batch: int, pod: str, pulse: Pulse) -> Orders:
        """A pod lives; its leases begin anew.

        Raises:
            PodNotFound, PodEnded: there is no such pod any more.
        """
        now = self._clock()
        with self._changing(batch) as (connection, row):
            this = self._live(connection, batch, pod)
            values: dict[str, Any] = {"pulsed_at": now, "pulse": pulse.model_dump(mode="json")}
            if this.sampled_at + max(SAMPLE_SECONDS, (now - this.asked_at) / SAMPLES_PER_TENFOLD) <= now:
                values["sampled_at"] = now
                self._sample(connection, batch, pod, now, _sampled(pulse))
            is_leaving = pulse.is_leaving
            if is_leaving and this.drain_reason is None:
                values["drain_reason"] = "leaving"
            key = (PODS.c.batch == batch, PODS.c.name == pod)
            connection.execute(sa.update(PODS).where(*key).values(values))
            if is_leaving:
                for some in chunks(pulse.in_hand):
                    give_back(connection, batch, ITEMS.c.pod == pod, ITEMS.c.identifier.in_(some))
                revoked: tuple[str, ...] = ()
            else:
                revoked = self._renew(connection, batch, this, pulse.in_hand, now + row.lease_seconds)
            state = row.state if this.drain_reason is None and not is_leaving else "over"
            return Orders(
                state="cancelled" if row.state == "cancelled" else state, revoked=revoked, ends_at=this.ends_at
            )

    def bye(self, batch: int, pod: str, reason: str) -> None:
        """A pod ends by itself; what is leased to it waits again.

        Raises:
            PodNotFound: there is no such pod.
        """
        with self._changing(batch) as (connection, _):
            if self._row(connection, batch, pod).state != "ended":
                self._change(connection, batch, pod, state="ending", end_reason=_clause(reason))
                self._note(connection, batch, pod, "bye", reason)
            give_back(connection, batch, ITEMS.c.pod == pod)

    def drain(self, batch: int, pod: str, reason: str) -> None:
        """Let a pod finish what it is at, and end; what it has not begun waits again."""
        with self._changing(batch) as (connection, _):
            key = (PODS.c.batch == batch, PODS.c.name == pod, PODS.c.drain_reason.is_(None))
            if connection.execute(sa.update(PODS).where(*key).values(drain_reason=_clause(reason))).rowcount:
                give_back(connection, batch, ITEMS.c.pod == pod)
                self._note(connection, batch, pod, "drained", reason)

    def end_pod(self, batch: int, pod: str, reason: str, *, ended: bool, ended_at: float | None = None) -> None:
        """A pod is being ended, or has: what is leased to it waits again. The first reason stays."""
        now = self._clock()
        with self._changing(batch) as (connection, _):
            this = self._row(connection, batch, pod)
            if this.state == "ended":
                return
            values: dict[str, Any] = {"state": "ended" if ended else "ending"}
            values["end_reason"] = this.end_reason or _clause(reason)
            if ended:
                values["ended_at"] = now if ended_at is None else min(now, max(ended_at, this.asked_at))
                self._note(connection, batch, pod, "ended", values["end_reason"])
            self._change(connection, batch, pod, **values)
            give_back(connection, batch, ITEMS.c.pod == pod)

    def set_end(self, batch: int, pod: str, ends_at: float) -> None:
        """Move a pod's dead man's switch; it hears it with its next pulse."""
        with self._changing(batch) as (connection, _):
            self._change(connection, batch, pod, ends_at=ends_at)

    def set_price(self, batch: int, pod: str, dollars_per_hour: float) -> None:
        """Change what a pod costs; what it has cost follows from its newest price."""
        with self._changing(batch) as (connection, _):
            self._change(connection, batch, pod, dollars_per_hour=dollars_per_hour)

    def note(self, batch: int, kind: str, cause: str | None = None, pod: str | None = None) -> None:
        """Write down that something happened."""
        with self._changing(batch) as (connection, _):
            self._note(connection, batch, pod, kind, cause)

    def events(self, batch: int, limit: int = 100) -> list[BatchEvent]:
        """What happened last, the oldest first."""
        query = sa.select(EVENTS).where(EVENTS.c.batch == batch).order_by(EVENTS.c.number.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [BatchEvent(at=row.at, pod=row.pod, kind=row.kind, cause=row.cause) for row in reversed(rows)]

    def sample_progress(self, batch: int) -> None:
        """Keep how many items have ended by now, if it is time."""
        now = self._clock()
        with self._changing(batch) as (connection, row):
            if row.started_at is None:
                return
            if row.sampled_at + max(SAMPLE_SECONDS, (now - row.started_at) / SAMPLES_PER_TENFOLD) > now:
                return
            counts = [sa.func.coalesce(sa.func.sum(GROUPS.c[name]), 0) for name in ("succeeded", "failed")]
            succeeded, failed = connection.execute(sa.select(*counts).where(GROUPS.c.batch == batch)).one()
            self._sample(connection, batch, "", now, {"succeeded": int(succeeded), "failed": int(failed)})
            connection.execute(sa.update(BATCHES).where(BATCHES.c.number == batch).values(sampled_at=now))

    def _sample(self, connection: sa.Connection, batch: int, pod: str, now: float, values: dict[str, Any]) -> None:
        row = {"batch": batch, "pod": pod, "at": now, "values": values}
        connection.execute(insert(self._database, SAMPLES).values(row).on_conflict_do_nothing())

    def _note(self, connection: sa.Connection, batch: int, pod: str | None, kind: str, cause: str | None) -> None:
        row = {"batch": batch, "at": self._clock(), "pod": pod, "kind": kind}
        number = connection.execute(
            sa.insert(EVENTS).values(**row, cause=cause and _clause(cause)).returning(EVENTS.c.number)
        ).scalar_one()
        connection.execute(sa.delete(EVENTS).where(EVENTS.c.batch == batch, EVENTS.c.number <= number - MOST_EVENTS))

    @staticmethod
    def _change(connection: sa.Connection, batch: int, pod: str, **values: object) -> None:
        connection.execute(sa.update(PODS).where(PODS.c.batch == batch, PODS.c.name == pod).values(values))

    @staticmethod
    def _row(connection: sa.Connection, batch: int, pod: str) -> sa.Row[Any]:
        columns = [PODS.c[name] for name in _LOOKED_AT]
        row = connection.execute(sa.select(*columns).where(PODS.c.batch == batch, PODS.c.name == pod)).first()
        if row is None:
            raise PodNotFound(pod)
        return row

    def _live(self, connection: sa.Connection, batch: int, pod: str) -> sa.Row[Any]:
        row = self._row(connection, batch, pod)
        if row.state in {"ending", "ended"}:
            raise PodEnded(pod, row.end_reason or "it was ended")
        return row

    def _renew(
        self, connection: sa.Connection, batch: int, pod: sa.Row[Any], in_hand: Collection[str], until: float
    ) -> tuple[str, ...]:
        """Lengthen the pod's leases; take up again those that had run out. Returns those that it has lost."""
        kept: set[str] = set()
        moves: Counter[tuple[int, Any, Any]] = Counter()
        columns = [ITEMS.c[name] for name in ("key", "identifier", "state", "pod", "pod_number", "group_number")]
        for some in chunks(in_hand):
            query = sa.select(*columns).where(ITEMS.c.batch == batch, ITEMS.c.identifier.in_(some))
            rows = connection.execute(query).all()
            own = [row for row in rows if row.pod == pod.name and row.state == "leased"]
            back = [row for row in rows if row.pod == pod.name and row.state == "waiting" and pod.drain_reason is None]
            kept.update(row.identifier for row in (*own, *back))
            moves.update((row.group_number, "waiting", "leased") for row in back)
            taken = Counter((row.pod_number, row.group_number) for row in back if row.pod_number is not None)
            count_taken(connection, batch, taken)
            which = ITEMS.c.key.in_([row.key for row in (*own, *back)])
            connection.execute(sa.update(ITEMS).where(which).values(state="leased", lease_until=until))
        count_moves(connection, batch, moves)
        return tuple(identifier for identifier in in_hand if identifier not in kept)


def _sampled(pulse: Pulse) -> dict[str, Any]:
    return pulse.model_dump(include={"busy_seconds", "idle_seconds", "downloaded_bytes", "spool_items"})


def _pod(row: sa.Row[Any]) -> BatchPod:
    values = dict(row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
    for name, kind in (("offer", Offer), ("condition", Condition), ("pulse", Pulse)):
        values[name] = None if values[name] is None else kind.model_validate(values[name])
    return BatchPod(**values)


def _clause(text: str) -> str:
    return text[:MOST_CAUSE]
