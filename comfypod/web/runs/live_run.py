"""A run that somebody follows: its newest state, in memory and on disk, and told to whoever watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from comfypod.cloud.jobs import PreviewImage
from comfypod.completion import to_the_end
from comfypod.errors import SavingFailed
from comfypod.logs import event
from comfypod.web.documents import PreviewNote, Run
from comfypod.web.runs.store import Place, RunStore, StoredRun

PREVIEW_TYPES = frozenset({"image/jpeg", "image/png", "image/webp"})
LARGEST_PREVIEW_BYTES = 4 * 1024**2

OnChange = Callable[[str, Run], None]
"""Hears the visitor's id and the run."""


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True, eq=False)
class LiveRun:
    """A run that has not ended, or whose end could not be written. Only the event loop's own thread may call it.

    ``woken`` is set when the one that follows it should look at it; ``unwritten`` is why the disk does not have its
    newest state, if it does not.
    """

    place: Place
    stored: StoredRun
    store: RunStore
    on_change: OnChange
    preview: PreviewImage | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    unwritten: SavingFailed | None = None
    _is_removed: bool = False
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def run(self) -> Run:
        """Its newest state."""
        return self.stored.run

    def show(self, **fields: Any) -> None:  # noqa: ANN401 (fields of the run)
        """Change fields of the run, and tell it; nothing is written."""
        run = self.run.changed(**fields)
        if run != self.run:
            self.stored = self.stored.changed(run=run)
            self.on_change(self.place.visitor_id, run)

    def show_preview(self, image: PreviewImage) -> None:
        """Have a new preview, if it is one."""
        is_picture = image.content_type in PREVIEW_TYPES and len(image.data) <= LARGEST_PREVIEW_BYTES
        if is_picture and (self.preview is None or image.data != self.preview.data):
            number = self.run.preview.number + 1 if self.run.preview else 1
            self.preview = image
            self.show(preview=PreviewNote(number=number, content_type=image.content_type))

    async def note(self, **fields: Any) -> None:  # noqa: ANN401 (fields of what is stored)
        """Change fields of what is stored beside the run, and write it."""
        self.stored = self.stored.changed(**fields)
        await self.write()

    async def write(self) -> None:
        """Write the newest state. A full disk is no reason to give a run up: it goes on in memory.

        A server that ends waits for it.
        """
        await to_the_end(self._write())

    async def _write(self) -> None:
        async with self._writing:  # the newest state is the last that is written
            if self._is_removed:
                return
            try:
                await asyncio.to_thread(self.store.write, self.place, self.stored)
            except SavingFailed as error:
                event("run_not_written", logging.WARNING, run=self.place.run_id, cause=error.cause)
                self.unwritten = error
            else:
                self.unwritten = None

    async def remove(self) -> None:
        """Remove it from the disk. Its end may be told and not be written yet: then it never will be.

        Raises:
            SavingFailed: the file system does not let it go.
        """
        async with self._writing:
            await asyncio.to_thread(self.store.remove, self.place)
            self._is_removed = True

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass, or less if it is woken."""
        try:
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        except TimeoutError:
            return
        self.woken.clear()
