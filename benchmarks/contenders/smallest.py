"""The smallest handler that can be written on the real SDK; what the SDK itself costs.

    CONCURRENCY=2 python -m benchmarks.contenders.smallest      (in the environment that RunPod gives a worker)

A websocket per job, POST /prompt, the history, the files, base64 or one PUT each: what tutorials show, but
asynchronous.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import platform
import sys
import uuid
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import aiohttp

from benchmarks.contenders.signing import Bucket

CONCURRENCY = int(os.environ.get("CONCURRENCY", "1"))


async def handle(job: Mapping[str, Any]) -> dict[str, Any]:
    """One job, from RunPod's words to RunPod's words."""
    client_id = uuid.uuid4().hex
    url, bucket = os.environ["COMFYUI_URL"], Bucket.from_environment(os.environ)
    async with (
        aiohttp.ClientSession(url) as session,
        session.ws_connect(f"/ws?clientId={client_id}", max_msg_size=0) as socket,
    ):
        body = {"prompt": job["input"]["workflow"], "client_id": client_id}
        async with session.post("/prompt", json=body) as response:
            prompt_id = (await response.json())["prompt_id"]
        try:
            await _wait(socket, prompt_id)
        except asyncio.CancelledError:
            async with session.post("/interrupt", json={"prompt_id": prompt_id}) as response:
                await response.read()
            raise
        async with session.get(f"/history/{prompt_id}") as response:
            outputs = (await response.json())[prompt_id]["outputs"]
        images = [image for output in outputs.values() for image in output.get("images", [])]
        return {"images": [await _deliver(session, bucket, job["id"], image) for image in images]}


async def _wait(socket: aiohttp.ClientWebSocketResponse, prompt_id: str) -> None:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            event = json.loads(message.data)
            # The last word about a prompt, however it ended; only then is it in the history.
            if event["type"] == "executing" and event["data"] == {"node": None, "prompt_id": prompt_id}:
                return
    raise ConnectionError("ComfyUI has closed the connection")


async def _deliver(session: aiohttp.ClientSession, bucket: Bucket | None, job_id: str, image: Mapping[str, str]) -> str:
    async with session.get("/view", params=image) as response:
        content = await response.read()
    if bucket is None:
        return base64.b64encode(content).decode()
    key = f"{job_id}/{image['filename']}"
    async with session.put(bucket.address(key), data=content, headers=bucket.headers(key)) as response:
        response.raise_for_status()
    return bucket.address(key)


def main() -> None:
    # As in rp_handler.py: the SDK's import asks cpuinfo for the processor's name, which takes a second.
    stub = ModuleType("cpuinfo")
    stub.get_cpu_info = lambda: {"brand_raw": platform.processor() or "unknown"}  # type: ignore[attr-defined]
    sys.modules.setdefault("cpuinfo", stub)
    os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    import runpod  # noqa: PLC0415

    runpod.serverless.start({"handler": handle, "concurrency_modifier": lambda _: CONCURRENCY})


if __name__ == "__main__":
    main()
