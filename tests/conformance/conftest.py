"""The server under test: the built-in engine, or a real ComfyUI if COMFYUI_URL or COMFYUI_COMMAND names one.

The tests beside this file know nothing of the product; they speak HTTP and websocket with aiohttp. Run them against a
real server with ``COMFYUI_URL=http://127.0.0.1:8188 python -m pytest tests/conformance``: what passes on both is what
the engine may be trusted for.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

DEADLINE_SECONDS = 60.0
MODELS = '[[model]]\nname = "tiny_sd15.safetensors"\nfolder = "checkpoints"\n'

Workflow = dict[str, Any]


@pytest.fixture(scope="session")
def comfyui_url(given_comfyui: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server; the built-in engine runs in a thread of its own."""
    if given_comfyui:
        yield given_comfyui
        return
    from comfypod.emulator.comfyui import ComfyUIEmulator  # noqa: PLC0415 - not needed for a real server

    base = tmp_path_factory.mktemp("engine")
    (base / "models.toml").write_text(MODELS)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    engine = ComfyUIEmulator(base, models_file=base / "models.toml")
    _wait_for(engine.start(), loop)
    yield engine.url
    _wait_for(engine.stop(), loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(DEADLINE_SECONDS)
    loop.close()


def _wait_for(coroutine: Any, loop: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(coroutine, loop).result(DEADLINE_SECONDS)


@dataclass
class Listener:
    """One websocket; frames are read all the time, so that nobody else has to wait."""

    socket: aiohttp.ClientWebSocketResponse
    frames: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    binary: list[bytes] = field(default_factory=list)

    async def read(self) -> None:
        async for frame in self.socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                document = json.loads(frame.data)
                self.frames.append((document["type"], document["data"]))
            else:
                self.binary.append(frame.data)
                self.frames.append((f"binary {int.from_bytes(frame.data[:4], 'big')}", {}))

    def of(self, prompt_id: str) -> list[tuple[str, dict[str, Any]]]:
        """The frames about one prompt, and binary ones, which do not all say whose they are."""
        return [(kind, data) for kind, data in self.frames if data.get("prompt_id") == prompt_id or "binary" in kind]

    async def until(self, what: str, good: Callable[[str, dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            for kind, data in self.frames:
                if good(kind, data):
                    return data
            assert time.monotonic() < deadline, f"never heard: {what}"
            await asyncio.sleep(0.002)

    async def end_of(self, prompt_id: str) -> None:
        def ends(kind: str, data: dict[str, Any]) -> bool:
            return kind == "executing" and data["node"] is None and data["prompt_id"] == prompt_id

        await self.until(f"the end of {prompt_id}", ends)


class Server:
    """The server under test, seen by a plain client."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.version: tuple[int, ...] = ()
        self.checkpoint: str | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        stats = await self.json("GET", "/system_stats")
        self.version = tuple(int(part) for part in stats["system"]["comfyui_version"].split(".")[:2])
        checkpoints = await self.json("GET", "/models/checkpoints")
        # A full-size model would take minutes on a machine without a GPU.
        self.checkpoint = next((name for name in checkpoints if "tiny" in name), None)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        url = URL(self.url + path, encoded=True)
        timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        async with self.session.request(method, url, timeout=timeout, **options) as response:
            return response.status, await response.read()

    async def json(self, method: str, path: str, **options: Any) -> Any:
        status, content = await self.call(method, path, **options)
        assert status == 200, (status, content)
        return json.loads(content)

    async def listen(self, client_id: str, first_frame: dict[str, Any] | None = None) -> Listener:
        socket = await self.session.ws_connect(f"{self.url}/ws?clientId={client_id}", max_msg_size=0)
        if first_frame is not None:
            await socket.send_json(first_frame)
        listener = Listener(socket)
        self._readers.append(asyncio.create_task(listener.read()))
        await listener.until("the greeting", lambda kind, data: kind == "status" and "sid" in data)
        return listener

    async def submit(self, workflow: Workflow, **fields: Any) -> str:
        fields.setdefault("prompt_id", str(uuid.uuid4()))
        answer = await self.json("POST", "/prompt", json={"prompt": workflow, **fields})
        assert answer["prompt_id"] == fields["prompt_id"]
        return str(answer["prompt_id"])

    async def entry(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of a prompt, waited for."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            history = await self.json("GET", f"/history/{prompt_id}")
            if history:
                return dict(history[prompt_id])
            assert time.monotonic() < deadline, f"{prompt_id} never ended"
            await asyncio.sleep(0.005)

    async def run(self, workflow: Workflow, **fields: Any) -> dict[str, Any]:
        return await self.entry(await self.submit(workflow, **fields))

    async def view(self, file: dict[str, str]) -> bytes:
        query = "&".join(f"{key}={file[key]}" for key in ("filename", "subfolder", "type"))
        status, content = await self.call("GET", f"/view?{query}")
        assert status == 200
        return content

    async def queue_ids(self, part: str) -> list[str]:
        return [item[1] for item in (await self.json("GET", "/queue"))[part]]

    async def close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)


@pytest.fixture
async def server(comfyui_url: str) -> AsyncIterator[Server]:
    """A client of the server, which is idle when the test starts and made idle when it ends."""
    async with aiohttp.ClientSession() as session:
        server = Server(comfyui_url, session)
        await server.prepare()
        yield server
        await server.call("POST", "/queue", json={"clear": True})
        await server.call("POST", "/interrupt", json={})
        await _until_idle(server)
        await server.close()


async def _until_idle(server: Server) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (await server.json("GET", "/prompt"))["exec_info"]["queue_remaining"]:
        assert time.monotonic() < deadline, "the server did not become idle"
        await asyncio.sleep(0.01)


@pytest.fixture
def unique() -> str:
    """A word that no other run used, so that nothing is cached and no file has the name."""
    return f"conformance-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def sampling(server: Server) -> Callable[..., Workflow]:
    """Make a text-to-image workflow; skip the test if the server has no small checkpoint."""
    if server.checkpoint is None:
        pytest.skip("the server offers no tiny checkpoint")

    def make(seed: int, steps: int, prefix: str, pixels: int = 64) -> Workflow:
        inputs: dict[str, Any] = {
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
            "seed": seed,
            "steps": steps,
            "cfg": 7.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        }
        return {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": server.checkpoint}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a red circle on blue"}},
            "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "blurry"}},
            "4": {"class_type": "EmptyLatentImage", "inputs": {"width": pixels, "height": pixels, "batch_size": 1}},
            "5": {"class_type": "KSampler", "inputs": inputs},
            "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
            "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": prefix}},
        }

    return make
