"""One worker at a time, also where several share a network volume: a lock file with a heartbeat.

The lock is the file's existence (``O_EXCL`` is atomic on every file system that is used for volumes). Two signs tell
whether its holder still lives. On the same machine: the kernel drops a dead process's ``flock``, so that the lock is
free at once after ``kill -9``. On another one: the holder touches the file every few seconds, and a file that stays
untouched for `LeaseTimes.expiry_seconds`, by the waiter's own clock, is taken over. A holder that comes back after
that, from a suspension, finds another's token in the file and gives its work up.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import platform
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError

Result = TypeVar("Result")


class LeaseLost(ComfyPodError):
    """The lock file is gone or another's: this process was away for longer than the lease lasts."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How often a holder touches its lock, when it counts as dead, and how often a waiter looks."""

    heartbeat_seconds: float = 5
    expiry_seconds: float = 60
    poll_seconds: float = 0.5


class Lease:
    """A lock that this process holds."""

    def __init__(self, path: Path, descriptor: int, token: str) -> None:
        self._path = path
        self._descriptor = descriptor
        self._token = token

    def confirm(self) -> None:
        """Look whether the lock is still ours; call it before a result is published.

        Raises:
            LeaseLost: it is gone, or another's.
            OSError: the volume does not answer.
        """
        try:
            ours = self._token in self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            ours = False
        if not ours:
            raise LeaseLost(f"another worker took {self._path.name} over")

    async def keep_alive(self, every_seconds: float) -> None:
        """Touch the lock until cancelled; raises `LeaseLost` when it is no longer ours."""
        while True:
            await asyncio.sleep(every_seconds)
            with contextlib.suppress(
                OSError
            ):  # a volume that hesitates once is no loss; waiters wait for several beats
                await asyncio.to_thread(self._beat)

    def _beat(self) -> None:
        self.confirm()
        os.utime(self._path)

    def release(self) -> None:
        """Let the next one in."""
        with contextlib.suppress(OSError, LeaseLost):
            self.confirm()
            self._path.unlink()
        os.close(self._descriptor)


async def run_alone(
    path: Path,
    work: Callable[[Lease], Awaitable[Result]],
    deadline: Deadline,
    on_wait: Callable[[], None],
    times: LeaseTimes,
) -> Result:
    """Run ``work`` while holding the lock file ``path``; ``on_wait`` is called as long as another holds it.

    Raises:
        DeadlineExceeded: another held it all the time.
        LeaseLost: the lock was lost during the work, which has been cancelled.
        OSError: the lock file cannot be made.
    """
    lease = await _acquire(path, deadline, on_wait, times)
    working = asyncio.ensure_future(work(lease))
    beating = asyncio.ensure_future(lease.keep_alive(times.heartbeat_seconds))
    both: list[asyncio.Future[Any]] = [working, beating]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            beating.result()
        return await working
    finally:
        working.cancel()
        beating.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        lease.release()


async def _acquire(path: Path, deadline: Deadline, on_wait: Callable[[], None], times: LeaseTimes) -> Lease:
    # The file operations are short and run on the loop: in a thread, a cancellation could come between
    # the lock and the knowledge of it.
    watch = _Watch(path, times.expiry_seconds)
    while True:
        lease = _create(path)
        if lease is not None:
            return lease
        if not (_remove_if_holder_died(path) or watch.remove_if_expired()):
            on_wait()
            deadline.check("waiting for another worker's download")
            await asyncio.sleep(deadline.sooner(times.poll_seconds))


def _create(path: Path) -> Lease | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    except FileExistsError:
        return None
    token = uuid.uuid4().hex
    # Locked first and named second: whoever finds a record finds it guarded already.
    record = {"token": token, "machine": _machine(path), "guarded": _guard(path, descriptor)}
    try:
        os.write(descriptor, json.dumps(record).encode())
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return Lease(path, descriptor, token)


def _guard(path: Path, descriptor: int) -> bool:
    """Take the ``flock`` and see whether it means anything: some network mounts grant it to everybody."""
    if not _try_flock(descriptor):
        return False
    other = os.open(path, os.O_RDWR)
    try:
        return not _try_flock(other)
    finally:
        os.close(other)


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another, or not supported there
        return False
    return True


def _remove_if_holder_died(path: Path) -> bool:
    """Whether the holder was of this machine and is dead; then its file is removed."""
    record = _read_record(path)
    if not record.get("guarded") or record.get("machine") != _machine(path):
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        if not _try_flock(descriptor) or not os.path.samestat(os.fstat(descriptor), path.stat()):
            return False
        path.unlink()
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


class _Watch:
    """Whether a lock file stays as it is for longer than a living holder would leave it."""

    def __init__(self, path: Path, expiry_seconds: float) -> None:
        self._path = path
        self._expiry_seconds = expiry_seconds
        self._seen: tuple[Any, int] | None = None
        self._since = time.monotonic()

    def remove_if_expired(self) -> bool:
        """Look once more; True when the file was removed."""
        try:
            look = (_read_record(self._path).get("token"), self._path.stat().st_mtime_ns)
        except OSError:
            return True  # it is gone
        if look != self._seen:
            self._seen, self._since = look, time.monotonic()
        if time.monotonic() - self._since < self._expiry_seconds:
            return False
        return self._remove(look[0])

    def _remove(self, token: object) -> bool:
        # Renaming lets one waiter win. Should another have removed it and locked anew in this very moment, then the new
        # lock was moved, and goes back.
        moved = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
        try:
            self._path.rename(moved)
            if _read_record(moved).get("token") == token:
                moved.unlink()
            else:
                moved.rename(self._path)
        except OSError:
            return False
        return True


def _read_record(path: Path) -> dict[str, Any]:
    """What the lock file says; nothing while it is being written, or when it is not there."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _machine(path: Path) -> str:
    """Names the kernel and the mount: where two processes have both in common, they see each other's ``flock``."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        kernel = ""
    return f"{platform.node()}:{kernel}:{path.parent.stat().st_dev}"
