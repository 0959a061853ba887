"""Who may use the GPU, in which order, and whose deadline counts meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from comfypod.deadline import Deadline
from comfypod.errors import ComfyUIUnavailable, OutOfMemory, PromptFailed
from comfypod.worker.slot import GPUSlot, Turn

UNAVAILABLE = ComfyUIUnavailable("execute", "it died")
OUT_OF_MEMORY = OutOfMemory("3", "KSampler", "torch.OutOfMemoryError", "Allocation on device", {})
BROKEN_GPU = PromptFailed("3", "KSampler", "RuntimeError", "CUDA error: an illegal memory access was encountered", {})
FAILED = PromptFailed("3", "KSampler", "ValueError", "no", {})


class Job:
    """A task that takes a turn, and stays in it until it is told how to end."""

    def __init__(self, slot: GPUSlot, arrival: int | None = None) -> None:
        self.deadline = Deadline.after(60)
        self.turn: Turn | None = None
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slot = slot
        self._arrival = slot.arrive() if arrival is None else arrival
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._slot.turn(self._arrival, self.deadline) as self.turn:
            await self.end

    async def finish(self, error: BaseException | None = None) -> None:
        if error is None:
            self.end.set_result(None)
        else:
            self.end.set_exception(error)
        await asyncio.wait([self.task])
        assert self.task.exception() is error

    @property
    def is_inside(self) -> bool:
        return self.turn is not None and not self.task.done()

    def start(self) -> None:
        assert self.turn is not None
        self.turn.start()


async def settle() -> None:
    """Let every task do what it can: none of them waits for anything but the others."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def jobs(number: int, slot: GPUSlot | None = None) -> Any:
    slot = slot or GPUSlot()
    made = [Job(slot) for _ in range(number)]
    await settle()
    yield made
    for item in made:
        item.task.cancel()
    await asyncio.wait([item.task for item in made])


def inside(made: list[Job]) -> list[int]:
    return [index for index, item in enumerate(made) if item.is_inside]


async def test_the_next_is_let_in_when_the_first_one_runs_and_no_third() -> None:
    async with jobs(4) as made:
        assert inside(made) == [0]
        made[0].start()
        await settle()
        assert inside(made) == [0, 1]
        made[1].start()  # one may run before the end of the one before was heard of
        await settle()
        assert inside(made) == [0, 1]
        await made[0].finish()
        await settle()
        assert inside(made) == [1, 2]


async def test_of_those_that_wait_the_first_to_have_come_goes_first() -> None:
    slot = GPUSlot()
    early, late = slot.arrive(), slot.arrive()
    async with jobs(1, slot) as made:
        second = Job(slot, late)
        await settle()
        first = Job(slot, early)  # it took longer to be ready
        await settle()
        await made[0].finish()
        await settle()
        assert (first.is_inside, second.is_inside) == (True, False)
        await first.finish()
        await settle()
        assert second.is_inside
        await second.finish()


async def test_a_deadline_counts_only_while_nobody_is_before() -> None:
    async with jobs(3) as made:
        made[0].start()
        await settle()
        left = [item.deadline.remaining_seconds for item in made]
        await asyncio.sleep(0.02)
        now = [item.deadline.remaining_seconds for item in made]
        assert now[0] < left[0]
        assert now[1:] == left[1:]  # one is in ComfyUI's queue, one is not
        await made[0].finish()
        await asyncio.sleep(0.02)
        assert made[1].deadline.remaining_seconds < left[1]
        assert made[2].deadline.remaining_seconds == left[2]


@pytest.mark.parametrize("who", [0, 1, 2])
async def test_a_job_may_be_cancelled_at_every_step_and_the_others_go_on(who: int) -> None:
    async with jobs(4) as made:
        made[0].start()
        await settle()
        made[who].task.cancel()
        await asyncio.wait([made[who].task])
        assert made[who].task.cancelled()
        left = made[who].deadline.remaining_seconds
        await asyncio.sleep(0.02)
        assert made[who].deadline.remaining_seconds < left  # its clean-up has a deadline again
        others = [item for index, item in enumerate(made) if index != who]
        for item in others:
            await settle()
            item.start()
            await item.finish()


@pytest.mark.parametrize("trouble", [UNAVAILABLE, OUT_OF_MEMORY, BROKEN_GPU], ids=lambda error: error.code)
async def test_after_trouble_jobs_go_one_by_one_until_one_has_succeeded(trouble: BaseException) -> None:
    async with jobs(5) as made:
        await made[0].finish(trouble)
        await settle()
        made[1].start()
        await settle()
        assert inside(made) == [1]
        await made[1].finish(FAILED)  # a workflow's own fault says nothing of ComfyUI
        await settle()
        made[2].start()
        await settle()
        assert inside(made) == [2]
        await made[2].finish()
        await settle()
        made[3].start()
        await settle()
        assert inside(made) == [3, 4]


async def test_a_turn_knows_whether_it_came_behind_another_one_and_when_it_is_the_first() -> None:
    async with jobs(2) as made:
        made[0].start()
        await settle()
        first, second = (item.turn for item in made)
        assert first is not None
        assert second is not None
        assert (first.came_behind, second.came_behind) == (False, True)
        assert (first.is_first, second.is_first) == (True, False)
        await made[0].finish()
        await settle()
        assert (second.came_behind, second.is_first) == (True, True)
