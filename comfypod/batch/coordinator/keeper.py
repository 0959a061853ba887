"""Keeps as many pods as the plan has, as long as there is something to do; and in the end none.

What it decides follows from the database alone (`decisions`), so that a coordinator that was killed goes on where it
was: every pod is written down before it is asked for, and looked for by its name afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from logging import WARNING
from typing import Any, Final

from comfypod.batch.coordinator.decisions import decide, first_end
from comfypod.batch.coordinator.desk import Desk
from comfypod.batch.coordinator.renting import Renting
from comfypod.batch.coordinator.situation import (
    Action,
    Drain,
    End,
    MoveEnd,
    Patience,
    Pause,
    Rent,
    Situation,
    newest_of,
)
from comfypod.batch.documents import Pod
from comfypod.batch.providers.names import PodName
from comfypod.batch.store.books import Book
from comfypod.batch.store.records import Batch, BatchPod
from comfypod.errors import NoCapacity, PodNotFound, ProviderRefused, ProviderUnavailable, StoreUnavailable
from comfypod.logs import event

UNKNOWN_SECONDS: Final = 180.0
"""A pod that the provider does not list so long after it was asked for does not exist."""
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 300.0
FORCED_SECONDS: Final = 60.0

Told = Callable[[str, float], Mapping[str, str]]
"""The environment that tells a pod, by its name, where the coordinator is, and when it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperOptions:
    """How it keeps them.

    Args:
        owner: this process, for the batch's row.
        told: what each pod is told.
        tick_seconds: between two looks.
        listing_seconds: between two questions to the provider.
    """

    owner: str
    told: Told
    tick_seconds: float = 2.0
    listing_seconds: float = 10.0
    patience: Patience = field(default_factory=Patience)


class Keeper:
    """The pods of one batch. Call `run`; or, where time is told otherwise, `tick` again and again."""

    def __init__(
        self, desk: Desk, renting: Renting, options: KeeperOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self._desk = desk
        self._renting = renting
        self._options = options
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._blocked: dict[int, tuple[float, float]] = {}
        self._paused_at: float | None = None
        self._listed_at = float("-inf")
        self._is_stopping = False
        self._is_out_of_money = False
        self._refusal: ProviderRefused | None = None
        self._judged: set[str] = set()

    async def run(self, stop: asyncio.Event, end_now: asyncio.Event) -> None:
        """Keep pods until the batch is over, cancelled, or out of money, and all have ended.

        Args:
            stop: once set, pods finish what they are at, and none is rented any more; the batch may go on later.
            end_now: once set, all pods are ended at once.

        Raises:
            BatchInUse: another process has taken the batch over.
            ProviderRefused: no pod can be had, and there never was one.
        """
        while not end_now.is_set():
            self._is_stopping = stop.is_set()
            if await self._ticked():
                break
            waiting = [
                asyncio.ensure_future(item.wait()) for item in ((end_now,) if stop.is_set() else (stop, end_now))
            ]
            try:
                await asyncio.wait(waiting, timeout=self._options.tick_seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
        await self._end_all()

    async def tick(self, *, is_stopping: bool = False) -> bool:
        """Look once, and do what follows. Returns whether nothing is left to be kept."""
        self._is_stopping = is_stopping
        store, batch = self._desk.store, self._desk.batch
        await self._desk.ask(store.book, batch)  # from now on it is in memory
        await self._desk.ask(store.hold, batch, self._options.owner)
        await self._desk.ask(store.expire, batch)
        await self._desk.ask(store.sample_progress, batch)
        await self._compare()
        situation = await self._situation()
        actions = decide(situation)
        for action in actions:
            await self._act(action, situation)
        if actions or situation.live or self._tasks:
            return False
        if self._refusal is not None:
            raise self._refusal
        return situation.state in {"over", "cancelled"} or self._is_stopping or self._is_out_of_money

    async def settle(self) -> None:
        """Wait until what is under way with the provider has ended."""
        while self._tasks:
            await asyncio.wait([*self._tasks.values()])

    async def _ticked(self) -> bool:
        """A tick that bears that the database is away: pods work on meanwhile."""
        try:
            return await self.tick(is_stopping=self._is_stopping)
        except StoreUnavailable as error:
            event("waiting_for", WARNING, code=error.code, cause=str(error))
            return False

    async def _situation(self) -> Situation:
        store, batch = self._desk.store, self._desk.batch
        now = self._clock()
        row: Batch = await self._desk.ask(store.of, batch)
        if row.state != "paused":
            self._paused_at = None
        elif self._paused_at is None:
            self._paused_at = now
        blocked = {number for number, (until, _) in self._blocked.items() if until > now}
        return Situation(
            now=now,
            book=await self._desk.ask(store.book, batch),
            standing=await self._desk.ask(store.standing, batch),
            pods=tuple(await self._desk.ask(store.pods, batch)),
            budget_dollars=row.budget_dollars,
            deadline_at=row.deadline_at,
            blocked=frozenset(blocked),
            paused_seconds=0.0 if self._paused_at is None else now - self._paused_at,
            is_stopping=self._is_stopping,
            patience=self._options.patience,
        )

    async def _act(self, action: Action, situation: Situation) -> None:
        store, batch = self._desk.store, self._desk.batch
        match action:
            case Rent(number, is_urgent):
                await self._rent(number, situation, is_urgent=is_urgent)
            case Drain(pod, reason):
                await self._desk.ask(store.drain, batch, pod, reason)
            case End(pod, reason):
                self._do(pod, self._end(pod, reason))
            case MoveEnd(pod, ends_at):
                await self._desk.ask(store.set_end, batch, pod, ends_at)
            case Pause(note):
                event("batch_paused", WARNING, note=note)
                self._is_out_of_money = True
                await self._desk.ask(store.change_state, batch, "paused", note)

    async def _rent(self, number: int, situation: Situation, *, is_urgent: bool) -> None:
        """Write the pod down, and ask for it; what is under way counts as there."""
        store, batch = self._desk.store, self._desk.batch
        generation = 1 + newest_of(situation.pods)[number].generation if number in newest_of(situation.pods) else 0
        pod = situation.book.pods[number]
        identifier = situation.book.plan.batch
        name = str(PodName(identifier, number, generation))
        ends_at = first_end(situation, number)
        wish = self._renting.wish(identifier, pod, name, self._options.told(name, ends_at))
        await self._desk.ask(store.add_pod, batch, wish, generation, ends_at)
        work = situation.standing.work_left.get(number, 0.0)

        async def rent() -> None:
            try:
                granted = await self._renting.rent(wish, pod, work, is_urgent=is_urgent)
            except NoCapacity as error:
                self._block(number)
                await self._ended(name, f"no capacity: {error.problem}")
            except ProviderUnavailable as error:
                self._block(number)
                event("pod_unknown", WARNING, pod=name, cause=str(error))  # `_compare` finds out
            except ProviderRefused as error:
                self._block(number)
                if all(known.rented_at is None for known in situation.pods):
                    self._refusal = error
                await self._desk.ask(store.note, batch, "refused", str(error), name)
                await self._ended(name, f"refused: {error.problem}")
            else:
                await self._desk.ask(store.rented, batch, granted.pod, granted.wish)
                event("pod_rented", pod=name, gpu=granted.pod.gpu, dollars_per_hour=granted.pod.dollars_per_hour)

        self._do(name, rent())

    async def _end(self, name: str, reason: str) -> None:
        """End a pod, and write down that it has ended; it is tried again with the next look if it could not be."""
        pod = await self._known(name)
        if pod is None or pod.state == "ended":
            return
        await self._desk.ask(self._desk.store.end_pod, self._desk.batch, name, reason, ended=False)
        listed = await self._renting.pods(self._book.plan.batch)
        if listed is None:
            return
        for found in listed:
            if found.name == name and not await self._renting.end(found):
                return
        if pod.identifier is None and self._clock() - pod.asked_at < UNKNOWN_SECONDS and not listed:
            return  # it may come yet
        await self._ended(name, reason)

    async def _ended(self, name: str, reason: str, ended_at: float | None = None) -> None:
        await self._desk.ask(self._desk.store.end_pod, self._desk.batch, name, reason, ended=True, ended_at=ended_at)
        pod = await self._known(name)
        if pod is not None:
            event("pod_ended", pod=name, reason=pod.end_reason)
            self._judge(pod)

    async def _known(self, name: str) -> BatchPod | None:
        pods = await self._desk.ask(self._desk.store.pods, self._desk.batch)
        return next((pod for pod in pods if pod.name == name), None)

    def _judge(self, pod: BatchPod) -> None:
        """Ask for another type where pods of this one come to nothing; and not at once for the same again."""
        if pod.name in self._judged or pod.rented_at is None:
            return
        self._judged.add(pod.name)
        is_useful = pod.items > 0 or (pod.end_reason or "") in {"over", "stopped", "paused", "cancelled"}
        self._renting.judge(pod.offer, useful=is_useful)
        if is_useful:
            self._blocked.pop(pod.number, None)
        else:
            self._block(pod.number)

    def _block(self, number: int) -> None:
        """Rent nothing for this number for a while, twice as long each time."""
        _, last = self._blocked.get(number, (0.0, FIRST_PAUSE_SECONDS / 2))
        pause = min(2 * last, LONGEST_PAUSE_SECONDS)
        self._blocked[number] = (self._clock() + pause, pause)

    async def _compare(self) -> None:
        """Compare what is written down with what the provider has: pods that came, that went, and that nobody knows."""
        now = self._clock()
        if now - self._listed_at < self._options.listing_seconds:
            return
        identifier = self._book.plan.batch
        listed = await self._renting.pods(identifier)
        if listed is None:
            return
        self._listed_at = now
        pods = await self._desk.ask(self._desk.store.pods, self._desk.batch)
        rows = {pod.name: pod for pod in pods}
        found = {pod.name: pod for pod in listed}
        for name, pod in found.items():
            row = rows.get(name)
            if (row is None or row.state == "ended") and pod.state != "ended":
                self._do(name, self._end_stranger(pod))
            elif row is not None and row.identifier is None and row.state != "ended" and name not in self._tasks:
                await self._desk.ask(self._desk.store.rented, self._desk.batch, pod)
        for name, row in rows.items():
            if row.state != "ended" and name not in self._tasks:
                await self._compare_one(row, found.get(name), now)

    async def _compare_one(self, row: BatchPod, pod: Pod | None, now: float) -> None:
        if pod is not None and pod.state == "ended":
            self._do(row.name, self._end_dead(row, pod))
        elif pod is None and (row.identifier is not None or now - row.asked_at > UNKNOWN_SECONDS):
            await self._ended(row.name, "gone" if row.identifier is not None else "never came")

    async def _end_stranger(self, pod: Pod) -> None:
        event("pod_unknown", WARNING, pod=pod.name)
        await self._renting.end(pod)

    async def _end_dead(self, row: BatchPod, pod: Pod) -> None:
        """One that has ended by itself: it may still cost something while it is listed."""
        await self._ended(row.name, row.end_reason or pod.end_reason or "ended")
        await self._renting.end(pod)

    async def _end_all(self) -> None:
        """None is left behind: what is still there is ended, and looked for once more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        until = time.monotonic() + FORCED_SECONDS
        while time.monotonic() < until:
            pods = await self._desk.ask(self._desk.store.pods, self._desk.batch, live_only=True)
            listed = await self._renting.pods(self._book.plan.batch)
            alive = [pod for pod in listed or () if pod.state != "ended"]
            if listed is not None and not alive:
                for pod in pods:
                    await self._ended(pod.name, pod.drain_reason or "stopped")
                return
            done = await asyncio.gather(*(self._renting.end(pod) for pod in alive))
            if listed is None or not all(done):
                await asyncio.sleep(1.0)
        event("pods_left", WARNING, remedy="comfypod batch reconcile --end")

    @property
    def _book(self) -> Book:
        return self._desk.store.book(self._desk.batch)

    def _do(self, name: str, work: Any) -> None:  # noqa: ANN401 (a coroutine)
        """Have something done with a pod; one thing at a time for each."""
        if name in self._tasks:
            work.close()
            return

        async def guarded() -> None:
            try:
                await work
            except (StoreUnavailable, PodNotFound) as error:
                event("pod_not_kept", WARNING, pod=name, code=error.code, cause=str(error))
            finally:
                del self._tasks[name]

        self._tasks[name] = asyncio.create_task(guarded(), name=name)
