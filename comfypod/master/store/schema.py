"""The tables. DBOS's own lie in the same database, under other names, and are none of our business."""

from __future__ import annotations

import sqlalchemy as sa

from comfypod.master.fairness import PRIORITIES
from comfypod.master.states import QUEUED
from comfypod.master.store.columns import Document, Line, Moment

METADATA = sa.MetaData()

VERSION = sa.Table("comfypod_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))

REQUESTS = sa.Table(
    "comfypod_requests",
    METADATA,
    sa.Column("key", Line, primary_key=True),
    sa.Column("tenant", Line, nullable=False),
    sa.Column("user", Line, nullable=False, quote=True),
    sa.Column("idempotency_key", Line, nullable=False),
    sa.Column("content_hash", Line, nullable=False),
    sa.Column("workflow_hash", Line, nullable=False),
    sa.Column("priority", Line, nullable=False),
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("state", Line, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("queued_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("ended_at", Moment),
    sa.Column("cancel_requested_at", Moment),
    sa.Column("is_hinted", sa.Boolean, nullable=False),
    sa.Column("endpoint", Line),
    sa.Column("job_id", Line),
    sa.Column("worker_id", Line),
    sa.Column("trace_id", Line),
    sa.Column("timeout_seconds", sa.Float),
    sa.Column("progress", Document),
    sa.Column("output", Document),
    sa.Column("error", Document),
    sa.Column("labels", Document, nullable=False),
    sa.Column("origin", Document, nullable=False),
    sa.Column("notify", Document, nullable=False),
    sa.Column("timings", Document, nullable=False),
    sa.UniqueConstraint("tenant", "idempotency_key", name="comfypod_requests_once"),
)

# Requests pile up when they have ended; these two hold only those that have not.
_IS_QUEUED = REQUESTS.c.state == QUEUED
_IS_ACTIVE = REQUESTS.c.ended_at.is_(None)
sa.Index(
    "comfypod_requests_waiting",
    REQUESTS.c.turn,
    REQUESTS.c.key,
    sqlite_where=_IS_QUEUED,
    postgresql_where=_IS_QUEUED,
)
sa.Index(
    "comfypod_requests_active",
    REQUESTS.c.tenant,
    REQUESTS.c.user,
    REQUESTS.c.state,
    REQUESTS.c.turn,
    sqlite_where=_IS_ACTIVE,
    postgresql_where=_IS_ACTIVE,
)
sa.Index("comfypod_requests_by_tenant", REQUESTS.c.tenant, REQUESTS.c.key)
sa.Index("comfypod_requests_by_state", REQUESTS.c.state, REQUESTS.c.key)
sa.Index("comfypod_requests_by_age", REQUESTS.c.tenant, REQUESTS.c.created_at)
sa.Index("comfypod_requests_by_end", REQUESTS.c.ended_at)

# Apart, because every change of a row writes all of it anew, and this may be megabytes.
INPUTS = sa.Table(
    "comfypod_inputs",
    METADATA,
    sa.Column("key", Line, primary_key=True),
    sa.Column("job_input", Document, nullable=False),
    sa.Column("secrets", Document),  # the caller's keys for paid nodes, kept until the request ends
)

# What a list is narrowed down by: the digest of a label's name and value.
LABELS = sa.Table(
    "comfypod_labels",
    METADATA,
    sa.Column("label", Line, primary_key=True),
    sa.Column("key", Line, primary_key=True),
)
sa.Index("comfypod_labels_by_key", LABELS.c.key)

PREVIEWS = sa.Table(
    "comfypod_previews",
    METADATA,
    sa.Column("key", Line, primary_key=True),
    sa.Column("content_type", Line, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)

# One row, which every submission locks: numbers of turns, quotas and the length of the queue are exact.
TURNSTILE = sa.Table(
    "comfypod_turnstile",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(priority, sa.BigInteger, nullable=False) for priority in PRIORITIES),
)

OUTBOX = sa.Table(
    "comfypod_outbox",
    METADATA,
    sa.Column("identifier", Line, primary_key=True),
    sa.Column("key", Line, nullable=False),
    sa.Column("tenant", Line, nullable=False),
    sa.Column("kind", Line, nullable=False),
    sa.Column("event", Line, nullable=False),
    sa.Column("target", Document, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("owner", Line),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("due_at", Moment, nullable=False),  # also the end of a sender's lease
    sa.Column("delivered_at", Moment),
    sa.Column("dead_at", Moment),
    sa.Column("cause", Line),
)
_IS_OPEN = sa.and_(OUTBOX.c.delivered_at.is_(None), OUTBOX.c.dead_at.is_(None))
sa.Index("comfypod_outbox_open", OUTBOX.c.kind, OUTBOX.c.due_at, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN)
sa.Index("comfypod_outbox_by_key", OUTBOX.c.key)
sa.Index(
    "comfypod_outbox_dead",
    OUTBOX.c.kind,
    OUTBOX.c.dead_at,
    sqlite_where=OUTBOX.c.dead_at.is_not(None),
    postgresql_where=OUTBOX.c.dead_at.is_not(None),
)

LEASES = sa.Table(
    "comfypod_leases",
    METADATA,
    sa.Column("name", Line, primary_key=True),
    sa.Column("owner", Line, nullable=False),
    sa.Column("until", Moment, nullable=False),
)

MASTERS = sa.Table(
    "comfypod_masters",
    METADATA,
    sa.Column("name", Line, primary_key=True),
    sa.Column("instance", Line, nullable=False),
    sa.Column("version", Line, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("beat_at", Moment, nullable=False),
    sa.Column("wish", Line),
)

FAILURES = sa.Table(
    "comfypod_failures",
    METADATA,
    sa.Column("workflow_hash", Line, primary_key=True),
    sa.Column("worker_id", Line, primary_key=True),
    sa.Column("error_class", Line, primary_key=True),
    sa.Column("failed_at", Moment, nullable=False),
)
sa.Index("comfypod_failures_by_worker", FAILURES.c.worker_id, FAILURES.c.failed_at)

QUARANTINE = sa.Table(
    "comfypod_quarantine",
    METADATA,
    sa.Column("workflow_hash", Line, primary_key=True),
    sa.Column("reason", Line, nullable=False),
    sa.Column("since", Moment, nullable=False),
)

TENANTS = sa.Table(
    "comfypod_tenants",
    METADATA,
    sa.Column("name", Line, primary_key=True),
    sa.Column("quota", Document, nullable=False),
    sa.Column("webhook_url", Line),
    sa.Column("created_at", Moment, nullable=False),
)

ACCESS_KEYS = sa.Table(
    "comfypod_access_keys",
    METADATA,
    sa.Column("secret_hash", Line, primary_key=True),
    sa.Column("identifier", Line, nullable=False, unique=True),
    sa.Column("tenant", Line, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("revoked_at", Moment),
)
sa.Index("comfypod_access_keys_by_tenant", ACCESS_KEYS.c.tenant)

ASSETS = sa.Table(
    "comfypod_assets",
    METADATA,
    sa.Column("identifier", Line, primary_key=True),
    sa.Column("tenant", Line, nullable=False),
    sa.Column("hash", Line, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("content_type", Line, nullable=False),
    sa.Column("file_path", Line),
    sa.Column("bucket_key", Line, nullable=False),
    sa.Column("tags", Document, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment),
)
sa.Index("comfypod_assets_by_hash", ASSETS.c.tenant, ASSETS.c.hash)
sa.Index("comfypod_assets_by_expiry", ASSETS.c.expires_at)
sa.Index("comfypod_assets_by_bucket_key", ASSETS.c.bucket_key)

SECRETS = sa.Table(
    "comfypod_secrets",
    METADATA,
    sa.Column("name", Line, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
