"""Keeps the jobs of an emulated endpoint in one SQLite file, so that they outlive the process.

It protects against the end of the process, not against that of the machine: what `JobStore.save` has written is in the
file, but may not be on the disk yet. The file holds what clients sent, secrets included; only its owner may read it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.emulator.platform.job import Document, Job, JobState
from comfypod.emulator.platform.requests import JobRequest
from comfypod.emulator.platform.stream import StreamBuffer

_APPLICATION_ID = 0x63_70_6F_64  # "cpod", in the header of the file
_VERSION = 1
# What changes little is apart from what is large, because SQLite writes a row as a whole.
_SCHEMA = """
CREATE TABLE job (id TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE request (job_id TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE result (job_id TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE chunk (job_id TEXT, number INTEGER, output TEXT NOT NULL, PRIMARY KEY (job_id, number));
CREATE TABLE total (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""
_TABLES = {"job": "id", "request": "job_id", "result": "job_id", "chunk": "job_id"}
_STATE_FIELDS = (
    "sync",
    "submitted",
    "expires",
    "queued",
    "place",
    "state",
    "worker_id",
    "started",
    "finished",
    "seen",
    "retries",
    "is_webhook_due",
)
_REQUEST_FIELDS = (
    "input",
    "execution_seconds",
    "ttl_seconds",
    "is_low_priority",
    "webhook",
    "s3_config",
    "policy",
)


@dataclass(slots=True)
class _Kept:
    """What the file has of a job: this result, and the chunks with these numbers."""

    result: Document
    first: int
    end: int


class JobStore:
    """The file. Made and used by one thread; no other process may use the file meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            OSError: it cannot be opened, or another process uses it.
            ValueError: it is no file of this program, or of another version of it.
        """
        self._path = path
        self._kept: dict[str, _Kept] = {}
        self._totals: dict[str, int] = {}
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(path, isolation_level=None, timeout=0.0)
        try:
            with self._failures():
                self._set_up()
        except BaseException:
            self._database.close()
            raise

    def load(self) -> tuple[list[Job], dict[str, int]]:
        """Read every job, and the totals.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged.
        """
        with self._failures():
            self._totals = dict(self._database.execute("SELECT name, count FROM total"))
            try:
                jobs = self._read_jobs()
            except (KeyError, TypeError, ValueError) as error:
                raise self._damaged(error) from error
        self._kept = {job.id: _Kept(job.result, job.stream.first, job.stream.end) for job in jobs}
        return jobs, dict(self._totals)

    def save(self, changes: Mapping[str, Job | None], totals: Mapping[str, int]) -> None:
        """Keep changed jobs as they are now, and forget those that are gone (None); all of it, or nothing.

        Raises:
            OSError: it could not be written. Save the same changes again later.
            ValueError: the file is damaged.
        """
        with self._failures(), self._transaction():
            for job_id, job in changes.items():
                if job is None:
                    self._delete(job_id)
                else:
                    self._write(job)
            if dict(totals) != self._totals:
                self._database.executemany("INSERT OR REPLACE INTO total VALUES (?, ?)", totals.items())
        # Only now is it so.
        self._totals = dict(totals)
        for job_id, job in changes.items():
            if job is None:
                self._kept.pop(job_id, None)
            else:
                self._kept[job_id] = _Kept(job.result, job.stream.first, job.stream.end)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _set_up(self) -> None:
        # Locked for good: two emulators with the same jobs would run each of them twice.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            application_id, version = (self._read_number(name) for name in ("application_id", "user_version"))
            is_new = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
            if is_new and application_id == 0:
                for statement in _SCHEMA.split(";")[:-1]:
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
            elif application_id != _APPLICATION_ID:
                raise ValueError(f"{self._path} is a database of another program. Name another file.")
            elif version != _VERSION:
                raise ValueError(
                    f"{self._path} was written by another version of comfypod ({version}, not {_VERSION}). "
                    "Delete it, or name another file."
                )

    def _read_number(self, pragma: str) -> int:
        return int(self._database.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _read_jobs(self) -> list[Job]:
        requests, results = self._documents("request"), self._documents("result")
        chunks: dict[str, list[tuple[int, Any]]] = {}
        for job_id, number, output in self._database.execute("SELECT * FROM chunk ORDER BY job_id, number"):
            chunks.setdefault(job_id, []).append((number, json.loads(output)))
        return [
            _job(job_id, json.loads(state), requests[job_id], results[job_id], chunks.get(job_id, []))
            for job_id, state in self._database.execute("SELECT id, state FROM job")
        ]

    def _documents(self, table: str) -> dict[str, Any]:
        rows = self._database.execute(f"SELECT job_id, document FROM {table}")  # noqa: S608 (a name of ours)
        return {job_id: json.loads(document) for job_id, document in rows}

    def _write(self, job: Job) -> None:
        kept = self._kept.get(job.id)
        if kept is None:
            request = {name: getattr(job.request, name) for name in _REQUEST_FIELDS}
            self._put("request", job.id, request)
        if kept is None or kept.result is not job.result:
            self._put("result", job.id, job.result)
        state = {name: getattr(job, name) for name in _STATE_FIELDS}
        self._put("job", job.id, state)
        self._write_chunks(job, kept or _Kept({}, 0, 0))

    def _write_chunks(self, job: Job, kept: _Kept) -> None:
        stream = job.stream
        if (kept.first, kept.end) == (stream.first, stream.end):
            return
        self._database.execute("DELETE FROM chunk WHERE job_id = ? AND number < ?", (job.id, stream.first))
        self._database.executemany(
            "INSERT INTO chunk VALUES (?, ?, ?)",
            (
                (job.id, number, json.dumps(output))
                for number, output in enumerate(stream.chunks, stream.first)
                if not kept.first <= number < kept.end
            ),
        )

    def _put(self, table: str, job_id: str, document: Document) -> None:
        self._database.execute(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",  # noqa: S608 (a name of ours)
            (job_id, json.dumps(document)),
        )

    def _delete(self, job_id: str) -> None:
        for table, column in _TABLES.items():
            self._database.execute(f"DELETE FROM {table} WHERE {column} = ?", (job_id,))  # noqa: S608 (names of ours)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            self._database.rollback()
            raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """SQLite's errors as sentences about the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = " Another emulator uses it." if "locked" in str(error) else ""
            raise OSError(f"The state file {self._path} cannot be used: {error}.{hint}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ValueError:
        return ValueError(f"{self._path} is no state file, or is damaged ({error}). Delete it, or name another file.")


def _job(job_id: str, state: Document, request: Document, result: Document, chunks: list[tuple[int, Any]]) -> Job:
    first = chunks[0][0] if chunks else 0
    return Job(
        id=job_id,
        request=JobRequest(**request),
        result=result,
        stream=StreamBuffer(first, [output for _, output in chunks]),
        **(state | {"state": JobState(state["state"])}),
    )
