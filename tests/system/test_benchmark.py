"""The benchmark's command, with three jobs; and the path that delays what a distant worker sends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.rig.network import DelayedPath

ROOT = Path(__file__).parents[2]
ROUND_TRIP_SECONDS = 0.1


def test_the_command_measures_a_queue_and_prints_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "idle", "--quick", "--rounds", "1"]
    options = ["--contenders", "floor,comfypod", "--worker", f"broken={sys.executable} -c exit(3)"]
    files = ["--folder", str(tmp_path / "logs"), "--json", str(tmp_path / "values.json")]
    whole = [*command, *options, *files]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr

    values = json.loads((tmp_path / "values.json").read_text())
    (queue,) = values["idle"]["values"].values()
    assert values["engine"] == "the built-in engine"
    assert 0 <= queue["floor"][0] < 50, "it has the next job ready while one runs"
    assert 0 <= queue["comfypod"][0] < 100
    assert "| 3 jobs of 0.3 s, 30 ms |" in done.stdout
    assert "FAILED: its worker has ended with 3" in done.stdout, "what does not work is told, too"


@pytest.mark.parametrize("first", [True, False])
async def test_a_distant_platform_is_a_round_trip_away_and_a_new_connection_costs_another(*, first: bool) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(1 << 16):
            writer.write(block)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    path = DelayedPath(server.sockets[0].getsockname()[1])
    path.round_trip_seconds = ROUND_TRIP_SECONDS
    await path.start()
    async with asyncio.timeout(10), server:
        reader, writer = await asyncio.open_connection("127.0.0.1", path.port)
        for _ in range(1 if first else 2):
            begun = time.monotonic()
            writer.write(b"there and back")
            assert await reader.readexactly(14) == b"there and back"
            seconds = time.monotonic() - begun
        writer.write_eof()
        assert await reader.read() == b"", "its end arrives as well"
        writer.close()
        await writer.wait_closed()
        await path.stop()
    assert seconds >= ROUND_TRIP_SECONDS * (2 if first else 1)
