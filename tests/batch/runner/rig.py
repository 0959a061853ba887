"""A runner in this process, with a worker that makes what it is told: no ComfyUI, all else as in life."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfypod.batch.documents import Condition, Item
from comfypod.batch.runner.bell import Bell
from comfypod.batch.runner.coordinator import Coordinator as Client
from comfypod.batch.runner.downloads import Downloads
from comfypod.batch.runner.environment import PodEnvironment
from comfypod.batch.runner.gate import LinkMeter
from comfypod.batch.runner.ledger import Ledger
from comfypod.batch.runner.making import Maker
from comfypod.batch.runner.results import open_results
from comfypod.batch.runner.runner import Runner, RunnerOptions
from comfypod.batch.runner.spool import Spool
from comfypod.batch.runner.uploads import Uploads
from comfypod.settings import Settings
from comfypod.worker.workspace import plain_name
from tests.batch.doubles.coordinator import TOKEN, Coordinator

ROOT = Path(__file__).parents[3]
CONDITION = Condition(
    gpu="none",
    gpu_memory_bytes=0,
    free_disk_bytes=10**12,
    disk_write_bytes_per_second=10**9,
    download_bytes_per_second=None,
)
NO_TIME = {"prepare_ms": 0, "queue_ms": 0, "execute_ms": 10, "deliver_ms": 0, "total_ms": 10, "nodes": {}}


def item(name: str, *assets: str) -> Item:
    identifier = hashlib.sha256(name.encode()).hexdigest()[:32]
    return Item(identifier=identifier, row=0, job={"prompt": name}, name=name, assets=assets)


def failure(code: str, **more: Any) -> dict[str, Any]:
    answer = {"status": "error", "code": code, "error": f"It is {code}", "retryable": False, "warnings": []}
    return {**answer, "timings": NO_TIME, **more}


@dataclass
class Worker:
    """What the handler does: it keeps to ``delivery: path``, and is held at ``gate`` while that is closed."""

    folder: Path
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By prompt, in place of a picture; used up one by one."""
    most_at_once: int = 0

    async def __call__(self, job: Mapping[str, Any]) -> dict[str, Any]:
        prompt = job["input"]["prompt"]
        assert job["input"]["delivery"] == "path"
        self.begun.append(prompt)
        self.most_at_once = max(self.most_at_once, len(self.begun) - len(self.ended))
        try:
            await self.gate.wait()
        finally:
            self.ended.append(prompt)
        if self.answers.get(prompt):
            return self.answers[prompt].pop(0)
        content = f"a picture of {prompt}".encode()
        path = self.folder / plain_name(job["id"]) / "9" / "picture_00001_.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        image = {
            "node_id": "9",
            "index": 0,
            "filename": path.name,
            "type": "path",
            "data": str(path),
            "content_type": "image/png",
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        worker = {"comfyui": "1", "engine": "emulator", "version": "1"}
        none: list[Any] = []
        return {
            "status": "success",
            "images": [image],
            "files": none,
            "texts": none,
            "warnings": none,
            "timings": NO_TIME,
            "worker": worker,
        }


@dataclass
class Rig:
    """A runner, and what it works with; ``end`` says why it ended."""

    runner: Runner
    worker: Worker
    ledger: Ledger
    spool: Spool
    downloads: Downloads
    uploads: Uploads
    task: asyncio.Task[str]

    async def end(self, seconds: float = 60.0) -> str:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self.task)


def pod_environment(coordinator: Coordinator, folder: Path) -> PodEnvironment:
    return PodEnvironment(
        url=coordinator.url, token=TOKEN, pod="pod-1", ends_at=time.time() + 3600, folder=folder / "pod"
    )


@asynccontextmanager
async def rig(
    coordinator: Coordinator, folder: Path, *, reserve_bytes: int = 0, is_open: bool = True, **options: Any
) -> AsyncIterator[Rig]:
    """A runner that has said hello, and runs."""
    pod = pod_environment(coordinator, folder)
    variables = {"DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1", "MODELS_DIRECTORY": str(folder / "models")}
    settings = Settings.from_environment(variables)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(pod))
        welcome = await client.hello(CONDITION)
        ledger, spool, bell = Ledger(pod.ledger_file), Spool(pod.made_folder, reserve_bytes), Bell()
        stack.callback(ledger.close)
        ledger.begin(welcome.batch)
        downloads = Downloads(welcome.assets, settings, {}, {}, bell)
        await downloads.missing()
        if welcome.offer is not None:
            downloads.meter = LinkMeter(welcome.offer.download_bytes_per_second)
        results = await stack.enter_async_context(open_results(welcome, pod, settings))
        uploads = Uploads(ledger, spool, results, client, bell)
        worker = Worker(spool.folder)
        if is_open:
            worker.gate.set()

        async def make_maker() -> Maker:
            archives = bool(welcome.results.get("archives"))
            return Maker(worker, spool, ROOT / "workflows", {"pod": "pod-1"}, archives=archives)

        runner = Runner(
            CONDITION,
            welcome,
            client,
            ledger=ledger,
            spool=spool,
            downloads=downloads,
            uploads=uploads,
            make_maker=make_maker,
            bell=bell,
            options=RunnerOptions(**{"pulse_seconds": 0.1, **options}),
        )
        task = asyncio.create_task(runner.run())
        try:
            yield Rig(runner, worker, ledger, spool, downloads, uploads, task)
        finally:
            task.cancel()
            # Threads that write to the disk are waited for: of a process that was killed nothing writes any more.
            await asyncio.wait([task, *(other for other in asyncio.all_tasks() if _is_ours(other))], timeout=30)


def _is_ours(task: asyncio.Task[Any]) -> bool:
    """Not a test's own, nor one that keeps connections for as long as the event loop runs."""
    name = getattr(task.get_coro(), "__qualname__", "")
    return task is not asyncio.current_task() and not name.startswith("Kept.")
