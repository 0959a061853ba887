"""``comfypod batch status | pause | resume | cancel``: over the database alone, from wherever that can be reached."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from comfypod.batch.documents import BatchState
from comfypod.batch.figures import figures
from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import Batch
from comfypod.batch.wording import in_dollars, in_time
from comfypod.cli.printing import write_json, write_line
from comfypod.cli.reports import print_table
from comfypod.errors import ConfigurationError

_SAID = {
    "paused": "Paused: nothing more is begun. Pods are kept for ten minutes, and cost meanwhile.",
    "running": "It goes on, as long as `comfypod batch run` coordinates it.",
    "cancelled": "Cancelled: its pods end, and what they have not delivered is lost.",
    "over": "It is over already.",
}


def show_status(database: str, batch: str | None, *, as_json: bool) -> None:
    """How far a batch is; or, without its identifier, all of them.

    Raises:
        BatchNotFound, StoreOutdated, StoreUnavailable, ConfigurationError: as `BatchStore.open`.
    """
    with closing(BatchStore.open(database)) as store:
        found = [store.find(batch)] if batch is not None else store.batches()
        documents = [status_of(store, item) for item in found]
    if as_json:
        for document in documents:
            write_json(document)
        return
    columns = ["batch", "manifest", "state", "made", "failed", "left", "pods", "spent", "planned", "ready in"]
    print_table(columns, [_row(document) for document in documents])


def status_of(store: BatchStore, batch: Batch) -> dict[str, Any]:
    """What ``status --json`` prints of a batch; durations in seconds, moments in seconds since 1970."""
    account, live = store.account(batch.number), store.pods(batch.number, live_only=True)
    found = figures(account)
    return {
        "batch": batch.identifier,
        "manifest": batch.label,
        "state": batch.state,
        "note": batch.note,
        "items": dict(account.items),
        "pods": len(live),
        "dollars": found.dollars,
        "planned_dollars": account.plan.dollars,
        "budget_dollars": batch.budget_dollars,
        "dollars_per_item": found.dollars_per_item,
        "finish_at": found.finish_at,
        "planned_finish_at": found.planned_finish_at,
        "deadline_at": batch.deadline_at,
        "ready_in_seconds": None if found.finish_at is None else max(0.0, found.finish_at - account.at),
        "idle_share": found.idle_share,
        "coordinator": batch.owner,
        "coordinator_heard_at": batch.beat_at,
    }


def change_state(database: str, batch: str | None, state: BatchState) -> None:
    """Pause a batch, let it go on, or cancel it; and say what that means.

    Raises:
        ConfigurationError: which of several batches is not said, and it is to be cancelled.
        BatchNotFound, StoreOutdated, StoreUnavailable: as `BatchStore.open`.
    """
    with closing(BatchStore.open(database)) as store:
        if batch is None and state == "cancelled" and len(store.batches(2)) > 1:
            raise ConfigurationError(["There are several batches; say which one is to be cancelled."])
        changed = store.change_state(store.find(batch).number, state, "by an operator" if state == "paused" else None)
    write_line(f"{changed.identifier}: {changed.state}. {_SAID[changed.state]}")


def _row(document: dict[str, Any]) -> list[str]:
    items = document["items"]
    ready = document["ready_in_seconds"]
    has_ended = document["state"] in {"over", "cancelled"}
    return [
        document["batch"],
        document["manifest"],
        document["state"] + (f" ({document['note']})" if document["note"] else ""),
        f"{items['succeeded']:,}",
        f"{items['failed']:,}",
        f"{items['waiting'] + items['leased']:,}",
        str(document["pods"]),
        in_dollars(document["dollars"]),
        in_dollars(document["planned_dollars"]),
        "" if has_ended or ready is None else in_time(ready),
    ]
