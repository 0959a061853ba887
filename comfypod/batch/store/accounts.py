"""The account of a batch: all that is known of it at one moment, for the live view and the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from comfypod.batch.account import MOST_SAMPLES, Account, Failure, PodAccount, Progress, Sample, Speed
from comfypod.batch.documents import GIGABYTE, ItemState, Offer, Plan
from comfypod.batch.store.counts import STATES, totals
from comfypod.batch.store.records import GroupCounts, Standing
from comfypod.batch.store.schema import BATCHES, GROUPS, HAS_FAILED, HAS_WAITING, PODS, RECORDS, SAMPLES, SHARES, SPEEDS
from comfypod.batch.store.section import Section

Point = TypeVar("Point")
MOST_WAITING = 2000
_MOST_FAILURES = 50


class Accounts(Section):
    """What can be read of a batch as a whole."""

    def counts(self, batch: int) -> dict[ItemState, int]:
        """How many items are in each state."""
        with self._database.read() as connection:
            return totals(connection, batch)

    def groups(self, batch: int) -> list[GroupCounts]:
        """How many items of each group are where, in the plan's order."""
        query = sa.select(GROUPS).where(GROUPS.c.batch == batch).order_by(GROUPS.c.number)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            GroupCounts(
                **{name: value for name, value in row.items() if name not in {"batch", "assets"}},
                assets=tuple(row["assets"]),
            )
            for row in rows
        ]

    def standing(self, batch: int) -> Standing:
        """How far it is."""
        items = sum((GROUPS.c[state] for state in STATES[1:]), GROUPS.c[STATES[0]])
        ended = sum((GROUPS.c[state] for state in ("failed", "cancelled")), GROUPS.c.succeeded)
        done = sa.func.sum(GROUPS.c.work * ended / items)
        room = SHARES.c.planned - SHARES.c.taken
        left = sa.case((room < GROUPS.c.waiting, room), else_=GROUPS.c.waiting)
        of_pods = (
            sa.select(SHARES.c.pod_number, sa.func.sum(GROUPS.c.work / items * left))
            .join(GROUPS, sa.and_(GROUPS.c.batch == SHARES.c.batch, GROUPS.c.number == SHARES.c.group_number))
            .where(SHARES.c.batch == batch, HAS_WAITING, room > 0)
            .group_by(SHARES.c.pod_number)
        )
        of_batch = sa.select(done, sa.func.sum(GROUPS.c.work), sa.func.sum(GROUPS.c.leased))
        waiting = sa.select(GROUPS.c.number).where(GROUPS.c.batch == batch, HAS_WAITING)
        with self._database.read() as connection:
            columns = [BATCHES.c[name] for name in ("state", "started_at", "ended_at")]
            row = connection.execute(sa.select(*columns).where(BATCHES.c.number == batch)).one()
            done_work, work, leased = connection.execute(of_batch.where(GROUPS.c.batch == batch, items > 0)).one()
            return Standing(
                state=row.state,
                started_at=row.started_at,
                ended_at=row.ended_at,
                done_share=done_work / work if work else 0.0,
                waiting=tuple(connection.scalars(waiting.order_by(GROUPS.c.number).limit(MOST_WAITING))),
                leased=int(leased or 0),
                work_left={int(number): float(value) for number, value in connection.execute(of_pods)},
            )

    def account(self, batch: int) -> Account:
        """All that is known of it now, in one transaction."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(BATCHES).where(BATCHES.c.number == batch)).one()
            pods = connection.execute(sa.select(PODS).where(PODS.c.batch == batch).order_by(PODS.c.asked_at)).all()
            samples = self._samples(connection, batch)
            counts = totals(connection, batch)
            failures = self._failures(connection, batch)
            measured = sa.select(SPEEDS).where(SPEEDS.c.batch == batch).order_by(SPEEDS.c.gpu, SPEEDS.c.kind)
            speeds = tuple(_speed(line) for line in connection.execute(measured))
        now = self._clock()
        started_at = row.started_at if row.started_at is not None else row.created_at
        last = Progress(at=row.ended_at or now, succeeded=counts["succeeded"], failed=counts["failed"])
        progress = [Progress(at=at, **values) for at, values in samples.pop("", []) if at < last.at]
        return Account(
            batch=row.identifier,
            state=row.state,
            plan=Plan.model_validate(row.plan),
            at=now,
            started_at=started_at,
            ended_at=row.ended_at,
            items=counts,
            progress=_thinned([*progress, last]),
            pods=tuple(_pod(pod, samples[pod.name]) for pod in pods if pod.rented_at is not None),
            failures=failures,
            speeds=speeds,
            wasted_runs=sum(pod.wasted_runs for pod in pods),
            wasted_gpu_seconds=sum(pod.wasted_gpu_seconds for pod in pods),
            files=sum(pod.files for pod in pods),
            file_bytes=sum(pod.file_bytes for pod in pods),
            offers=tuple(Offer.model_validate(offer) for offer in row.offers),
        )

    @staticmethod
    def _samples(connection: sa.Connection, batch: int) -> defaultdict[str, list[tuple[float, dict[str, Any]]]]:
        samples: defaultdict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
        query = sa.select(SAMPLES).where(SAMPLES.c.batch == batch).order_by(SAMPLES.c.pod, SAMPLES.c.at)
        for row in connection.execute(query).mappings():
            samples[row["pod"]].append((row["at"], row["values"]))
        return samples

    @staticmethod
    def _failures(connection: sa.Connection, batch: int) -> tuple[Failure, ...]:
        items = sa.func.count().label("items")
        query = (
            sa.select(RECORDS.c.code, items, sa.func.min(RECORDS.c.error).label("error"))
            .where(RECORDS.c.batch == batch, HAS_FAILED)
            .group_by(RECORDS.c.code)
            .order_by(items.desc(), RECORDS.c.code)
            .limit(_MOST_FAILURES)
        )
        return tuple(
            Failure(code=row.code or "internal", message=str((row.error or {}).get("message", "")), items=row.items)
            for row in connection.execute(query)
        )


def _pod(row: sa.Row[Any], samples: Sequence[tuple[float, dict[str, Any]]]) -> PodAccount:
    offer = Offer.model_validate(row.offer)
    points = [Sample(at=at, **values) for at, values in samples]
    if row.pulse is not None and (not points or points[-1].at < row.pulsed_at):
        fields = {name: row.pulse[name] for name in Sample.model_fields if name in row.pulse}
        points.append(Sample(at=row.pulsed_at, **fields))
    return PodAccount(
        name=row.name,
        number=row.number,
        provider=row.provider,
        gpu=offer.gpu,
        price_class=offer.price_class,
        dollars_per_hour=row.dollars_per_hour,
        disk_dollars_per_hour=offer.disk_dollars_per_gigabyte_hour * row.disk_bytes / GIGABYTE,
        rented_at=row.rented_at,
        hello_at=row.hello_at,
        ended_at=row.ended_at,
        end_reason=row.end_reason if row.state == "ended" else None,
        items=row.items,
        samples=_thinned(points),
    )


def _speed(row: sa.Row[Any]) -> Speed:
    names = ("gpu", "kind", "items", "work", "gpu_seconds", "load_seconds")
    return Speed(**{name: getattr(row, name) for name in names})


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most `MOST_SAMPLES` of them, evenly, the newest among them."""
    if len(points) <= MOST_SAMPLES:
        return tuple(points)
    step = (len(points) - 1) / (MOST_SAMPLES - 1)
    return tuple(points[round(index * step)] for index in range(MOST_SAMPLES))
