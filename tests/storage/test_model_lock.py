"""The lock that workers on one volume share: who gets it, who loses it, and when a dead holder's is taken over."""

import asyncio
import json
from pathlib import Path

import pytest

from comfypod.deadline import Deadline
from comfypod.errors import DeadlineExceeded
from comfypod.storage.models.lock import Lease, LeaseLost, LeaseTimes, run_alone

TIMES = LeaseTimes(heartbeat_seconds=0.05, expiry_seconds=0.6, poll_seconds=0.02)


def soon() -> Deadline:
    return Deadline.after(10)


def is_empty(directory: Path) -> bool:
    return not list(directory.iterdir())


def held_elsewhere(path: Path) -> None:
    """A lock whose holder is on another machine."""
    path.write_text(json.dumps({"token": "theirs", "machine": "another", "guarded": True}))


class Waits:
    """Counts how often the caller was told that another holds the lock."""

    count = 0

    def __call__(self) -> None:
        self.count += 1


async def test_only_one_works_at_a_time(tmp_path: Path) -> None:
    working, most = 0, 0
    waits = Waits()

    async def work(_: Lease) -> None:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await asyncio.sleep(0.05)
        working -= 1

    lock = tmp_path / "lock"
    await asyncio.gather(*(run_alone(lock, work, soon(), waits, TIMES) for _ in range(4)))

    assert most == 1
    assert waits.count > 0
    assert not lock.exists()


async def test_a_holder_on_another_machine_that_is_silent_is_replaced(tmp_path: Path) -> None:
    lock, waits = tmp_path / "lock", Waits()
    held_elsewhere(lock)

    async def work(_: Lease) -> float:
        return asyncio.get_running_loop().time()

    started = asyncio.get_running_loop().time()
    worked = await run_alone(lock, work, soon(), waits, TIMES)

    assert worked - started >= TIMES.expiry_seconds
    assert is_empty(tmp_path)


async def test_a_holder_that_beats_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    lock, waits = tmp_path / "lock", Waits()
    held_elsewhere(lock)

    async def beat() -> None:
        while True:
            lock.touch()
            await asyncio.sleep(0.1)

    async def work(_: Lease) -> None:
        raise AssertionError

    beating = asyncio.create_task(beat())
    with pytest.raises(DeadlineExceeded, match="waiting for another worker's download"):
        await run_alone(lock, work, Deadline.after(2 * TIMES.expiry_seconds), waits, TIMES)
    beating.cancel()

    assert json.loads(lock.read_text())["token"] == "theirs"


async def test_who_lost_the_lock_stops_and_leaves_the_others(tmp_path: Path) -> None:
    lock, stopped = tmp_path / "lock", False

    async def work(_: Lease) -> None:
        nonlocal stopped
        lock.unlink()
        held_elsewhere(lock)
        try:
            await asyncio.sleep(10)
        finally:
            stopped = True

    with pytest.raises(LeaseLost):
        await run_alone(lock, work, soon(), Waits(), TIMES)

    assert stopped
    assert json.loads(lock.read_text())["token"] == "theirs"


async def test_work_that_takes_longer_than_the_lease_keeps_it(tmp_path: Path) -> None:
    lock, order = tmp_path / "lock", []

    async def long_work(lease: Lease) -> None:
        await asyncio.sleep(3 * TIMES.expiry_seconds)
        lease.confirm()
        order.append("first")

    async def second_work(_: Lease) -> None:
        order.append("second")

    first = asyncio.create_task(run_alone(lock, long_work, soon(), Waits(), TIMES))
    await asyncio.sleep(0.05)
    # Seen from another machine: only the heartbeat tells that the first one lives.
    lock.write_text(lock.read_text().replace('"machine": "', '"machine": "other-'))
    await run_alone(lock, second_work, soon(), Waits(), TIMES)
    await first

    assert order == ["first", "second"]


async def test_failures_of_the_work_pass_through_and_free_the_lock(tmp_path: Path) -> None:
    async def work(_: Lease) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_alone(tmp_path / "lock", work, soon(), Waits(), TIMES)
    assert is_empty(tmp_path)
