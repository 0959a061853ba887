"""What is opened in a thread is closed, even if nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from io import FileIO
from pathlib import Path

import pytest

from comfypod.files.opening import opened


async def test_it_is_open_inside_and_closed_outside(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    async with opened(lambda: FileIO(path)) as file:
        assert file.read() == b"1"
    assert file.closed


async def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with opened((tmp_path / "none").open):
            pytest.fail("there is nothing to read")


async def test_who_leaves_while_it_is_being_opened_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    begun, may_open, files = threading.Event(), threading.Event(), list[FileIO]()

    def open_slowly() -> FileIO:
        begun.set()
        may_open.wait(20)
        files.append(FileIO(path))
        return files[0]

    async def read() -> None:
        async with opened(open_slowly):
            pytest.fail("it was cancelled before")

    reading = asyncio.create_task(read())
    await asyncio.to_thread(begun.wait, 20)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    may_open.set()
    async with asyncio.timeout(20):
        while not (files and files[0].closed):
            await asyncio.sleep(0.01)
