"""Takes requests: once for each idempotency key, within quotas, with a turn, and with the workflow that works on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, cast

import sqlalchemy as sa

from comfypod.errors import IdempotencyKeyReused, NotReplayable, QueueFull, QuotaExceeded
from comfypod.master.documents import NewRequest, Request, Submitted, digest, secrets_of, without_secrets, workflow_hash
from comfypod.master.keys import new_key
from comfypod.master.quotas import Quota
from comfypod.master.states import CANCELLED, FAILED, QUEUED
from comfypod.master.store.database import Database
from comfypod.master.store.quarantine import lift
from comfypod.master.store.reading import SHOWN, count_active, read, to_request
from comfypod.master.store.schema import INPUTS, LABELS, REQUESTS, TENANTS
from comfypod.master.store.section import Clock, Section, utc_now
from comfypod.master.store.texts import check
from comfypod.master.store.turns import Flow, next_turn, pass_turnstile

Enqueue = Callable[[sa.Connection, Request], None]
RETRY_SECONDS: Final = 5.0  # until somebody's request will have ended, perhaps
MAXIMUM_QUEUED: Final = 10_000


def enqueue_nothing(connection: sa.Connection, request: Request) -> None:
    """For tests and tools that work on the rows alone."""


class Submission(Section):
    """What begins a request, or begins it anew."""

    def __init__(
        self,
        database: Database,
        clock: Clock = utc_now,
        *,
        enqueue: Enqueue = enqueue_nothing,
        maximum_queued: int = MAXIMUM_QUEUED,
    ) -> None:
        super().__init__(database, clock)
        self._enqueue = enqueue
        self._maximum_queued = maximum_queued

    def submit(self, new: NewRequest) -> Submitted:
        """Take a request, or find it: it is made once, and its workflow with it, in one transaction.

        Raises:
            InvalidRequest: it cannot be kept as it is.
            IdempotencyKeyReused: the key stands for something else.
            QuotaExceeded: its tenant or user has as much as is allowed; nothing was written.
            QueueFull: too many wait; nothing was written.
            StoreUnavailable: the database does not answer. The request may be there: submit it again.
        """
        check(new)
        content_hash = new.content_hash()
        with self._database.write() as connection:
            virtual_times = pass_turnstile(connection)
            existing = _existing(connection, new, content_hash)
            if existing is not None:
                return Submitted(existing, is_new=False)
            now = self._clock()
            quota = _quota(connection, new.tenant)
            _check_quota(connection, new, quota, now)
            self._check_queue(connection)
            number = next_turn(connection, virtual_times, Flow(new.tenant, new.user, new.priority, quota.weight))
            request = _insert(connection, new, content_hash, number, now)
            self._enqueue(connection, request)
            return Submitted(request, is_new=True)

    def replay(self, key: str) -> Request:
        """Run a request anew that failed or was cancelled, and lift its workflow's quarantine.

        Its key stays: a result that was committed after all is found, and nothing is run.

        Raises:
            RequestNotFound: there is none of this key.
            NotReplayable: it has not ended, or succeeded.
        """
        with self._database.write() as connection:
            virtual_times = pass_turnstile(connection)
            old = read(connection, key)
            weight = _quota(connection, old.tenant).weight
            number = next_turn(connection, virtual_times, Flow(old.tenant, old.user, old.priority, weight))
            afresh = {**_AFRESH, "turn": number, "queued_at": self._clock()}
            changed = connection.execute(
                sa.update(REQUESTS)
                .where(REQUESTS.c.key == key, REQUESTS.c.state.in_([FAILED, CANCELLED]))
                .values(run=REQUESTS.c.run + 1, version=REQUESTS.c.version + 1, **afresh)
            )
            if not changed.rowcount:
                raise NotReplayable(key, old.state)
            lift(connection, old.workflow_hash)
            request = read(connection, key)
            self._enqueue(connection, request)
            return request

    def _check_queue(self, connection: sa.Connection) -> None:
        waiting = connection.scalar(sa.select(sa.func.count()).where(REQUESTS.c.state == QUEUED)) or 0
        if waiting >= self._maximum_queued:
            raise QueueFull(self._maximum_queued, RETRY_SECONDS)


_AFRESH: Final[dict[str, Any]] = {
    "state": QUEUED,
    "started_at": None,
    "ended_at": None,
    "cancel_requested_at": None,
    "is_hinted": False,
    "job_id": None,
    "worker_id": None,
    "progress": None,
    "output": None,
    "error": None,
    "timings": {},
}


def _existing(connection: sa.Connection, new: NewRequest, content_hash: str) -> Request | None:
    row = connection.execute(
        sa.select(*SHOWN, REQUESTS.c.content_hash).where(
            REQUESTS.c.tenant == new.tenant, REQUESTS.c.idempotency_key == new.idempotency_key
        )
    ).first()
    if row is None:
        return None
    if row.content_hash != content_hash:
        raise IdempotencyKeyReused(new.idempotency_key, row.key)
    return read(connection, row.key)


def _quota(connection: sa.Connection, tenant: str) -> Quota:
    found = connection.scalar(sa.select(TENANTS.c.quota).where(TENANTS.c.name == tenant))
    return Quota() if found is None else Quota.from_json(found)


def _check_quota(connection: sa.Connection, new: NewRequest, quota: Quota, now: datetime) -> None:
    at_once = ((quota.at_once, None, "at once"), (quota.user_at_once, new.user, "of one user at once"))
    for limit, user, words in at_once:
        if limit is not None and count_active(connection, new.tenant, user) >= limit:
            raise QuotaExceeded(f"{limit} requests {words}", RETRY_SECONDS)
    spans = ((quota.per_minute, timedelta(minutes=1), "a minute"), (quota.per_day, timedelta(days=1), "a day"))
    for limit, span, words in spans:
        if limit is not None:
            seconds = _seconds_until_room(connection, new.tenant, limit, now - span)
            if seconds is not None:
                raise QuotaExceeded(f"{limit} requests {words}", max(1.0, seconds))


def _seconds_until_room(connection: sa.Connection, tenant: str, limit: int, since: datetime) -> float | None:
    """Seconds until the request that takes the last place is out of the span; None if there is a place."""
    oldest = connection.scalar(
        sa.select(REQUESTS.c.created_at)
        .where(REQUESTS.c.tenant == tenant, REQUESTS.c.created_at > since)
        .order_by(REQUESTS.c.created_at.desc())
        .offset(limit - 1)
        .limit(1)
    )
    return None if oldest is None else cast("timedelta", oldest - since).total_seconds()


def _insert(connection: sa.Connection, new: NewRequest, content_hash: str, number: int, now: datetime) -> Request:
    key = new_key(now)
    values = {
        "key": key,
        "tenant": new.tenant,
        "user": new.user,
        "idempotency_key": new.idempotency_key,
        "content_hash": content_hash,
        "workflow_hash": workflow_hash(new.job_input),
        "priority": new.priority,
        "turn": number,
        "state": QUEUED,
        "run": 1,
        "attempt": 0,
        "version": 1,
        "created_at": now,
        "queued_at": now,
        "is_hinted": False,
        "trace_id": new.trace_id,
        "timeout_seconds": new.timeout_seconds,
        "labels": new.labels,
        "origin": new.origin,
        "notify": [item.to_json() for item in new.notify],
        "timings": {},
    }
    row = connection.execute(sa.insert(REQUESTS).values(values).returning(*SHOWN)).one()
    connection.execute(sa.insert(INPUTS).values(_input(key, new.job_input)))
    labels = [{"label": digest([name, value]), "key": key} for name, value in new.labels.items()]
    if labels:
        connection.execute(sa.insert(LABELS), labels)
    return to_request(row)


def _input(key: str, job_input: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "job_input": without_secrets(job_input), "secrets": secrets_of(job_input) or None}
