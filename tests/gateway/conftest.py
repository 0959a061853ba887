"""A gateway in the test's own process, over a store on SQLite and a real bucket; its master does as a test says."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import comfy_sdk
import pytest

from comfypod.deadline import Deadline
from comfypod.files.content import FileContent
from comfypod.gateway.options import GatewayOptions
from comfypod.gateway.server import Gateway
from comfypod.master.documents import Outcome, Request
from comfypod.master.quotas import Quota
from comfypod.master.store import Store
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket
from tests.s3_server import S3Server

SECONDS = 10.0
TENANT = "team"
WORKFLOW: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 7, "model": ["4", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "fox.safetensors"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
}


async def until(is_so: Callable[[], Awaitable[Any]]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + SECONDS
    while not (found := await is_so()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return found


class ScriptedMaster:
    """Does to requests what a master would, step by step."""

    def __init__(self, store: Store, bucket: Bucket, folder: Path) -> None:
        self.store = store
        self._bucket = bucket
        self._folder = folder

    def alive(self) -> None:
        self.store.beat("main", "1", 1, "instance")

    def submit(self, key: str) -> Request:
        """Post a job for it."""
        request = self.store.get(key)
        attempt = self.store.begin_attempt(key, request.run, "endpoint-1")
        assert attempt is not None
        assert self.store.submitted(key, attempt, f"job-{attempt}")
        return self.store.get(key)

    def run(self, key: str, value: float = 0.0, **more: Any) -> None:
        """A worker is at it."""
        request = self.store.get(key)
        if request.state != "running":
            request = self.submit(key)
        progress = {"value": value, "nodes_done": 1, "nodes_total": 3, "sequence": 1, "stage": "execute", **more}
        assert self.store.progressed(key, request.attempt, "running", progress, "worker-1")

    async def succeed(self, key: str, *, pictures: dict[str, bytes] | None = None, texts: tuple[str, ...] = ()) -> None:
        """It has these pictures, each named by its node, and these texts."""
        request = self.store.get(key)
        images = [await self._deliver(key, node, data) for node, data in (pictures or {}).items()]
        output = {
            "status": "success",
            "images": images,
            "files": [],
            "texts": [{"node_id": "12", "key": "text", "value": text} for text in texts],
        }
        timings = {"delay_ms": 20, "run_ms": 40}
        assert self.store.finish(key, request.run, Outcome(state="succeeded", output=output, timings=timings))

    def fail(self, key: str, code: str = "prompt_failed", **details: Any) -> None:
        error = {"code": code, "message": "It went wrong", "class": "invalid", "retryable": False, "details": details}
        assert self.store.finish(key, self.store.get(key).run, Outcome(state="failed", error=error))

    def end_cancelled(self, key: str) -> None:
        assert self.store.finish(key, self.store.get(key).run, Outcome(state="cancelled"))

    async def _deliver(self, key: str, node: str, data: bytes) -> dict[str, Any]:
        file, name, sha256 = self._folder / node, f"fox_{node}.png", hashlib.sha256(data).hexdigest()
        file.write_bytes(data)
        place = f"once/{key}/files/{sha256[:16]}-{name}"
        await self._bucket.upload(FileContent(file), place, "image/png", Deadline.after(SECONDS))
        told = {"filename": name, "content_type": "image/png", "size_bytes": len(data), "sha256": sha256}
        return {"node_id": node, "index": 0, "type": "s3_url", "bucket_key": place, **told}


@dataclass
class House:
    """The gateway, and those who come to it."""

    gateway: Gateway
    store: Store
    bucket: Bucket
    master: ScriptedMaster
    key: str = field(repr=False)
    http: aiohttp.ClientSession = field(repr=False)
    resources: AsyncExitStack = field(repr=False)

    async def sdk(self) -> comfy_sdk.AsyncComfy:
        """The official client, unmodified."""
        return await self.resources.enter_async_context(comfy_sdk.AsyncComfy(api_key=self.key))

    async def ask(
        self, method: str, path: str, status: int = 200, key: str | None = None, **options: Any
    ) -> tuple[Any, aiohttp.ClientResponse]:
        """What is answered."""
        headers = {"Authorization": f"Bearer {key or self.key}", **options.pop("headers", {})}
        url = path if path.startswith("http") else self.gateway.url + path
        async with self.http.request(method, url, headers=headers, allow_redirects=False, **options) as answer:
            body = await answer.read()
            assert answer.status == status, (answer.status, body)
            is_json = answer.content_type == "application/json" and body
            return (await answer.json() if is_json else body), answer

    async def refusal(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        """The error that is answered."""
        document, _ = await self.ask(method, path, status, **options)
        assert set(document["error"]) == {"code", "message", "details"}
        return dict(document["error"])

    def submitted(self) -> Request:
        """The newest request."""
        return self.store.list(tenant=TENANT, limit=1)[0]


OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> Bucket:
    """A bucket of the test's own."""
    settings = {**s3_server.environment, "BUCKET_PREFIX": tmp_path.name}
    made = Bucket.from_settings(Settings.from_environment(settings))
    assert made is not None
    return made


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """A database with tables."""
    url = f"sqlite:///{tmp_path / 'comfypod.sqlite'}"
    Store.migrate(url)
    return url


@pytest.fixture
async def open_house(
    bucket: Bucket, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OpenHouse]:
    """Starts a gateway with options of `GatewayOptions`, and a quota for its one tenant."""
    async with AsyncExitStack() as resources:

        async def start(quota: Quota | None = None, maximum_queued: int = 1000, **options: Any) -> House:
            store = Store.open(database_url, maximum_queued=maximum_queued)
            resources.callback(store.close)
            options = {"port": 0, "poll_seconds": 0.02, "allows_private_webhooks": True, **options}
            gateway = Gateway(GatewayOptions(**options), store, bucket)
            resources.push_async_callback(gateway.stop)
            await gateway.start()
            monkeypatch.setenv("COMFY_BASE_URL", gateway.url)
            http = await resources.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS), cookie_jar=aiohttp.DummyCookieJar())
            )
            master = ScriptedMaster(store, bucket, tmp_path)
            return House(gateway, store, bucket, master, store.add_key(TENANT, quota), http, resources)

        yield start


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    """A gateway as it is on one's own machine."""
    return await open_house()
