"""One pod's work on a batch, from what it is given to the last result that has arrived."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from comfypod.batch.documents import BatchState, Condition, Item, Orders, Pulse, Welcome
from comfypod.batch.runner.bell import Bell
from comfypod.batch.runner.coordinator import Coordinator
from comfypod.batch.runner.downloads import Downloads
from comfypod.batch.runner.generation import Generation
from comfypod.batch.runner.hand import Hand
from comfypod.batch.runner.ledger import Ledger, Made
from comfypod.batch.runner.making import Maker, Outcome
from comfypod.batch.runner.meter import GPUMeter
from comfypod.batch.runner.spool import Spool
from comfypod.batch.runner.uploads import Uploads
from comfypod.completion import to_the_end
from comfypod.errors import ComfyPodError, CoordinatorRefused, DiskFailed, PodUnfit
from comfypod.logs import event, log
from comfypod.retry import backoff_seconds

OVER: Final = "over"
OUTBID: Final = "outbid"
UNFIT: Final = "unfit: "
COMFYUI: Final = "comfyui: "
LONGEST_REASON: Final = 500
LOOK_SECONDS: Final = 1.0
LEAVE_SECONDS: Final = 30.0
"""Before the pod's end it stops to make, so that the last results are sent."""
LAST_SECONDS: Final = 3.0
"""Before the pod's end, and at most, for its last words."""
FLUSH_SECONDS: Final = 2.0
"""Of the 5 s between SIGTERM and SIGKILL (facts of the platform: docs.runpod.io, pods): results that can be sent."""
LONGEST_PAUSE_SECONDS: Final = 5.0
"""Between two questions to a coordinator that is away: the GPU may be waiting."""
STOP_SECONDS: Final = 1.0
"""For what runs on the GPU to be stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """How many items are made at a time (the next one waits in ComfyUI's queue); how often the pod tells of itself."""

    at_a_time: int = 2
    pulse_seconds: float = 5.0


class Runner:
    """What a pod does after it was welcomed. Run it once; `leave` may be called at any time.

    Args:
        condition: what the pod found of itself.
        welcome: the coordinator's answer to that.
        coordinator: open.
        ledger: begun for this batch.
        spool: where the worker's results go.
        downloads: which have been told what is ``missing``.
        uploads: of that ledger and spool.
        make_maker: returns when ComfyUI is ready; raises `ComfyPodError` if it will never be.
        bell: that of ``downloads`` and ``uploads``.
        options: numbers.
    """

    def __init__(
        self,
        condition: Condition,
        welcome: Welcome,
        coordinator: Coordinator,
        *,
        ledger: Ledger,
        spool: Spool,
        downloads: Downloads,
        uploads: Uploads,
        make_maker: Callable[[], Awaitable[Maker]],
        bell: Bell,
        options: RunnerOptions,
    ) -> None:
        self._condition = condition
        self._welcome = welcome
        self._coordinator = coordinator
        self._ledger = ledger
        self._spool = spool
        self._downloads = downloads
        self._uploads = uploads
        self._make_maker = make_maker
        self._bell = bell
        self._options = options
        self._hand = Hand()
        self._meter = GPUMeter()
        self._state: BatchState = welcome.state
        self._ends_at = welcome.ends_at
        self._lease_ends = 0.0
        self._no_more = False
        self._has_more = True
        self._is_ready = False
        self._reason: str | None = None
        self._hurry_until = math.inf
        self._leaving = asyncio.Event()
        self._generation = Generation(
            self._hand,
            downloads=downloads,
            ledger=ledger,
            spool=spool,
            uploads=uploads,
            bell=bell,
            may_begin=self._may_begin,
            look=self._look,
            on_made=self._count,
        )

    @property
    def ends_at(self) -> float:
        """When the pod ends, whatever it still has: as the coordinator said last."""
        return self._ends_at

    def leave(self, reason: str) -> None:
        """Begin nothing more, give back what is not made, send what can be sent, and end. The first reason counts.

        `OUTBID` leaves a few seconds, whatever the reason was.
        """
        if reason == OUTBID:
            self._hurry_until = time.monotonic() + FLUSH_SECONDS
        if self._reason is None:
            event("pod_leaves", reason=reason)
            self._reason = reason
            self._leaving.set()
        self._bell.ring()

    async def run(self) -> str:
        """Work until there is no more to do here, or it is told to leave; returns why it ended."""
        await self._take_up()
        making = [asyncio.create_task(self._guard(work)) for work in (self._lease, self._download, self._generate)]
        sending = asyncio.create_task(self._guard(self._uploads.run))
        telling = [asyncio.create_task(self._guard(work)) for work in (self._pulse, self._watch)]
        try:
            await self._leaving.wait()
            await self._stop(making)
            await self._end(sending)
        finally:
            await self._stop([*making, sending, *telling])
            self._generation.close()
        return self._reason or OVER

    @staticmethod
    async def _stop(tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_SECONDS)

    async def _take_up(self) -> None:
        """Go on where an earlier process of this pod was ended."""
        entries = await asyncio.to_thread(self._ledger.entries, "leased", "spooled", "delivered")
        kept = []
        for entry in entries:
            if entry.made is None:
                self._hand.add([entry.item])
            elif entry.state == "delivered":
                self._uploads.add_delivered(entry.made)
            elif await asyncio.to_thread(self._is_whole, entry.made):
                kept.append(entry.item.identifier)
                self._uploads.add(entry.made)
            else:
                await asyncio.to_thread(self._ledger.make_again, entry.item.identifier)
                self._hand.add([entry.item])
        await asyncio.to_thread(self._spool.clean, kept)
        if entries:
            event("pod_goes_on", leased=self._hand.waiting, unsent=len(kept))
            await self._tell()  # some of it may be others' by now

    def _is_whole(self, made: Made) -> bool:
        return all(map(self._spool.has, made.paths, made.files))

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one part; if it cannot go on, the pod ends, and says why."""
        try:
            await work()
        except PodUnfit as error:
            self.leave(f"{UNFIT}{error.problem}")
        except CoordinatorRefused as error:
            self.leave(f"refused: {error.problem}")
        except ComfyPodError as error:
            self.leave(f"{error.code}: {error}"[:LONGEST_REASON])
        except Exception as error:  # noqa: BLE001 (the boundary of a part: a paid machine must not stay and do nothing)
            log.exception("pod_failed")
            self.leave(f"internal: {type(error).__name__}")

    # What is given

    async def _lease(self) -> None:
        """Have enough in hand that the GPU need never wait for the coordinator."""
        pauses = backoff_seconds(longest=LONGEST_PAUSE_SECONDS)
        while not self._no_more:
            usable = self._downloads.usable
            if not self._wants_more(usable):
                await self._bell.wait(LOOK_SECONDS)
                continue
            wanted = max(1, self._welcome.session_items - self._hand.waiting)
            try:
                work = await self._coordinator.lease(wanted, usable, len(self._uploads.identifiers))
            except CoordinatorRefused:
                raise
            except ComfyPodError as error:
                event("lease_waits", logging.WARNING, cause=error)
                await asyncio.sleep(next(pauses))
                continue
            pauses = backoff_seconds(longest=LONGEST_PAUSE_SECONDS)
            self._obey_state(work.state)
            self._renew(work.lease_seconds)
            self._downloads.add(work.assets)
            self._has_more = bool(work.items)
            if work.items:
                await self._accept(work.items)
            elif not self._no_more:
                await self._wait_for_news(work.retry_seconds, len(usable))

    def _wants_more(self, usable: frozenset[str]) -> bool:
        few = self._hand.waiting <= self._welcome.session_items // 2
        return self._state == "running" and (few or self._hand.next(usable) is None)

    async def _wait_for_news(self, seconds: float, known: int) -> None:
        """Until it is time to ask again, there are more models, or less is in hand: then there may be items."""
        until = time.monotonic() + seconds
        in_hand = len(self._hand.identifiers)
        while (left := until - time.monotonic()) > 0 and len(self._downloads.usable) == known:
            if len(self._hand.identifiers) < in_hand:
                return
            await self._bell.wait(left)

    async def _accept(self, items: Sequence[Item]) -> None:
        try:
            made_before = await to_the_end(asyncio.to_thread(self._ledger.lease, items))
        except ComfyPodError as error:  # a full disk: what is in hand is made all the same, if it can be
            event("lease_not_noted", logging.WARNING, cause=error)
            made_before = []
        known = {entry.item.identifier for entry in made_before} | set(self._uploads.identifiers)
        for entry in made_before:
            if entry.state == "delivered" and entry.made and entry.item.identifier not in self._uploads.identifiers:
                self._uploads.add_delivered(entry.made)
        self._hand.add(item for item in items if item.identifier not in known)
        self._bell.ring()

    def _renew(self, seconds: float) -> None:
        self._lease_ends = time.monotonic() + seconds

    def _obey_state(self, state: BatchState) -> None:
        if state != self._state:
            event("batch_state", state=state)
        self._state = state
        self._no_more = self._no_more or state == "over"
        if state == "cancelled":
            self.leave("cancelled")
        self._bell.ring()

    # What is made

    async def _download(self) -> None:
        await self._downloads.run(self._ends_at)

    async def _generate(self) -> None:
        try:
            maker = await self._make_maker()
        except ComfyPodError as error:
            self.leave(f"{COMFYUI}{error}"[:LONGEST_REASON])
            return
        self._is_ready = True
        await self._generation.run(maker, self._options.at_a_time)

    def _may_begin(self) -> bool:
        """Leases that ran out may be others' by now: the next pulse tells."""
        return self._state != "paused" and self._reason is None and time.monotonic() < self._lease_ends

    # What is told

    async def _pulse(self) -> None:
        while True:
            await self._tell()
            await asyncio.sleep(self._options.pulse_seconds)

    async def _tell(self) -> None:
        try:
            await self._obey(await self._coordinator.pulse(self._told(is_leaving=False)))
        except CoordinatorRefused:
            raise
        except ComfyPodError as error:
            event("pulse_failed", logging.WARNING, cause=error)

    def _told(self, *, is_leaving: bool) -> Pulse:
        self._look()
        in_hand = self._hand.identifiers if is_leaving else (*self._hand.identifiers, *self._uploads.identifiers)
        return Pulse(
            in_hand=in_hand,
            present=tuple(sorted(self._downloads.usable)),
            downloading=dict(self._downloads.received),
            spool_items=self._uploads.unsent_items,
            spool_bytes=self._uploads.unsent_bytes,
            busy_seconds=self._meter.busy_seconds,
            idle_seconds=self._meter.idle_seconds,
            downloaded_bytes=self._downloads.downloaded_bytes,
            is_leaving=is_leaving,
        )

    async def _obey(self, orders: Orders) -> None:
        self._renew(self._welcome.lease_seconds)
        self._ends_at = orders.ends_at
        gone = self._hand.revoke(orders.revoked)
        if gone:
            event("leases_revoked", items=len(gone))
            await asyncio.to_thread(self._ledger.give_back, gone)
        self._obey_state(orders.state)

    def _count(self, outcome: Outcome) -> None:
        self._meter.work(outcome.made.record.gpu_seconds)
        if outcome.refresh_reason is not None:
            self.leave(f"{COMFYUI}{outcome.refresh_reason}"[:LONGEST_REASON])

    def _look(self) -> None:
        is_wanted = self._state == "running" and not self._no_more
        is_left = self._hand.waiting > 0 or (is_wanted and (self._has_more or not self._downloads.is_done))
        self._meter.look(time.monotonic(), making=self._hand.making, is_left=self._is_ready and is_left)

    # How it ends

    async def _watch(self) -> None:
        """Leave when all is done, or when it is time; and have made again what was lost on the way out."""
        while True:
            if time.time() >= self._ends_at - LEAVE_SECONDS:
                self.leave("ends_at")
            is_made = not self._hand.waiting and not self._hand.making
            if self._no_more and is_made and self._uploads.is_empty and not self._uploads.lost:
                self.leave(OVER)
            await self._take_back_lost()
            await self._bell.wait(LOOK_SECONDS)

    async def _take_back_lost(self) -> None:
        lost, self._uploads.lost = self._uploads.lost, []
        if lost:
            entries = await asyncio.to_thread(self._ledger.entries, "leased")
            self._hand.add(entry.item for entry in entries if entry.item.identifier in lost)

    async def _end(self, sending: asyncio.Task[None]) -> None:
        """Give back what is not made, send what can be sent, and say so."""
        reason = self._reason or OVER
        if reason.startswith("refused"):
            return
        given_back = self._hand.identifiers
        await self._say(self._coordinator.pulse(self._told(is_leaving=True)))  # its last figures, too
        for identifier in given_back:
            self._hand.drop(identifier)
        with suppress(DiskFailed):  # then they are revoked when this pod is started again
            await asyncio.to_thread(self._ledger.give_back, given_back)
        await self._flush(sending)
        if reason.startswith(UNFIT):
            problem = reason.removeprefix(UNFIT)
            await self._say(self._coordinator.hello(self._condition.model_copy(update={"problem": problem})))
        await self._say(self._coordinator.bye(reason, self._uploads.unsent_items))

    async def _flush(self, sending: asyncio.Task[None]) -> None:
        """Let uploads go on for as long as there is time, and anybody wants them."""
        while not self._uploads.is_empty and not sending.done() and self._state != "cancelled":
            left = min(self._hurry_until - time.monotonic(), self._ends_at - LAST_SECONDS - time.time())
            if left <= 0:
                return
            await self._bell.wait(min(LOOK_SECONDS, left))

    async def _say(self, words: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await words
        except (TimeoutError, ComfyPodError) as error:
            event("coordinator_not_told", logging.WARNING, cause=repr(error))
