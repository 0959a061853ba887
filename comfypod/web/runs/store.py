"""Runs on disk: ``visitors/VISITOR/runs/RUN/`` with ``run.json``, ``workflow.json``, and in ``files/`` what it made.

All calls but those on the ledger work on the disk, so they belong into threads; several at once are all right.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from comfypod.errors import RunNotFound, SavingFailed
from comfypod.logs import event
from comfypod.web.disk import folder_bytes, remove_folder, remove_leftovers, write_whole
from comfypod.web.documents import Document, Run
from comfypod.web.identifiers import checked_visitor_id, is_item_id, is_visitor_id
from comfypod.web.runs.ledger import Kept, Ledger

RUN_FILE, WORKFLOW_FILE, FILES_FOLDER = "run.json", "workflow.json", "files"


class StoredRun(Document):
    """A run, and what only this server needs of it.

    ``endpoint_url`` is where it was asked for. ``sent_at`` is set before its job is sent, and unset if that certainly
    had no effect: a run that has neither it nor a job id was never sent. ``paths`` are those of the outputs that are
    files, below the run's folder, by index.
    """

    run: Run
    endpoint_url: str
    request_key: str | None = None
    sent_at: datetime | None = None
    paths: dict[int, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose run, and which."""

    visitor_id: str
    run_id: str


class RunStore:
    """The runs of all visitors below ``folder``. Call `open` first."""

    def __init__(self, folder: Path, runs_kept: int, bytes_kept: int) -> None:
        self._folder = folder
        self._ledger = Ledger(runs_kept, bytes_kept)
        self._keys: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def open(self) -> list[tuple[Place, StoredRun]]:
        """Look what there is; return the runs that have not ended, the oldest first. Broken ones are left alone."""
        going_on: list[tuple[Place, StoredRun]] = []
        for place in sorted(self._places(), key=lambda place: place.run_id):
            try:
                stored = self._read(place)
            except (OSError, ValidationError, ValueError) as error:
                event("run_unreadable", logging.WARNING, run=place.run_id, cause=type(error).__name__)
                continue
            self._note(place, stored)
            if not stored.run.has_ended:
                going_on.append((place, stored))
        return going_on

    def create(self, place: Place, stored: StoredRun, workflow: Any) -> None:  # noqa: ANN401 (any JSON)
        """Write a new run; afterwards it survives a restart.

        Raises:
            SavingFailed: it could not be written, and is not there.
        """
        folder = self.folder(place)
        try:
            write_whole(folder / WORKFLOW_FILE, json.dumps(workflow).encode())
            self.write(place, stored)
        except SavingFailed:
            remove_folder(folder)
            raise

    def write(self, place: Place, stored: StoredRun) -> None:
        """Write what has changed.

        Raises:
            SavingFailed: the file is as it was before.
        """
        write_whole(self.folder(place) / RUN_FILE, stored.model_dump_json().encode())
        self._note(place, stored)

    def read(self, place: Place) -> StoredRun:
        """A run as it was written last.

        Raises:
            RunNotFound: this visitor has no such run.
        """
        if not self.has(place):
            raise RunNotFound(place.run_id)
        try:
            return self._read(place)
        except (OSError, ValidationError, ValueError) as error:
            raise RunNotFound(place.run_id) from error

    def workflow(self, place: Place) -> Any:  # noqa: ANN401 (any JSON)
        """What the run was asked to run: a workflow, or a template's name.

        Raises:
            RunNotFound: it is not there.
        """
        try:
            return json.loads((self.folder(place) / WORKFLOW_FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise RunNotFound(place.run_id) from error

    def remove(self, place: Place) -> None:
        """Remove a run and its files.

        Raises:
            SavingFailed: the file system does not let it go.
        """
        remove_folder(self.folder(place))
        with self._lock:
            self._ledger.forget(place.visitor_id, place.run_id)
            self._keys = {key: run_id for key, run_id in self._keys.items() if run_id != place.run_id}

    def make_room(self) -> list[Place]:
        """Remove the oldest ended runs while there are too many, or too much; return which."""
        with self._lock:
            excess = [Place(item.visitor_id, item.item_id) for item in self._ledger.excess()]
        removed = []
        for place in excess:
            try:
                self.remove(place)
            except SavingFailed as error:
                event("run_not_removed", logging.WARNING, run=place.run_id, cause=error.cause)
            else:
                removed.append(place)
        return removed

    def has(self, place: Place) -> bool:
        """Whether there is such a run."""
        with self._lock:
            return is_item_id(place.run_id) and self._ledger.has(place.visitor_id, place.run_id)

    def newest_first(self, visitor_id: str) -> list[str]:
        """The ids of a visitor's runs."""
        with self._lock:
            return self._ledger.of_visitor(visitor_id)

    def with_key(self, visitor_id: str, request_key: str) -> str | None:
        """The id of the run that a visitor asked for with this key."""
        with self._lock:
            return self._keys.get((visitor_id, request_key))

    def folder(self, place: Place) -> Path:
        """Where a run's files are.

        Raises:
            RunNotFound: this can be no run's id.
        """
        if not is_item_id(place.run_id):
            raise RunNotFound(place.run_id)
        return self._folder / "visitors" / checked_visitor_id(place.visitor_id) / "runs" / place.run_id

    def _places(self) -> Iterator[Place]:
        for runs in self._folder.glob("visitors/*/runs"):
            if is_visitor_id(runs.parent.name):
                remove_leftovers(runs)
                yield from (Place(runs.parent.name, path.name) for path in runs.iterdir() if is_item_id(path.name))

    def _read(self, place: Place) -> StoredRun:
        stored = StoredRun.model_validate_json((self.folder(place) / RUN_FILE).read_bytes())
        if stored.run.id != place.run_id:
            msg = "it is another run's"
            raise ValueError(msg)
        return stored

    def _note(self, place: Place, stored: StoredRun) -> None:
        size_bytes = folder_bytes(self.folder(place)) if stored.run.has_ended else 0
        with self._lock:
            self._ledger.note(Kept(place.visitor_id, place.run_id, size_bytes, stored.run.has_ended))
            if stored.request_key is not None:
                self._keys[place.visitor_id, stored.request_key] = place.run_id
