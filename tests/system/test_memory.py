"""Large files pass through a worker and not through its memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.s3_server import BUCKET, S3Server

MEBIBYTE = 1024**2
MOST_BYTES = 64 * MEBIBYTE
INPUT_BYTES = 10**9


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")


def show(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")


async def rise_of(comfyui_url: str, warm_up: Any, job: Any, **settings: str) -> tuple[int, dict[str, Any]]:
    """By how much a handler's peak memory rises with ``job``, and its answer."""
    command = [sys.executable, str(Path(__file__).with_name("memory_child.py")), comfyui_url]
    process = await asyncio.create_subprocess_exec(
        *command,
        json.dumps(warm_up),
        json.dumps(job),
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told = json.loads(output.splitlines()[-1])
    assert told["answers"][0]["status"] == "success", told["answers"][0]
    return told["rise_bytes"], told["answers"][1]


@asynccontextmanager
async def large_files() -> AsyncIterator[str]:
    """The address of a server that has ``/zeros/BYTES``, and ``/latents/COUNT`` of 4 MiB each."""

    async def send_zeros(request: web.Request) -> web.StreamResponse:
        return await send(request, b"", int(request.match_info["count"]))

    async def send_latents(request: web.Request) -> web.StreamResponse:
        count = int(request.match_info["count"])
        size = count * 4 * 512 * 512 * 4
        shape = {"dtype": "F32", "shape": [count, 4, 512, 512], "data_offsets": [0, size]}
        version = {"dtype": "F32", "shape": [0], "data_offsets": [size, size]}
        header = json.dumps({"latent_tensor": shape, "latent_format_version_0": version}).encode()
        return await send(request, struct.pack("<Q", len(header)) + header, size)

    async def send(request: web.Request, head: bytes, zeros: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(head) + zeros)})
        await response.prepare(request)
        await response.write(head)
        for _ in range(zeros // MEBIBYTE):
            await response.write(bytes(MEBIBYTE))
        await response.write(bytes(zeros % MEBIBYTE))
        return response

    application = web.Application()
    application.add_routes([web.get("/zeros/{count}", send_zeros), web.get("/latents/{count}", send_latents)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_gigabyte_of_input_comes_by_address(comfyui_url: str) -> None:
    workflow = {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": "zeros.data"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    async with large_files() as url:

        def job(size: int) -> dict[str, Any]:
            files = [{"name": "zeros.data", "url": f"{url}/zeros/{size}"}]
            return {"id": f"input-{size}-u1", "input": {"workflow": workflow, "files": files}}

        rise_bytes, answer = await rise_of(comfyui_url, job(1000), job(INPUT_BYTES), DOWNLOAD_ALLOWED_HOSTS="127.0.0.1")
    assert answer["status"] == "success", answer
    assert answer["texts"][0]["value"].endswith("/zeros.data")
    show(f"{INPUT_BYTES:,} bytes of input: peak memory rose by {rise_bytes / MEBIBYTE:.1f} MiB")
    assert rise_bytes < MOST_BYTES


async def test_250_megabytes_of_output_go_to_the_bucket(comfyui_url: str, s3_server: S3Server) -> None:
    workflow = {
        "1": {"class_type": "LoadLatent", "inputs": {"latent": "large.latent"}},
        "2": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "large"}},
    }
    async with large_files() as url:

        def job(count: int) -> dict[str, Any]:
            files = [{"name": "large.latent", "url": f"{url}/latents/{count}"}]
            return {"id": f"large-{count}-u1", "input": {"workflow": workflow, "files": files, "delivery": "bucket"}}

        settings = {**s3_server.environment, "DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1"}
        rise_bytes, answer = await rise_of(comfyui_url, job(1), job(60), **settings)
    assert answer["status"] == "success", answer
    (artifact,) = answer["files"]
    assert artifact["size_bytes"] >= 250 * 10**6
    assert artifact["type"] == "s3_url"
    stored = s3_server.client.get_object(Bucket=BUCKET, Key=f"large-60-u1/2/{artifact['filename']}")
    digest = hashlib.sha256()
    for block in stored["Body"].iter_chunks(MEBIBYTE):
        digest.update(block)
    assert digest.hexdigest() == artifact["sha256"]
    show(f"{artifact['size_bytes']:,} bytes to the bucket: peak memory rose by {rise_bytes / MEBIBYTE:.1f} MiB")
    assert rise_bytes < MOST_BYTES
