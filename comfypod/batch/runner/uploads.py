"""Sends what is in the spool for as long as it takes, then tells the coordinator of it; nothing under two names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from comfypod.batch.documents import File
from comfypod.batch.runner.bell import Bell
from comfypod.batch.runner.coordinator import Coordinator
from comfypod.batch.runner.ledger import Ledger, Made
from comfypod.batch.runner.results import Results
from comfypod.batch.runner.spool import Spool
from comfypod.completion import to_the_end
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, CoordinatorRefused
from comfypod.logs import event
from comfypod.retry import backoff_seconds

UPLOADS_AT_ONCE: Final = 4
LONGEST_UPLOAD_SECONDS: Final = 3600.0
"""Of one try: it ends sooner when nothing moves (`SafeHTTP`, `Bucket`)."""
LONGEST_PAUSE_SECONDS: Final = 30.0
LONGEST_WAIT_TO_TELL_SECONDS: Final = 5.0
"""What is made is paid for until the coordinator knows of it."""
RECORDS_AT_ONCE: Final = 100


class Uploads:
    """The spool on its way out. `add` what was made, and let `run` run; what is told of is gone from the disk.

    ``on_lost`` is told of an item whose files are not what they were when they were made: it has to be made again.
    """

    def __init__(self, ledger: Ledger, spool: Spool, results: Results, coordinator: Coordinator, bell: Bell) -> None:
        self._ledger = ledger
        self._spool = spool
        self._results = results
        self._coordinator = coordinator
        self._bell = bell
        self._success = Bell()
        self._waiting: asyncio.Queue[Made] = asyncio.Queue()
        self._unsent: dict[str, int] = {}
        self._untold: dict[str, Made] = {}
        self.lost: list[str] = []

    @property
    def unsent_items(self) -> int:
        """How many are not where they belong."""
        return len(self._unsent)

    @property
    def unsent_bytes(self) -> int:
        """What they take on the disk."""
        return sum(self._unsent.values())

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Of all that the coordinator does not know of yet."""
        return (*self._untold, *self._unsent)

    @property
    def is_empty(self) -> bool:
        """Whether all is sent, and told."""
        return not self._unsent and not self._untold

    def add(self, made: Made) -> None:
        """Send this, which is in the ledger as spooled."""
        self._unsent[made.record.identifier] = self._spool.size_bytes(made)
        self._waiting.put_nowait(made)

    def add_delivered(self, made: Made) -> None:
        """Tell of this, which is where it belongs."""
        self._untold[made.record.identifier] = made
        self._bell.ring()

    async def run(self) -> None:
        """Send and tell until cancelled.

        Raises:
            CoordinatorRefused: nothing of this pod counts any more.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell())
                for _ in range(UPLOADS_AT_ONCE):
                    group.create_task(self._send_all())
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
            raise failure from failure.__cause__

    async def _send_all(self) -> None:
        while True:
            made = await self._waiting.get()
            identifier = made.record.identifier
            files = await self._send(made)
            if files is None:
                await self._lose(identifier)
                continue
            record = made.record.model_copy(update={"files": files})
            await to_the_end(self._insist(partial(self._ledger.deliver, record)))
            del self._unsent[identifier]
            self.add_delivered(Made(record))

    async def _send(self, made: Made) -> tuple[File, ...] | None:
        """Send the files of an item, however often it takes; as they are there now. None: they are lost here."""
        sent = []
        for file, relative in zip(made.files, made.paths, strict=True):
            pauses = backoff_seconds(longest=LONGEST_PAUSE_SECONDS)
            while (there := await self._store(relative, file)) is None:
                await self._success.wait(next(pauses))  # where one arrives, others may
                if not await asyncio.to_thread(self._spool.has, relative, file):
                    return None
            sent.append(there)
        return tuple(sent[: len(made.record.files)])

    async def _store(self, relative: str, file: File) -> File | None:
        try:
            there = await self._results.store(self._spool.path(relative), file, Deadline.after(LONGEST_UPLOAD_SECONDS))
        except ComfyPodError as error:
            event("result_waits", logging.WARNING, file=file.name, cause=error)
            return None
        self._success.ring()
        return there

    async def _lose(self, identifier: str) -> None:
        """Nothing that is wrong is ever sent: the item is made again."""
        event("result_lost", logging.ERROR, item=identifier)
        await self._insist(lambda: self._ledger.make_again(identifier))
        del self._unsent[identifier]
        self.lost.append(identifier)
        self._bell.ring()

    async def _tell(self) -> None:
        pauses = backoff_seconds(longest=LONGEST_WAIT_TO_TELL_SECONDS)
        while True:
            if not self._untold:
                await self._bell.wait(1.0)
                continue
            some = dict(list(self._untold.items())[:RECORDS_AT_ONCE])
            try:
                taken = await self._coordinator.records([made.record for made in some.values()])
            except CoordinatorRefused:
                raise
            except ComfyPodError as error:
                event("records_wait", logging.WARNING, records=len(self._untold), cause=error)
                await asyncio.sleep(next(pauses))
                continue
            pauses = backoff_seconds(longest=LONGEST_WAIT_TO_TELL_SECONDS)
            settled = {*taken.accepted, *taken.already, *taken.refused} & some.keys()
            if not settled:
                await asyncio.sleep(next(pauses))
            await to_the_end(self._forget(settled, set(taken.refused) & settled))

    async def _forget(self, settled: Iterable[str], refused: set[str]) -> None:
        """They are told of; a refused one is of no use to anybody."""
        if refused:
            event("records_refused", logging.WARNING, items=sorted(refused))
        known = set(settled) - refused
        await self._insist(lambda: self._ledger.record(known))
        await self._insist(lambda: self._ledger.forget(refused))
        for identifier in settled:
            self._untold.pop(identifier, None)
            await asyncio.to_thread(self._spool.discard, identifier)
        self._bell.ring()

    async def _insist(self, write: Callable[[], None]) -> None:
        """Write to the ledger, which a full disk may hold up until something has been sent."""
        pauses = backoff_seconds(longest=LONGEST_PAUSE_SECONDS)
        while True:
            try:
                await asyncio.to_thread(write)
            except ComfyPodError as error:
                event("ledger_waits", logging.WARNING, cause=error)
                await asyncio.sleep(next(pauses))
            else:
                return
