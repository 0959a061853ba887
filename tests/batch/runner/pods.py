"""Pods as processes, and what is around them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from comfypod.batch.documents import Asset, Item
from tests.batch.doubles.coordinator import TOKEN, Coordinator, coordinating
from tests.batch.system.servers import Models, Results, model_file
from tests.batch.system.wanted import Wanted

ROOT = Path(__file__).parents[3]
POD = "comfypod-test-0-1"


def items_of(wanted: Wanted) -> list[Item]:
    """What A's manifest makes of the same rows."""
    items = []
    for number, row in enumerate(wanted.rows()):
        nodes = row["workflow"].values()
        keys = [f"checkpoints/{node['inputs']['ckpt_name']}" for node in nodes if "ckpt_name" in node["inputs"]]
        keys += [f"loras/{node['inputs']['lora_name']}" for node in nodes if "lora_name" in node["inputs"]]
        identifier = hashlib.sha256(row["name"].encode()).hexdigest()[:32]
        job = {"workflow": row["workflow"]}
        items.append(Item(identifier=identifier, row=number, job=job, assets=tuple(keys), name=row["name"]))
    return sorted(items, key=lambda item: item.assets)  # as a plan has it: group by group


@dataclass
class Scene:
    """A coordinator, models behind a link, a place for results, and one pod's disk."""

    coordinator: Coordinator
    models: Models
    results: Results
    folder: Path
    wanted: Wanted
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def log(self) -> str:
        path = self.folder / "pod.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        """Start the pod, or start it again."""
        given = {name: os.environ[name] for name in os.environ.keys() - {"COMFYUI_URL", "COMFYUI_COMMAND"}}
        environment = {
            **given,
            "COMFYPOD_BATCH_URL": self.coordinator.url,
            "COMFYPOD_BATCH_TOKEN": TOKEN,
            "COMFYPOD_BATCH_POD": POD,
            "COMFYPOD_BATCH_ENDS_AT": str(time.time() + 3600),
            "COMFYPOD_BATCH_FOLDER": str(self.folder / "pod"),
            "DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
            **more,
        }
        with (self.folder / "pod.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "comfypod", "batch", "pod"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL, and wait until what it had started is gone as well: the next one is on a machine of its own."""
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        for child in children:  # their guard needs a moment; a machine that goes away does not
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, 30)

    def begun(self) -> list[str]:
        """Items, as often as the pod began to make them."""
        return re.findall(r"item_begins item=(\w+)", self.log)

    def spooled(self) -> set[str]:
        """What the ledger says is made."""
        path = self.folder / "pod" / "ledger.db"
        if not path.exists():
            return set()
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
            query = "SELECT identifier FROM items WHERE state != 'leased'"
            try:
                rows = connection.execute(query).fetchall()
            except sqlite3.OperationalError:  # killed before it had a table
                return set()
        connection.close()
        return {row[0] for row in rows}

    def problems(self) -> list[str]:
        """Why not every item arrived exactly once."""
        items = self.coordinator.items
        expected = {f"{item.name}/{name}" for item in items for name in ("picture_00001_.png", "result.json")}
        found = [f"missing: {name}" for name in sorted(expected - self.results.files.keys())]
        found += [f"too many: {name}" for name in sorted(self.results.files.keys() - expected)]
        found += [f"never recorded: {item.name}" for item in items if item.identifier not in self.coordinator.records]
        for record in self.coordinator.records.values():
            if record.status != "succeeded":
                found.append(f"{record}")
            for file in record.files:
                content = self.results.files.get(file.name, b"")
                if hashlib.sha256(content).hexdigest() != file.sha256 or len(content) != file.size_bytes:
                    found.append(f"{file.name} is not what was recorded")
        return [*found, *self.results.problems]


@contextmanager
def scene(folder: Path, wanted: Wanted, link_bytes_per_second: float = 20e6, **options: object) -> Iterator[Scene]:
    """All of it, running; what is left of the pod afterwards is ended."""
    models, results = Models(link_bytes_per_second), Results()
    for key, size_bytes in wanted.files().items():
        models.files[key] = model_file(key, size_bytes)
    coordinator = Coordinator(items_of(wanted), **options)  # type: ignore[arg-type]
    with ExitStack() as stack:
        stack.enter_context(coordinating(coordinator, *models.routes(), *results.routes()))
        coordinator.assets = assets_of(wanted, models, coordinator.url)
        stage = Scene(coordinator, models, results, folder, wanted)
        stack.callback(_end_all, stage)
        yield stage


def assets_of(wanted: Wanted, models: Models, url: str) -> tuple[Asset, ...]:
    found = []
    for key, size_bytes in wanted.files().items():
        kind, _, name = key.partition("/")
        sha256 = hashlib.sha256(models.files[key]).hexdigest()
        entry: Mapping[str, object] = {
            "name": name,
            "folder": kind,
            "url": f"{url}/models/{key}",
            "sha256": sha256,
            "size_bytes": size_bytes,
        }
        found.append(Asset(key=key, size_bytes=size_bytes, sha256=sha256, entry=entry))
    return tuple(found)


def _end_all(stage: Scene) -> None:
    for process in stage.processes:
        if process.poll() is None:
            stage.kill(process)
