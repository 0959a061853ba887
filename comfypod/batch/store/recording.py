"""How items ended: the one point of commit. Whoever tells first that an item succeeded, is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from comfypod.batch.documents import ItemState, Record
from comfypod.batch.planning.learned import kind_of
from comfypod.batch.store.counts import Moves, close_if_done, count_moves, not_taken
from comfypod.batch.store.pods import Pods
from comfypod.batch.store.records import Told
from comfypod.batch.store.schema import ITEMS, JOBS, PODS, RECORDS, SPEEDS
from comfypod.batch.store.section import chunks
from comfypod.master.store.section import insert
from comfypod.master.store.texts import storable

MOST_FAILURES: Final = 3
"""An item that failed so often, though it might have succeeded, has failed."""
MOST_ERROR_TEXT: Final = 2000


@dataclass(frozen=True, slots=True)
class _Run:
    """One telling of a record, and the item it is about."""

    record: Record
    item: sa.Row[Any]
    outcome: ItemState | None
    """What becomes of the item; None: nothing, it had ended before or is somebody else's."""


class Recording(Pods):
    """Records in from pods."""

    def record(self, batch: int, pod: str, records: Sequence[Record]) -> Told:
        """Write down how items ended, in one transaction.

        A success counts whether or not the pod still had the lease, and also from a pod that has ended since: its files
        are delivered. A failure counts only of the pod's own lease; if another try may help, the item waits again.

        Returns:
            ``accepted``: it counts; ``already``: it changes nothing, and need not be told again; ``refused``: there is
            no such item, or its files are not where an item's files are.

        Raises:
            PodNotFound: there is no such pod.
        """
        told: dict[str, str] = {}
        with self._changing(batch) as (connection, row):
            this = self._row(connection, batch, pod)
            for some in chunks(records):
                runs = []
                items = self._items(connection, batch, some)
                for record in some:
                    item = items.get(record.identifier)
                    if item is None or not _are_its_own(record, item):
                        told[record.identifier] = "refused"
                        continue
                    if record.identifier in told:  # once is enough for one request
                        continue
                    run = _Run(record, item, _outcome(record, item, pod, row.state))
                    runs.append(run)
                    told[record.identifier] = "already" if run.outcome is None else "accepted"
                self._write_runs(connection, batch, this, runs)
            close_if_done(connection, batch, self._clock())
        return Told(*(tuple(name for name, word in told.items() if word == kind) for kind in _KINDS))

    @staticmethod
    def _items(connection: sa.Connection, batch: int, records: Sequence[Record]) -> Mapping[str, sa.Row[Any]]:
        names = ("key", "identifier", "group_number", "work", "state", "pod", "pod_number", "failures")
        columns = [*(ITEMS.c[name] for name in names), JOBS.c.name]
        query = (
            sa.select(*columns)
            .join(JOBS, JOBS.c.key == ITEMS.c.key)
            .where(ITEMS.c.batch == batch, ITEMS.c.identifier.in_([record.identifier for record in records]))
        )
        return {row.identifier: row for row in connection.execute(query)}

    def _write_runs(self, connection: sa.Connection, batch: int, this: sa.Row[Any], runs: Sequence[_Run]) -> None:
        pod = this.name
        known = self._known(connection, pod, runs)
        fresh = [run for run in runs if (run.item.key, run.record.started_at) not in known]
        if fresh:
            rows = [self._record_row(batch, pod, run) for run in fresh]
            connection.execute(insert(self._database, RECORDS).on_conflict_do_nothing(), rows)
        counted = [run for run in runs if run.outcome is not None]
        changes: dict[tuple[ItemState, ItemState], list[_Run]] = {}
        for run in counted:
            changes.setdefault((run.item.state, run.outcome or run.item.state), []).append(run)
        for (before, after), same in changes.items():
            values: dict[str, Any] = {"state": after, "lease_until": None, "pod": pod}
            if after == "waiting":
                values |= {"avoid": pod, "failures": ITEMS.c.failures + 1}
            are_these = ITEMS.c.key.in_([run.item.key for run in same])
            connection.execute(sa.update(ITEMS).where(are_these, ITEMS.c.state == before).values(values))
        count_moves(connection, batch, _moves(counted))
        not_taken(connection, batch, [run.item for run in counted if run.outcome == "waiting"])
        self._account(connection, batch, pod, fresh)
        self._measure(connection, batch, str(this.offer["gpu"]), [run for run in fresh if run.outcome == "succeeded"])

    @staticmethod
    def _known(connection: sa.Connection, pod: str, runs: Sequence[_Run]) -> set[tuple[int, float]]:
        query = sa.select(RECORDS.c.key, RECORDS.c.started_at).where(
            RECORDS.c.key.in_([run.item.key for run in runs]), RECORDS.c.pod == pod
        )
        return {(row.key, row.started_at) for row in connection.execute(query)}

    def _record_row(self, batch: int, pod: str, run: _Run) -> dict[str, Any]:
        record, error = run.record, None
        if record.error is not None:
            error = {
                name: str(value)[:MOST_ERROR_TEXT] for name, value in record.error.items() if name in _ERROR_FIELDS
            }
        return {
            "key": run.item.key,
            "batch": batch,
            "pod": pod,
            "started_at": record.started_at,
            "told_at": self._clock(),
            "status": record.status,
            "is_counted": run.outcome in {"succeeded", "failed"},
            "gpu_seconds": record.gpu_seconds,
            "load_seconds": record.load_seconds,
            "files": storable([file.model_dump(mode="json") for file in record.files]),
            "code": None if error is None else error.get("code", "internal"),
            "error": error,
        }

    @staticmethod
    def _account(connection: sa.Connection, batch: int, pod: str, fresh: Sequence[_Run]) -> None:
        """Add what the runs were to the pod's sums."""
        made = [run for run in fresh if run.outcome == "succeeded"]
        wasted = [run for run in fresh if run.outcome not in {"succeeded", "failed"}]
        sums = {
            "items": len(made),
            "work": sum(run.item.work for run in made),
            "gpu_seconds": sum(run.record.gpu_seconds for run in made),
            "files": sum(len(run.record.files) for run in made),
            "file_bytes": sum(file.size_bytes for run in made for file in run.record.files),
            "wasted_runs": len(wasted),
            "wasted_gpu_seconds": sum(run.record.gpu_seconds for run in wasted),
        }
        values = {name: PODS.c[name] + value for name, value in sums.items() if value}
        if values:
            connection.execute(sa.update(PODS).where(PODS.c.batch == batch, PODS.c.name == pod).values(values))

    def _measure(self, connection: sa.Connection, batch: int, gpu: str, made: Sequence[_Run]) -> None:
        """Add what this type of GPU has done, by kind of work."""
        groups = self.book(batch).groups
        kinds: dict[str, list[_Run]] = {}
        for run in made:
            kinds.setdefault(kind_of(groups[run.item.group_number]), []).append(run)
        for kind, runs in sorted(kinds.items()):
            sums = {
                "items": len(runs),
                "work": sum(run.item.work for run in runs),
                "gpu_seconds": sum(run.record.gpu_seconds for run in runs),
                "load_seconds": sum(run.record.load_seconds for run in runs),
            }
            first = insert(self._database, SPEEDS).values(batch=batch, gpu=gpu, kind=kind, **sums)
            grown = {name: SPEEDS.c[name] + value for name, value in sums.items()}
            connection.execute(first.on_conflict_do_update(index_elements=["batch", "gpu", "kind"], set_=grown))


_KINDS = ("accepted", "already", "refused")
_ERROR_FIELDS = frozenset({"code", "message", "retryable"})


def _moves(runs: Sequence[_Run]) -> Moves:
    return Counter((run.item.group_number, run.item.state, run.outcome or run.item.state) for run in runs)


def _outcome(record: Record, item: sa.Row[Any], pod: str, state: str) -> ItemState | None:
    """What a record makes of its item."""
    if item.state == "succeeded":
        return None
    if record.status == "succeeded":
        return "succeeded"
    if item.state != "leased" or item.pod != pod:
        return None
    is_retryable = bool((record.error or {}).get("retryable"))
    if is_retryable and item.failures + 1 < MOST_FAILURES:
        return "cancelled" if state == "cancelled" else "waiting"
    return "failed"


def _are_its_own(record: Record, item: sa.Row[Any]) -> bool:
    """Whether the record's files lie where this item's files are: below its name or identifier."""
    names = (item.name, item.identifier) if item.name else (item.identifier,)
    return all(_is_below(file.name, names) for file in record.files)


def _is_below(path: str, names: Sequence[str]) -> bool:
    rest = next((path[len(name) + 1 :] for name in names if path.startswith(f"{name}/")), "")
    return bool(rest) and not {"", ".", ".."}.intersection(rest.split("/"))
