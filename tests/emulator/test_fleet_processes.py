"""The processes of the fleet's workers: started clean, ended whole, replaced, and gone with the emulator."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.runpod import RunPodEmulator
from tests.emulator.fleet_site import is_gone
from tests.emulator.wire import Wire, until


def one_worker(command: list[str], **options: Any) -> FleetOptions:
    """A fleet of one worker, which is always there."""
    return FleetOptions(command=command, min_workers=1, max_workers=1, **options)


# A worker that ignores SIGTERM and leaves two children: one in its process group, one in a session of its own.
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
secret = os.environ.get("RUNPOD_API_KEY", "none")
lines = [os.getpid(), *(child.pid for child in children), secret, os.environ["HOME"], os.environ["RUNPOD_POD_ID"]]
temporary = pathlib.Path(sys.argv[1] + ".new")
temporary.write_text(" ".join(map(str, lines)))
temporary.rename(sys.argv[1])
time.sleep(600)
"""


def words(path: Path) -> list[str]:
    return path.read_text().split()


async def _read_words(path: Path) -> list[str]:
    await until(path.exists)
    return words(path)


async def test_stop_leaves_no_process_of_a_worker_that_ignores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    note = tmp_path / "note"
    emulator = RunPodEmulator(fleet=one_worker([sys.executable, "-c", STUBBORN, str(note)], stop_seconds=0.2))
    async with emulator:
        *pids, secret, home, worker_id = await _read_words(note)
        assert (secret, home) == ("none", os.environ["HOME"])
        assert emulator.fleet is not None
        assert list(emulator.fleet.workers) == [worker_id]
        assert not any(is_gone(int(pid)) for pid in pids)
    await until(lambda: all(is_gone(int(pid)) for pid in pids))


async def test_cancelled_stop_kills_at_once(tmp_path: Path) -> None:
    note = tmp_path / "note"
    emulator = RunPodEmulator(fleet=one_worker([sys.executable, "-c", STUBBORN, str(note)], stop_seconds=60))
    await emulator.start()
    pids = [int(word) for word in (await _read_words(note))[:3]]
    stopping = asyncio.create_task(emulator.stop())
    done, _ = await asyncio.wait([stopping], timeout=0.1)
    assert not done
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(stopping, 5)
    await until(lambda: all(map(is_gone, pids)))


async def test_worker_that_dies_is_replaced_with_everything_it_left(tmp_path: Path) -> None:
    note = tmp_path / "note"
    command = [sys.executable, "-c", STUBBORN, str(note)]
    async with RunPodEmulator(fleet=one_worker(command, stop_seconds=0.2)) as emulator:
        first = await _read_words(note)
        note.unlink()
        os.kill(int(first[0]), signal.SIGKILL)
        second = await _read_words(note)
        assert second[-1] != first[-1], "a replacement has an id of its own"
        await until(lambda: all(is_gone(int(pid)) for pid in first[:3]))
        assert emulator.fleet is not None
        assert emulator.fleet.failed_starts == 1


async def test_worker_that_cannot_start_is_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "print('no model', flush=True); raise SystemExit(3)"]
    async with RunPodEmulator(fleet=one_worker(command, log=log)) as emulator:
        fleet = emulator.fleet
        assert fleet is not None
        await until(lambda: fleet.failed_starts >= 2)
        assert log.read_text() == "no model\nno model\n"


async def test_worker_of_the_fleet_may_come_with_the_developers_key(
    tmp_path: Path,
) -> None:
    """runpod-python prefers the key in ~/.runpod/config.toml to RUNPOD_AI_API_KEY."""
    note = tmp_path / "note"
    command = [sys.executable, "-c", STUBBORN, str(note)]
    async with RunPodEmulator(fleet=one_worker(command, stop_seconds=0.2)) as emulator:
        worker_id = (await _read_words(note))[-1]
        async with aiohttp.ClientSession() as session:
            wire = Wire(emulator.base_url.removesuffix("/v2"), "rpa_real", session)
            assert (await wire.worker("GET", f"/ping/{worker_id}?x=1"))[0] == 200


KILLED = """
import asyncio, sys
from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.runpod import RunPodEmulator
async def main():
    fleet = FleetOptions(command=[sys.executable, "-c", sys.argv[1], sys.argv[2]], min_workers=1, max_workers=1)
    async with RunPodEmulator(fleet=fleet):
        await asyncio.sleep(600)
asyncio.run(main())
"""
NOTING = """
import os, pathlib, sys, time
temporary = pathlib.Path(sys.argv[1] + ".new")
temporary.write_text(str(os.getpid()))
temporary.rename(sys.argv[1])
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
async def test_worker_ends_with_an_emulator_that_was_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    emulator = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, NOTING, str(note))
    [pid] = map(int, await _read_words(note))
    assert not is_gone(pid)
    emulator.kill()
    await emulator.wait()
    await until(lambda: is_gone(pid))
