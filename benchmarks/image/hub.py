"""A model hub on 127.0.0.1 with one file, as huggingface.co answers for files outside Xet storage."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"


def small_checkpoint(path: Path, size_bytes: int = 8 * 1024**2) -> Path:
    """A valid ``.safetensors`` file of one tensor of random numbers; no model."""
    header = {"x": {"dtype": "U8", "shape": [size_bytes], "data_offsets": [0, size_bytes]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + os.urandom(size_bytes))
    return path


def sha256_of(path: Path) -> str:
    """The file's SHA-256, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """The address of a hub whose every repository has this file under its every name."""
    digest, size_bytes = sha256_of(path), path.stat().st_size

    async def resolve(_: web.Request) -> web.FileResponse:
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "X-Linked-ETag": f'"{digest}"'}
        return web.FileResponse(path, headers={**headers, "X-Linked-Size": str(size_bytes)})

    application = web.Application()
    application.router.add_get("/{owner}/{name}/resolve/{revision}/{file:.*}", resolve)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(application)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
