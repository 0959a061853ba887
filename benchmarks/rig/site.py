"""One contender at work: its local RunPod, its ComfyUI and its worker, each a process of its own; and its jobs."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from benchmarks.figures import Execution
from benchmarks.rig.comfyui import ComfyUI, comfyui_for
from benchmarks.rig.contenders import ROOT, Contender
from benchmarks.rig.service import start_service
from benchmarks.rig.stores import Store
from benchmarks.rig.usage import WorkerProcesses
from comfypod.child import Child
from comfypod.comfyui.process import answers, free_port

START_SECONDS = 180.0
STOP_SECONDS = 10.0
SHORT_STOP_SECONDS = 2.0
"""For a worker that has nothing to end but itself; the SDK waits for the platform's answer to its last question."""
CONTROL_SECONDS = 30.0
LOOK_SECONDS = 0.02
END_SECONDS = 5.0
INHERITED_NOT = ("COMFY", "BUCKET_", "RUNPOD_", "AWS_", "WORKER_CONCURRENCY")


class ContenderFailed(Exception):
    """A contender did not do what it was asked to; told in its row."""


@dataclass(frozen=True)
class Work:
    """What one job asks for: see ``benchmarks/nodes/benchmark_pictures``."""

    seconds: float = 0.0
    size: int = 64
    count: int = 1
    noise_percent: int = 100

    @property
    def least_bytes(self) -> int:
        """Of the files that it makes: the noise cannot be made smaller."""
        return self.count * (self.size * self.noise_percent // 100) * self.size * 3


@dataclass(frozen=True)
class Measured:
    """One job that succeeded; moments on the machine's clock."""

    taken: float
    arrived: float
    received_bytes: int
    timings: Mapping[str, Any]


@dataclass(frozen=True)
class Rig:
    """What all contenders share: the real ComfyUI's command if there is one, a folder, and where results go."""

    comfyui_command: str | None
    folder: Path
    store: Store | None = None
    is_distant: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time()) % 10_000_000))

    def with_store(self, store: Store | None) -> Rig:
        """The same with results going to this store; None: inline."""
        return replace(self, store=store)

    def distant(self) -> Rig:
        """The same with workers at a distance from the platform, which `Site.set_latency` chooses."""
        return replace(self, is_distant=True)

    @property
    def engine(self) -> str:
        return "the built-in engine" if self.comfyui_command is None else f"ComfyUI: {self.comfyui_command}"


class Site:
    """A contender that has been started: see `site`."""

    def __init__(self, contender: Contender, rig: Rig, comfyui: ComfyUI, addresses: Mapping[str, Any]) -> None:
        self.contender = contender
        self.comfyui = comfyui
        self._rig = rig
        self._addresses = addresses
        self.worker: Child | None = None
        self._numbers: dict[str, int] = {}

    @property
    def name(self) -> str:
        return self.contender.name

    def submit(self, work: Work, jobs: int = 1) -> list[str]:
        """Queue jobs, all at once; each makes other pictures."""
        inputs = [self._input(work) for _ in range(jobs)]
        response = requests.post(self._control("jobs"), json=inputs, timeout=CONTROL_SECONDS)
        response.raise_for_status()
        job_ids: list[str] = response.json()
        numbers = [item["workflow"]["1"]["inputs"]["number"] for item in inputs]
        self._numbers |= dict(zip(job_ids, numbers, strict=True))
        return job_ids

    def number_of(self, job_id: str) -> int:
        """What tells this job's pictures from others'; asked once."""
        return self._numbers.pop(job_id)

    def _input(self, work: Work) -> dict[str, Any]:
        inputs = {
            "seconds": work.seconds,
            "size": work.size,
            "count": work.count,
            "noise_percent": work.noise_percent,
            "number": next(self._rig.numbers),
        }
        workflow = {"1": {"class_type": "BenchmarkPictures", "inputs": inputs}}
        # Our worker's word; others have one way only, by their environment.
        return {"workflow": workflow, "delivery": "inline" if self._rig.store is None else "bucket"}

    def wait(self, job_id: str, timeout_seconds: float) -> Measured:
        """The job's figures, when its result is there.

        Raises:
            ContenderFailed: it failed, or took too long, or the worker has ended.
        """
        latest = time.monotonic() + timeout_seconds
        while time.monotonic() < latest:
            response = requests.get(self._control(f"jobs/{job_id}"), timeout=CONTROL_SECONDS)
            if response.status_code == 200:
                found = response.json()
                if found["problem"] is not None:
                    raise ContenderFailed(found["problem"])
                if found["taken"] is None or found["arrived"] is None:
                    raise ContenderFailed("the platform has no moments of the job")
                return Measured(found["taken"], found["arrived"], found["received_bytes"], found["timings"] or {})
            self._check_worker()
        raise ContenderFailed(f"no result within {timeout_seconds:.0f} s")

    def run(self, work: Work, timeout_seconds: float = 60.0) -> Measured:
        """One job, alone. Its result must be of the size that was asked for.

        Raises:
            ContenderFailed: as `wait`; or it has delivered too little.
        """
        (job_id,) = self.submit(work)
        measured = self.wait(job_id, timeout_seconds)
        if self._rig.store is None:
            arrived, least = measured.received_bytes, work.least_bytes * 4 // 3
        else:
            arrived, least = self._rig.store.received_bytes(), work.least_bytes
        if arrived < least:
            raise ContenderFailed(f"delivered {arrived:,} bytes of at least {least:,}")
        return measured

    def executions(self, since: float) -> list[Execution]:
        """What ComfyUI has executed since then."""
        return self.comfyui.journal.executions(since)

    def executed(self, job: Measured) -> list[Execution]:
        """What ComfyUI has executed since the job was taken; it is waited for, since a result may come before the end.

        Raises:
            ContenderFailed: nothing.
        """
        if self.comfyui.journal.wait_for("end", job.taken, END_SECONDS) is None:
            raise ContenderFailed("ComfyUI executed nothing for it")
        return self.executions(job.taken)

    def cancel(self, job_id: str) -> float:
        """Cancel a job, as a client does; the moment of the request."""
        moment = time.monotonic()
        url = f"{self._addresses['endpoint']}/cancel/{job_id}"
        response = requests.post(url, headers={"Authorization": "Bearer local"}, timeout=CONTROL_SECONDS)
        response.raise_for_status()
        return moment

    def set_latency(self, round_trip_seconds: float) -> None:
        """Of a distant worker's path to the platform."""
        body = {"round_trip_seconds": round_trip_seconds}
        requests.put(self._control("latency"), json=body, timeout=CONTROL_SECONDS).raise_for_status()

    def answer(self, job_id: str) -> dict[str, Any]:
        """What a client gets to see of the job."""
        url = f"{self._addresses['endpoint']}/status/{job_id}"
        response = requests.get(url, headers={"Authorization": "Bearer local"}, timeout=CONTROL_SECONDS)
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document

    def remove_outputs(self) -> None:
        """What the jobs before have left on the disk; not every contender removes it."""
        for file in self.comfyui.output_folder.glob("benchmark_*"):
            file.unlink(missing_ok=True)

    def processes(self) -> WorkerProcesses:
        """The worker's, without ComfyUI's."""
        if self.worker is None:
            raise ContenderFailed("its worker was not started")
        return WorkerProcesses(self.worker.process.pid, int(self.comfyui.journal.process()["pid"]))

    def wait_until_ready(self) -> None:
        """Return when the worker asks for jobs."""
        latest = time.monotonic() + START_SECONDS
        while requests.get(self._control("worker"), timeout=CONTROL_SECONDS).status_code != 200:
            self._check_worker()
            if time.monotonic() > latest:
                raise ContenderFailed(f"it asked for no job within {START_SECONDS:.0f} s")

    def _check_worker(self) -> None:
        if self.worker is not None and (code := self.worker.exit_code) is not None:
            raise ContenderFailed(f"its worker has ended with {code}: {' / '.join(list(self.worker.last_lines)[-3:])}")

    def _control(self, path: str) -> str:
        return f"{self._addresses['control']}/{path}"


@contextmanager
def site(contender: Contender, rig: Rig) -> Iterator[Site]:
    """A contender, ready to take jobs; all its processes are ended afterwards.

    Raises:
        ContenderFailed: it does not start.
    """
    folder = rig.folder / f"{contender.name}-{next(rig.numbers)}"
    comfyui = comfyui_for(rig.comfyui_command, folder, contender)
    comfyui.output_folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        addresses = json.loads(start_service(stack, "benchmarks.rig.platform"))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(INHERITED_NOT)},
            **addresses["distant_worker" if rig.is_distant else "worker"],
            **comfyui.environment,
            **({"INLINE_LIMIT_BYTES": str(1 << 30)} if rig.store is None else rig.store.settings),
        }
        if contender.starts_comfyui:
            environment["COMFYUI_COMMAND"] = shlex.join(comfyui.command)
        else:
            environment |= _start_comfyui(stack, contender, comfyui, environment)
        started = Site(contender, rig, comfyui, addresses)
        log = stack.enter_context((folder / "worker.log").open("w", encoding="utf-8", buffering=1))
        environment |= contender.environment
        started.worker = Child(
            contender.command,
            on_line=lambda line: print(line, file=log),
            environment=environment,
            folder=contender.folder,
        )
        stack.callback(started.worker.stop, STOP_SECONDS if contender.starts_comfyui else SHORT_STOP_SECONDS)
        started.wait_until_ready()
        yield started


def _start_comfyui(
    stack: ExitStack, contender: Contender, comfyui: ComfyUI, environment: Mapping[str, str]
) -> dict[str, str]:
    """Start the ComfyUI of a worker that expects one; what it is told about it."""
    port = contender.comfyui_port or free_port()
    url = f"http://127.0.0.1:{port}"
    if answers(url):
        raise ContenderFailed(f"somebody else listens at {url}")
    command = [*comfyui.command, "--listen", "127.0.0.1", "--port", str(port)]
    log = stack.enter_context((comfyui.folder / "comfyui.log").open("w", encoding="utf-8", buffering=1))
    child = Child(command, on_line=lambda line: print(line, file=log), environment=environment, folder=ROOT)
    stack.callback(child.stop, STOP_SECONDS)
    latest = time.monotonic() + START_SECONDS
    while not answers(url):
        if child.exit_code is not None or time.monotonic() > latest:
            raise ContenderFailed(f"its ComfyUI does not start: {' / '.join(list(child.last_lines)[-3:])}")
        time.sleep(LOOK_SECONDS)
    return {"COMFYUI_URL": url, "COMFYUI_OUTPUT_DIRECTORY": str(comfyui.output_folder)}


@contextmanager
def sites(contenders: Sequence[Contender], rig: Rig, failed: dict[str, str]) -> Iterator[list[Site]]:
    """All contenders at once; those that do not start are left out, with the reason in ``failed``."""
    with ExitStack() as stack:
        started = []
        for contender in contenders:
            try:
                started.append(stack.enter_context(site(contender, rig)))
            except ContenderFailed as error:
                failed[contender.name] = str(error)
        yield started
