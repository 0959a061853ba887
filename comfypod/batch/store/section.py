"""What all parts of the store of batches have: the database, a clock, and how a batch is changed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from comfypod.batch.documents import Plan
from comfypod.batch.store.books import Book
from comfypod.batch.store.schema import BATCHES, GROUPS
from comfypod.errors import BatchNotFound
from comfypod.master.store.database import Database

Clock = Callable[[], float]
Value = TypeVar("Value")

AT_ONCE: Final = 500
"""So many values one statement names: both databases have a bound, and plans for long lists take time."""


class Section:
    """One part of the store's methods; ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock
        self._books: dict[int, Book] = {}

    def book(self, batch: int) -> Book:
        """What does not change of a batch once it has started; read once."""
        book = self._books.get(batch)
        if book is None:
            with self._database.read() as connection:
                plan = connection.scalar(sa.select(BATCHES.c.plan).where(BATCHES.c.number == batch))
                groups = dict(groups_of(connection, batch))
            book = self._books[batch] = Book.of(Plan.model_validate(plan), groups)
        return book

    @contextlib.contextmanager
    def _changing(self, batch: int) -> Iterator[tuple[sa.Connection, sa.Row[Any]]]:
        """A transaction in which nobody else changes the batch, with the batch's row but for its documents.

        Raises:
            BatchNotFound: it is gone.
        """
        with self._database.write() as connection:
            yield connection, self._locked(connection, batch)

    @staticmethod
    def _locked(connection: sa.Connection, batch: int) -> sa.Row[Any]:
        names = ("state", "lease_seconds", "session_items", "started_at", "sampled_at")
        columns = [BATCHES.c[name] for name in names]
        row = connection.execute(sa.select(*columns).where(BATCHES.c.number == batch).with_for_update()).first()
        if row is None:
            raise BatchNotFound(str(batch))
        return row


def groups_of(connection: sa.Connection, batch: int) -> list[tuple[int, tuple[str, ...]]]:
    """A batch's groups by number, with the files that each needs."""
    query = sa.select(GROUPS.c.number, GROUPS.c.assets).where(GROUPS.c.batch == batch).order_by(GROUPS.c.number)
    return [(row.number, tuple(row.assets)) for row in connection.execute(query)]


def chunks(values: Iterable[Value], size: int = AT_ONCE) -> Iterator[Sequence[Value]]:
    """The values, so many at a time."""
    chunk: list[Value] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
