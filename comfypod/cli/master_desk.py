"""``comfypod master …``: what an operator sees of requests, and does with them. Everything goes over the database."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from comfypod.cli.display import printable
from comfypod.cli.printing import write_error, write_json, write_line
from comfypod.errors import ConfigurationError
from comfypod.master.documents import OutboxItem, Request
from comfypod.master.quotas import Quota
from comfypod.master.records import AccessKey
from comfypod.master.states import ACTIVE, ENDED, State
from comfypod.master.store import Store

PIPED_WIDTH = 250
SILENT_SECONDS = 30.0


@contextmanager
def opened(database: str) -> Iterator[Store]:
    """The store, while the body runs; nothing can be queued in it.

    Raises:
        StoreOutdated, StoreUnavailable, ConfigurationError: as `Store.open`.
    """
    store = Store.open(database)
    try:
        yield store
    finally:
        store.close()


def show_status(database: str, *, as_json: bool) -> None:
    """How many requests are where, and which masters there are."""
    with opened(database) as store:
        now = datetime.now(UTC)
        masters = [
            {
                "name": item.name,
                "pid": item.pid,
                "state": "silent" if (now - item.beat_at).total_seconds() > SILENT_SECONDS else item.wish or "alive",
                "beat_seconds_ago": round((now - item.beat_at).total_seconds(), 1),
                "up_seconds": round((now - item.started_at).total_seconds()),
            }
            for item in store.masters()
        ]
        document = {
            "requests": dict(store.counts()),
            "masters": masters,
            "outbox": dict(store.outbox_counts()),
            "dead_letters": len(store.dead_letters()),
            "quarantined": {name: reason for name, (reason, _) in store.quarantines().items()},
        }
    if as_json:
        write_json(document)
        return
    _print_counts(document)
    _print_table(["master", "state", "pid", "beat", "up"], [_master_row(item) for item in masters])


def list_requests(database: str, states: Sequence[State], tenant: str | None, limit: int, *, as_json: bool) -> None:
    """Requests in these states, the newest first."""
    with opened(database) as store:
        requests = store.list(states=states or ACTIVE, tenant=tenant, limit=limit)
    if as_json:
        for request in requests:
            write_json(document_of(request))
        return
    columns = ["key", "state", "tenant", "user", "age", "attempt", "endpoint", "job"]
    _print_table(columns, [_request_row(request) for request in requests])


def states_of(names: Sequence[str]) -> list[State]:
    """States by their names.

    Raises:
        ConfigurationError: there is no such state.
    """
    known: dict[str, State] = {state: state for state in (*ACTIVE, *ENDED)}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ConfigurationError([f"There is no state {wrong[0]!r}; there are {', '.join(known)}."])
    return [known[name] for name in names]


def show_request(database: str, key: str) -> None:
    """All that is kept of a request, but its input and what only its front end may see; as JSON."""
    with opened(database) as store:
        request = store.get(key)
        document = {
            **document_of(request),
            "position": store.position(key),
            "outbox": [_letter(item) for item in store.outbox(key)],
            "quarantined": store.quarantined(request.workflow_hash),
        }
    write_line(json.dumps(document, indent=2))


def cancel_request(database: str, key: str) -> None:
    """Cancel a request, and say where it stands now."""
    with opened(database) as store:
        request = store.cancel(key)
    wanted = "" if request.is_ended else "; its master will cancel the job"
    write_line(f"{request.key} is {request.state}{wanted}")


def drain_masters(database: str, name: str | None) -> int:
    """Have masters finish what they have, take nothing new, and end. Exit code 1: there is none such."""
    with opened(database) as store:
        asked = store.ask_masters("drain", name)
    if not asked:
        write_error("No such master is there; `comfypod master status` shows them.")
        return 1
    write_line(f"{asked} {'master ends' if asked == 1 else 'masters end'} as soon as what runs has ended.")
    return 0


def add_key(database: str, tenant: str, quota: Quota | None, *, as_json: bool) -> None:
    """Make an API key; it is shown this once."""
    with opened(database) as store:
        secret = store.add_key(tenant, quota)
    if as_json:
        write_json({"tenant": tenant, "key": secret})
    else:
        write_line(secret)
        write_error("This is shown once: only a hash of it is kept.")


def list_keys(database: str, *, as_json: bool) -> None:
    """The API keys, without their secrets, and their tenants' quotas."""
    with opened(database) as store:
        quotas = {tenant.name: tenant.quota for tenant in store.tenants()}
        keys = store.keys()
    if as_json:
        for key in keys:
            quota = asdict(quotas.get(key.tenant, Quota()))
            write_json(
                {
                    "id": key.identifier,
                    "tenant": key.tenant,
                    "created_at": _moment(key.created_at),
                    "revoked_at": _moment(key.revoked_at),
                    "quota": quota,
                }
            )
        return
    columns = ["id", "tenant", "age", "state", "quota"]
    _print_table(columns, [_key_row(key, quotas.get(key.tenant, Quota())) for key in keys])


def revoke_key(database: str, identifier: str) -> None:
    """Have a key open nothing any more."""
    with opened(database) as store:
        store.revoke(identifier)
    write_line(f"{identifier} opens nothing any more.")


def list_dead(database: str, kind: str | None, *, as_json: bool) -> None:
    """What could not be told, and was given up."""
    with opened(database) as store:
        letters = store.dead_letters(kind)
    if as_json:
        for item in letters:
            write_json(_letter(item))
        return
    rows = [[item.identifier, item.kind, item.event, str(item.attempts), item.cause or ""] for item in letters]
    _print_table(["id", "kind", "event", "tries", "why"], rows)


def revive_dead(database: str, identifier: str) -> None:
    """Try a dead letter again."""
    with opened(database) as store:
        store.revive(identifier)
    write_line(f"{identifier} will be tried again.")


def document_of(request: Request) -> dict[str, Any]:
    """A request as operators may see it: neither its input, nor what its front end keeps, nor who is told how."""
    return {
        "key": request.key,
        "state": request.state,
        "tenant": request.tenant,
        "user": request.user,
        "idempotency_key": request.idempotency_key,
        "priority": request.priority,
        "run": request.run,
        "attempt": request.attempt,
        "endpoint": request.endpoint,
        "job_id": request.job_id,
        "worker_id": request.worker_id,
        "created_at": _moment(request.created_at),
        "started_at": _moment(request.started_at),
        "ended_at": _moment(request.ended_at),
        "cancel_requested_at": _moment(request.cancel_requested_at),
        "progress": request.progress,
        "error": request.error,
        "output": request.output,
        "timings": request.timings,
        "labels": request.labels,
        "trace_id": request.trace_id,
        "workflow_hash": request.workflow_hash,
    }


def _letter(item: OutboxItem) -> dict[str, Any]:
    return {
        "id": item.identifier,
        "key": item.key,
        "kind": item.kind,
        "event": item.event,
        "attempts": item.attempts,
        "created_at": _moment(item.created_at),
        "delivered_at": _moment(item.delivered_at),
        "dead_at": _moment(item.dead_at),
        "cause": item.cause,
    }


def _print_counts(document: dict[str, Any]) -> None:
    requests = ", ".join(f"{number} {state}" for state, number in sorted(document["requests"].items())) or "none"
    write_line(f"requests: {requests}")
    outbox = ", ".join(f"{number} {kind}" for kind, number in sorted(document["outbox"].items())) or "nothing"
    write_line(f"still to be told: {outbox}; given up: {document['dead_letters']}")
    for name, reason in document["quarantined"].items():
        write_line(printable(f"quarantined: {name}: {reason}"))


def _master_row(item: dict[str, Any]) -> list[str]:
    return [
        str(item["name"]),
        str(item["state"]),
        str(item["pid"]),
        f"{item['beat_seconds_ago']:.0f} s ago",
        _span(item["up_seconds"]),
    ]


def _request_row(request: Request) -> list[str]:
    return [
        request.key,
        request.state,
        request.tenant,
        request.user,
        _age(request.created_at),
        str(request.attempt),
        request.endpoint or "",
        request.job_id or "",
    ]


def _key_row(key: AccessKey, quota: Quota) -> list[str]:
    limits = ", ".join(f"{name} {limit}" for name, limit in asdict(quota).items() if limit is not None)
    return [key.identifier, key.tenant, _age(key.created_at), "revoked" if key.revoked_at else "good", limits]


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(moment: datetime) -> str:
    return _span((datetime.now(UTC) - moment).total_seconds())


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
