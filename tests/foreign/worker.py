"""A worker of the tests, on the unmodified runpod-python: it does what its input says.

``worker.py results`` returns results; ``worker.py stream`` yields them, since the SDK goes by the handler's type
(runpod-python 1.12.0, ``rp_handler.py``, ``is_generator``). What a stopped job cannot tell anybody, it notes in a file.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import runpod

CONCURRENCY = 4
"""Jobs at a time; contract.py counts on it. Above two, the SDK asks for the next job without a pause."""


async def give_result(job: dict[str, Any]) -> Any:
    request = job["input"]
    match request.get("do"):
        case "report":
            runpod.serverless.progress_update(job, {"step": 1})
            await appearance_of(Path(request["go"]))
            return {"step": 2}
        case "hold":
            return await hold(job)
        case "note":
            Path(request["note"]).write_text("ran", encoding="utf-8")
            return "noted"
        case "raise":
            raise ValueError("no such checkpoint")
        case "raise once":
            note = Path(request["note"])
            if note.exists():
                return "second time lucky"
            note.write_text("raised", encoding="utf-8")
            raise ValueError("out of memory")
        case "return much":
            return "x" * request["size_bytes"]
        case _:
            return {"echo": request}


async def hold(job: dict[str, Any]) -> None:
    """Say that the job runs, and run until it is stopped."""
    runpod.serverless.progress_update(job, "holding")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        Path(job["input"]["note"]).write_text("stopped", encoding="utf-8")
        raise


async def stream_words(job: dict[str, Any]) -> AsyncIterator[str]:
    """Yield the first word, and the others when somebody has seen it."""
    first, *others = job["input"]["words"]
    yield first
    await appearance_of(Path(job["input"]["go"]))
    for word in others:
        yield word


async def appearance_of(path: Path) -> None:
    async with asyncio.timeout(30):
        while not path.exists():
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    handler = {"results": give_result, "stream": stream_words}[sys.argv[1]]
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _: CONCURRENCY})
