"""The tables of batches. Moments are seconds since 1970, as in `comfypod.batch.documents`.

Whatever changes a batch's items first locks its row in ``batch_batches``: the changes of one batch come one after
another, and the counts of its groups and pods are exact.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from comfypod.master.store.columns import Document, Line
from comfypod.master.store.migrations import Tables

METADATA = sa.MetaData()

VERSION = sa.Table("batch_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))

BATCHES = sa.Table(
    "batch_batches",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),  # what the other tables call it: a million rows have it
    sa.Column("identifier", Line, nullable=False, unique=True),
    sa.Column("label", Line, nullable=False),
    sa.Column("state", Line, nullable=False),
    sa.Column("note", Line),  # why it is paused, or was cancelled
    sa.Column("provider", Line, nullable=False),
    sa.Column("plan", Document, nullable=False),
    sa.Column("offers", Document, nullable=False),
    sa.Column("results", Document, nullable=False),
    sa.Column("lease_seconds", sa.Float, nullable=False),
    sa.Column("session_items", sa.Integer, nullable=False),
    sa.Column("deadline_at", sa.Float),
    sa.Column("budget_dollars", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),  # all items are there, and may be leased
    sa.Column("ended_at", sa.Float),
    sa.Column("next_row", sa.BigInteger, nullable=False),  # items of the rows below it are there
    sa.Column("owner", Line),  # the process that coordinates it
    sa.Column("beat_at", sa.Float),
    sa.Column("address", Document),
    sa.Column("sampled_at", sa.Float, nullable=False),
)

TOKENS = sa.Table(
    "batch_tokens",
    METADATA,
    sa.Column("token_hash", Line, primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False, index=True),
)

_COUNTS: Final = ("waiting", "leased", "succeeded", "failed", "cancelled")

GROUPS = sa.Table(
    "batch_groups",
    METADATA,
    sa.Column("batch", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("assets", Document, nullable=False),
    sa.Column("work", sa.Float, nullable=False),  # of all its items
    *(sa.Column(name, sa.Integer, nullable=False) for name in _COUNTS),
)
# Written out in the statement, here and below: an index of some rows is used only where it can be seen to have them all
# (https://www.sqlite.org/partialindex.html), which no parameter shows.
HAS_WAITING: Final = GROUPS.c.waiting > sa.literal_column("0")
sa.Index(
    "batch_groups_waiting",
    GROUPS.c.batch,
    GROUPS.c.number,
    sqlite_where=HAS_WAITING,
    postgresql_where=HAS_WAITING,
)

# How many items of a group each pod of the plan is to make; ``taken``: leased to it, or recorded by it.
SHARES = sa.Table(
    "batch_shares",
    METADATA,
    sa.Column("batch", sa.Integer, primary_key=True),
    sa.Column("pod_number", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("group_number", sa.Integer, nullable=False),
    sa.Column("planned", sa.Integer, nullable=False),
    sa.Column("taken", sa.Integer, nullable=False),
)
sa.Index("batch_shares_by_group", SHARES.c.batch, SHARES.c.group_number)

ROWS: Final = 2**40
"""More than a batch has."""


def key_of(batch: int, row: int) -> int:
    """The key of an item: of its batch and its row.

    One number: where the batch came first in a key of two, SQLite would take all items of the batch for few, and look
    through a million of them (https://www.sqlite.org/fileformat2.html, "The sqlite_stat1 table", has the guesses).
    """
    return batch * ROWS + row


def _key_column() -> sa.Column[int]:
    # In SQLite only a column of this very type is the row's own number.
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("key", kind, primary_key=True, autoincrement=False)


ITEMS = sa.Table(
    "batch_items",
    METADATA,
    _key_column(),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("identifier", Line, nullable=False),
    sa.Column("group_number", sa.Integer, nullable=False),
    sa.Column("work", sa.Float, nullable=False),
    sa.Column("state", Line, nullable=False),
    sa.Column("pod", Line),  # that has its lease, or whose record counts
    sa.Column("pod_number", sa.Integer),  # whose share it is taken from
    sa.Column("lease_until", sa.Float),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("avoid", Line),  # the pod on which it failed last
)
sa.Index("batch_items_once", ITEMS.c.batch, ITEMS.c.identifier, unique=True)
IS_WAITING: Final = ITEMS.c.state == sa.literal_column("'waiting'")
IS_LEASED: Final = ITEMS.c.state == sa.literal_column("'leased'")
sa.Index(
    "batch_items_waiting",
    ITEMS.c.batch,
    ITEMS.c.group_number,
    ITEMS.c.key,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)
sa.Index("batch_items_leased", ITEMS.c.batch, ITEMS.c.pod, sqlite_where=IS_LEASED, postgresql_where=IS_LEASED)
sa.Index("batch_items_due", ITEMS.c.batch, ITEMS.c.lease_until, sqlite_where=IS_LEASED, postgresql_where=IS_LEASED)

# Apart, because every change of a row writes all of it anew, and these do not change.
JOBS = sa.Table(
    "batch_jobs",
    METADATA,
    _key_column(),
    sa.Column("job", Document, nullable=False),
    sa.Column("assets", Document),  # None: its group's, in their order
    sa.Column("name", Line),
)

RECORDS = sa.Table(
    "batch_records",
    METADATA,
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),  # the item's
    sa.Column("pod", Line, primary_key=True),
    sa.Column("started_at", sa.Float, primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("told_at", sa.Float, nullable=False),
    sa.Column("status", Line, nullable=False),
    sa.Column("is_counted", sa.Boolean, nullable=False),  # it is how the item ended
    sa.Column("gpu_seconds", sa.Float, nullable=False),
    sa.Column("load_seconds", sa.Float, nullable=False),
    sa.Column("files", Document, nullable=False),
    sa.Column("code", Line),
    sa.Column("error", Document),
)
HAS_FAILED: Final = sa.and_(RECORDS.c.status == sa.literal_column("'failed'"), RECORDS.c.is_counted)
sa.Index(
    "batch_records_failed",
    RECORDS.c.batch,
    RECORDS.c.code,
    sqlite_where=HAS_FAILED,
    postgresql_where=HAS_FAILED,
)

PODS = sa.Table(
    "batch_pods",
    METADATA,
    sa.Column("batch", sa.Integer, primary_key=True),
    sa.Column("name", Line, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("provider", Line, nullable=False),
    sa.Column("identifier", Line),  # the provider's; None: it was asked for, and has not answered
    sa.Column("state", Line, nullable=False),
    sa.Column("offer", Document, nullable=False),
    sa.Column("bid_dollars_per_hour", sa.Float),
    sa.Column("dollars_per_hour", sa.Float, nullable=False),
    sa.Column("disk_bytes", sa.BigInteger, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("rented_at", sa.Float),
    sa.Column("hello_at", sa.Float),
    sa.Column("pulsed_at", sa.Float),
    sa.Column("ends_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("end_reason", Line),
    sa.Column("drain_reason", Line),  # it gets nothing more
    sa.Column("spare_since", sa.Float),  # there was nothing that it could take
    sa.Column("condition", Document),
    sa.Column("pulse", Document),
    sa.Column("sampled_at", sa.Float, nullable=False),
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("work", sa.Float, nullable=False),
    sa.Column("gpu_seconds", sa.Float, nullable=False),
    sa.Column("wasted_runs", sa.Integer, nullable=False),
    sa.Column("wasted_gpu_seconds", sa.Float, nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("file_bytes", sa.BigInteger, nullable=False),
)

# What each type of GPU has done of each kind of work: of runs that count, that succeeded.
SPEEDS = sa.Table(
    "batch_speeds",
    METADATA,
    sa.Column("batch", sa.Integer, primary_key=True),
    sa.Column("gpu", Line, primary_key=True),
    sa.Column("kind", Line, primary_key=True),
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("work", sa.Float, nullable=False),
    sa.Column("gpu_seconds", sa.Float, nullable=False),
    sa.Column("load_seconds", sa.Float, nullable=False),
)

# Over time; a pod's, or the batch's own, where ``pod`` is empty: then succeeded and failed are what counts.
SAMPLES = sa.Table(
    "batch_samples",
    METADATA,
    sa.Column("batch", sa.Integer, primary_key=True),
    sa.Column("pod", Line, primary_key=True),
    sa.Column("at", sa.Float, primary_key=True),
    sa.Column("values", Document, nullable=False, quote=True),
)

EVENTS = sa.Table(
    "batch_events",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("pod", Line),
    sa.Column("kind", Line, nullable=False),
    sa.Column("cause", Line),
)
sa.Index("batch_events_of", EVENTS.c.batch, EVENTS.c.number)

# What leads from each version to the next, as in `comfypod.master.store.migrations.STEPS`.
STEPS: Final[dict[int, tuple[str, ...]]] = {}
TABLES: Final = Tables(METADATA, VERSION, lambda _: None, "comfypod batch run")
