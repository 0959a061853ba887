"""A handler in a process of its own, for measuring: runs one job, and prints by how much its peak memory rose."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from comfypod.comfyui.server import RemoteServer
from comfypod.settings import Settings
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler

ROOT = Path(__file__).parents[2]


def peak_bytes() -> int:
    """The largest resident size so far; ``ru_maxrss`` would be that of whoever started this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1])  # type: ignore[index]


async def main(comfyui_url: str, warm_up: str, job: str) -> None:
    settings = Settings.from_environment(os.environ)
    handler = Handler(Facilities.of_repository(ROOT, settings, {}), RemoteServer(comfyui_url), None)
    # The first job brings in what is imported late, and the buffers that are kept.
    first = await handler(json.loads(warm_up))
    before = peak_bytes()
    answer = await handler(json.loads(job))
    answers = [{key: value for key, value in item.items() if key != "details"} for item in (first, answer)]
    print(json.dumps({"rise_bytes": peak_bytes() - before, "answers": answers}))


asyncio.run(main(*sys.argv[1:]))
