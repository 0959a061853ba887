"""What a pod has been given, has made, has delivered and has told, on its own disk: it survives the pod's process.

An item is ``leased``, then ``spooled`` (its files are whole, on disk), then ``delivered``, then ``recorded``: at the
coordinator, which is where it counts. What is spooled is never made again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, Literal

from comfypod.batch.documents import File, Item, Record
from comfypod.errors import DiskFailed

State = Literal["leased", "spooled", "delivered", "recorded"]
BUSY_SECONDS: Final = 10.0
_TABLES = """
CREATE TABLE IF NOT EXISTS items (
    place INTEGER PRIMARY KEY,
    identifier TEXT NOT NULL UNIQUE,
    item TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('leased', 'spooled', 'delivered', 'recorded')),
    record TEXT,
    paths TEXT NOT NULL DEFAULT '[]',
    metadata TEXT
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Made:
    """How an item ended on this pod, and where its files are: ``paths``, relative to the spool, of `files`."""

    record: Record
    paths: tuple[str, ...] = ()
    metadata: File | None = None
    """What is known of the result; it is sent last, and no record tells of it."""

    @property
    def files(self) -> tuple[File, ...]:
        """All that is to be sent, in the order of ``paths``."""
        return (*self.record.files, *([self.metadata] if self.metadata is not None else []))


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of the ledger; ``made`` is None while it is only leased."""

    item: Item
    state: State
    made: Made | None


class Ledger:
    """The ledger of one batch in an SQLite file; made if there is none. May be used from several threads.

    Every method writes to the disk before it returns (WAL, synchronous=FULL: sqlite.org/pragma.html).

    Raises:
        DiskFailed: also by every method: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        with _explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_TABLES)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def begin(self, batch: str) -> None:
        """From now on it is this batch's; what it knew of another one is forgotten."""
        with self._transaction() as connection:
            known = connection.execute("SELECT value FROM facts WHERE name = 'batch'").fetchone()
            if known != (batch,):
                connection.execute("DELETE FROM items")
                connection.execute("INSERT OR REPLACE INTO facts VALUES ('batch', ?)", (batch,))

    def entries(self, *states: State) -> list[Entry]:
        """All that are in one of these states, in the order in which they were leased."""
        return self._select(f"state IN ({', '.join('?' * len(states))})", states)

    def _select(self, condition: str, values: Sequence[str]) -> list[Entry]:
        columns = "item, state, record, paths, metadata"
        query = f"SELECT {columns} FROM items WHERE {condition} ORDER BY place"  # noqa: S608 (a constant, and marks)
        with self._lock, _explained():
            rows = self._connection.execute(query, values).fetchall()
        return [_entry(*row) for row in rows]

    def lease(self, items: Sequence[Item]) -> list[Entry]:
        """Note items that were given; returns those that are not to be made, for they have been made before.

        What was recorded already is ``delivered`` again: the coordinator does not know of it.
        """
        rows = [(item.identifier, item.model_dump_json()) for item in items]
        identifiers = [(item.identifier,) for item in items]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO items (identifier, item, state) VALUES (?, ?, 'leased')", rows
            )
            connection.executemany(
                "UPDATE items SET state = 'delivered' WHERE identifier = ? AND state = 'recorded'", identifiers
            )
        marks = ", ".join("?" * len(items))
        return self._select(f"state != 'leased' AND identifier IN ({marks})", [item.identifier for item in items])

    def spool(self, made: Made) -> None:
        """Note that an item was made; its files are on the disk by now, whole."""
        metadata = made.metadata.model_dump_json() if made.metadata is not None else None
        values = (made.record.model_dump_json(), json.dumps(made.paths), metadata, made.record.identifier)
        with self._transaction() as connection:
            connection.execute(
                "UPDATE items SET state = 'spooled', record = ?, paths = ?, metadata = ? "
                "WHERE identifier = ? AND state = 'leased'",
                values,
            )

    def make_again(self, identifier: str) -> None:
        """The files of a spooled item are gone, or not what they were: it is as if it had only been leased."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE items SET state = 'leased', record = NULL, paths = '[]', metadata = NULL "
                "WHERE identifier = ? AND state = 'spooled'",
                (identifier,),
            )

    def deliver(self, record: Record) -> None:
        """Note that the files are where they belong; the record tells of them as they are there."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE items SET state = 'delivered', record = ?, paths = '[]', metadata = NULL "
                "WHERE identifier = ? AND state = 'spooled'",
                (record.model_dump_json(), record.identifier),
            )

    def record(self, identifiers: Iterable[str]) -> None:
        """Note that the coordinator knows of them. Who failed is forgotten, so that another try may be given here."""
        given = [(identifier,) for identifier in identifiers]
        with self._transaction() as connection:
            connection.executemany("UPDATE items SET state = 'recorded' WHERE identifier = ?", given)
            connection.execute(
                "DELETE FROM items WHERE state = 'recorded' AND json_extract(record, '$.status') = 'failed'"
            )

    def give_back(self, identifiers: Iterable[str]) -> None:
        """They are leased to this pod no more; what was made of them stays."""
        given = [(identifier,) for identifier in identifiers]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM items WHERE identifier = ? AND state = 'leased'", given)

    def forget(self, identifiers: Iterable[str]) -> None:
        """Nobody wants them, made or not."""
        given = [(identifier,) for identifier in identifiers]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM items WHERE identifier = ?", given)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _entry(item: str, state: State, record: str | None, paths: str, metadata: str | None) -> Entry:
    if record is None:
        return Entry(Item.model_validate_json(item), state, None)
    about = File.model_validate_json(metadata) if metadata is not None else None
    made = Made(Record.model_validate_json(record), tuple(json.loads(paths)), about)
    return Entry(Item.model_validate_json(item), state, made)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise DiskFailed("the ledger", str(error)) from error
