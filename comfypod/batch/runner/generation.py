"""Whatever is in hand and ready is made, some items at a time, while the disk has room."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from comfypod.batch.documents import Item
from comfypod.batch.runner.bell import Bell
from comfypod.batch.runner.downloads import Downloads
from comfypod.batch.runner.hand import Hand
from comfypod.batch.runner.ledger import Ledger
from comfypod.batch.runner.making import Maker, NoRoom, Outcome, failed_without
from comfypod.batch.runner.spool import Spool
from comfypod.batch.runner.uploads import Uploads
from comfypod.errors import ComfyPodError, PodUnfit
from comfypod.logs import event
from comfypod.worker.read_ahead import ReadAhead

LOOK_SECONDS: Final = 1.0
MOST_TRIES_WITHOUT_ROOM: Final = 3
NO_ROOM_SECONDS: Final = 5.0


class Generation:
    """Makes what is in ``hand``, and gives it to the ledger and to ``uploads``. `close` it in the end.

    Args:
        hand: shared with who leases.
        downloads: whose files items wait for.
        ledger: where an item is noted that was made.
        spool: where its files are.
        uploads: where it goes next.
        bell: rings when anything has changed.
        may_begin: whether another item may be begun now.
        look: called whenever an item begins or ends.
        on_made: told of every item that was made.
    """

    def __init__(
        self,
        hand: Hand,
        *,
        downloads: Downloads,
        ledger: Ledger,
        spool: Spool,
        uploads: Uploads,
        bell: Bell,
        may_begin: Callable[[], bool],
        look: Callable[[], None],
        on_made: Callable[[Outcome], None],
    ) -> None:
        self._hand = hand
        self._downloads = downloads
        self._ledger = ledger
        self._spool = spool
        self._uploads = uploads
        self._bell = bell
        self._may_begin = may_begin
        self._look = look
        self._on_made = on_made
        self._no_room_until = 0.0
        self._tries_without_room: dict[str, int] = {}
        self._ahead = ExitStack()
        self._read: set[str] = set()

    def close(self) -> None:
        """Read no more ahead."""
        self._ahead.close()

    async def run(self, maker: Maker, at_a_time: int) -> None:
        """Make items until cancelled.

        Raises:
            PodUnfit: the disk takes nothing, though there is nothing on it that could be sent.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_a_time):
                    group.create_task(self._make_all(maker))
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
            raise failure from failure.__cause__

    async def _make_all(self, maker: Maker) -> None:
        while True:
            item = await self._next()
            if item is None:
                self._look()
                await self._bell.wait(LOOK_SECONDS)
                continue
            event("item_begins", item=item.identifier)
            self._look()
            self._read_ahead()
            await self._make(maker, item)
            self._look()

    async def _next(self) -> Item | None:
        """The next item, if anything may be begun now."""
        if not self._may_begin() or time.monotonic() < self._no_room_until:
            return None
        if self._hand.next(self._downloads.usable) is None:
            return None
        if await asyncio.to_thread(self._spool.has_room):
            return self._hand.take(self._downloads.usable)
        if self._uploads.is_empty and not self._hand.making:
            raise PodUnfit("its disk is full, and no results of its own are on it")
        self._wait_for_room()
        return None

    def _wait_for_room(self) -> None:
        event("disk_is_full", logging.WARNING, unsent=self._uploads.unsent_items)
        self._no_room_until = time.monotonic() + NO_ROOM_SECONDS

    async def _make(self, maker: Maker, item: Item) -> None:
        missing = next((self._downloads.failed[key] for key in item.assets if key in self._downloads.failed), None)
        try:
            if missing is None:
                await maker.make(item, self._keep)
            else:
                await self._keep(Outcome(failed_without(item, missing)))
        except NoRoom:
            self._try_again(item)
        except asyncio.CancelledError:
            if item.identifier not in self._uploads.identifiers:
                self._hand.put_back(item.identifier)
            raise
        else:
            self._hand.drop(item.identifier)
            self._bell.ring()

    async def _keep(self, outcome: Outcome) -> None:
        """From now on it is never made again."""
        try:
            await asyncio.to_thread(self._ledger.spool, outcome.made)
        except ComfyPodError as error:
            raise NoRoom from error
        self._hand.drop(outcome.made.record.identifier)
        self._uploads.add(outcome.made)
        self._on_made(outcome)

    def _try_again(self, item: Item) -> None:
        """When there is room; unless the disk has some, and takes it all the same not."""
        self._spool.discard(item.identifier)
        self._hand.put_back(item.identifier)
        tries = self._tries_without_room.get(item.identifier, 0) + 1
        self._tries_without_room[item.identifier] = tries
        if tries >= MOST_TRIES_WITHOUT_ROOM and self._uploads.is_empty:
            raise PodUnfit("its disk does not take a result, though there is nothing else to be sent")
        self._wait_for_room()

    def _read_ahead(self) -> None:
        """Have the models of the next item of another kind in the page cache when its turn comes."""
        following = self._hand.next_others(self._downloads.present)
        new = [key for key in (following.assets if following else ()) if key not in self._read]
        paths = [path for key in new if (path := self._downloads.path(key)) is not None]
        self._read.update(new)
        if paths:
            self._ahead.close()
            self._ahead.enter_context(ReadAhead(paths))
