"""How long a worker takes from its start to its first job, beside ComfyUI alone and beside the field's usual sequence.

    python -m benchmarks.boot --comfyui "ComfyUI/.venv/bin/python ComfyUI/main.py --cpu" --runs 5

Three starts in turn, each with a job waiting in a local RunPod:

- bare: ComfyUI alone, from exec until its port answers
- worker: ``start.sh`` of this repository
- usual: an emulation, in a few lines of our own, of the sequence that the field's most used worker goes through: import
  torch to see whether there is a GPU, start ComfyUI in the background, import the SDK, take the job, poll ComfyUI until
  it answers, run the prompt, return the picture

Prints the medians, what each start adds to ComfyUI's own boot, and the phases of the worker's start.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfypod.cloud.client import Client
from comfypod.comfyui.process import answers
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.runpod import RunPodEmulator

ROOT = Path(__file__).resolve().parents[1]
ENDPOINT, KEY = "boot", "boot"
STEP_SECONDS = 300.0
LOOK_SECONDS = 0.005
USUAL_START = """
if [ -n "$TORCH_PYTHON" ]; then "$TORCH_PYTHON" -c 'import torch; torch.cuda.is_available()'; fi
$COMFYUI --listen 127.0.0.1 --port "$PORT" &
exec python3 -u "$HANDLER"
"""
USUAL_HANDLER = """
import base64, json, os, time, urllib.parse, urllib.request, uuid
import runpod
from websockets.sync.client import connect

host = "127.0.0.1:" + os.environ["PORT"]

def get(path, body=None):
    with urllib.request.urlopen(f"http://{host}{path}", body) as response:
        return response.read()

def handler(job):
    while True:
        try:
            get("/queue")
            break
        except OSError:
            time.sleep(0.05)
    client = uuid.uuid4().hex
    with connect(f"ws://{host}/ws?clientId={client}", max_size=None) as socket:
        body = json.dumps({"prompt": job["input"]["workflow"], "client_id": client}).encode()
        prompt_id = json.loads(get("/prompt", body))["prompt_id"]
        while True:
            message = socket.recv()
            if isinstance(message, str):
                data = json.loads(message)
                if data["type"] == "executing" and data["data"] == {"node": None, "prompt_id": prompt_id}:
                    break
    outputs = json.loads(get(f"/history/{prompt_id}"))[prompt_id]["outputs"]
    images = [image for output in outputs.values() for image in output["images"]]
    return {"images": [base64.b64encode(get("/view?" + urllib.parse.urlencode(image))).decode() for image in images]}

runpod.serverless.start({"handler": handler})
"""


@dataclass
class Start:
    """One start, in seconds since exec; ``boot_ms`` are the phases that the worker tells itself."""

    answers: float | None = None
    taken: float | None = None
    result: float | None = None
    boot_ms: Mapping[str, int] = field(default_factory=dict)

    @property
    def own_share(self) -> float | None:
        """Until the job was taken, without ComfyUI's boot; what both do at the same time counts as ComfyUI's."""
        if self.taken is None or "comfyui_answers" not in self.boot_ms:
            return None
        return self.taken - (self.boot_ms["comfyui_answers"] - self.boot_ms["comfyui_started"]) / 1000


class LocalRunPod:
    """A local RunPod without workers of its own, in a thread."""

    def __init__(self, platform: PlatformOptions | None = None) -> None:
        self.emulator = RunPodEmulator(ENDPOINT, KEY, platform=platform)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._run(self.emulator.start())

    def _run(self, call: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(call, self._loop).result(30)

    def stop(self) -> None:
        self._run(self.emulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def client(self) -> Client:
        return Client(ENDPOINT, KEY, self.emulator.base_url)

    def first_job(self, worker_id: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Start:
        """Start a worker with a job waiting, and follow the job to its end."""
        worker = {**environment, **self.emulator.worker_environment(worker_id)}
        with self.client() as client:
            job = client.submit(workflow())
            queued = time.monotonic()
            with started(command, worker, log) as begun:
                output = job.wait(timeout_seconds=STEP_SECONDS)
        taken = (job.latest.delay_ms or 0) / 1000 - (begun - queued)
        result = taken + (job.latest.execution_ms or 0) / 1000
        return Start(taken=taken, result=result, boot_ms=output.get("timings", {}).get("boot_ms") or {})


def workflow() -> dict[str, Any]:
    """A small picture, with no model."""
    inputs = {"width": 64, "height": 64, "batch_size": 1, "color": 255}
    return {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "boot"}},
    }


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[float]:
    """The command, in a process group that is ended in the end; the moment of its exec."""
    variables = {**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with log.open("ab") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield begun
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def bare(command: Sequence[str], log: Path) -> Start:
    """ComfyUI alone."""
    port = free_port()
    with started([*command, "--listen", "127.0.0.1", "--port", str(port)], {}, log) as begun:
        while not answers(f"http://127.0.0.1:{port}"):
            if time.monotonic() - begun > STEP_SECONDS:
                raise SystemExit(f"ComfyUI does not answer; see {log}")
            time.sleep(LOOK_SECONDS)
        return Start(answers=time.monotonic() - begun)


def usual(runpod: LocalRunPod, worker_id: str, command: str, torch_python: str, folder: Path) -> Start:
    """The usual sequence."""
    handler = folder / "usual_handler.py"
    handler.write_text(USUAL_HANDLER, encoding="utf-8")
    environment = {
        "COMFYUI": command,
        "HANDLER": str(handler),
        "PORT": str(free_port()),
        "TORCH_PYTHON": torch_python,
        "RUNPOD_LOG_LEVEL": "INFO",
    }
    return runpod.first_job(worker_id, ["bash", "-c", USUAL_START], environment, folder / "usual.log")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, list[Start]]:
    """All starts, in turn."""
    found: dict[str, list[Start]] = defaultdict(list)
    runpod = LocalRunPod()
    try:
        for number in range(arguments.runs):
            found["bare"].append(bare(shlex.split(arguments.comfyui), folder / "bare.log"))
            environment = {"COMFYUI_COMMAND": arguments.comfyui} if arguments.comfyui else {}
            found["worker"].append(
                runpod.first_job(f"worker-{number}", ["./start.sh"], environment, folder / "worker.log")
            )
            if arguments.usual:
                found["usual"].append(
                    usual(runpod, f"usual-{number}", arguments.comfyui, arguments.torch_python, folder)
                )
            print(f"run {number + 1} of {arguments.runs}", file=sys.stderr)
    finally:
        runpod.stop()
    return found


def report(found: Mapping[str, Sequence[Start]]) -> Iterator[str]:
    """The table."""
    alone = median(start.answers for start in found["bare"])
    yield "| start | ComfyUI answers | job taken | first result | taken - bare | result - bare |"
    yield "| --- | --- | --- | --- | --- | --- |"
    yield f"| bare | {alone:.2f} s | | | | |"
    for name in ("worker", "usual"):
        if starts := found.get(name):
            taken, result = median(start.taken for start in starts), median(start.result for start in starts)
            answered = median(start.boot_ms.get("comfyui_answers") for start in starts) / 1000
            times = f"{f'{answered:.2f} s' if answered else ''} | {taken:.2f} s | {result:.2f} s"
            yield f"| {name} | {times} | {taken - alone:+.2f} s | {result - alone:+.2f} s |"
    yield ""
    share = median(start.own_share for start in found["worker"])
    yield f"Job taken, without the time in which ComfyUI booted in the same start: {share:.3f} s"
    yield "Phases of the worker's start (medians, ms since exec):"
    phases = found["worker"][-1].boot_ms
    yield ", ".join(f"{phase} {median(start.boot_ms.get(phase) for start in found['worker']):.0f}" for phase in phases)


def median(values: Iterable[float | None]) -> float:
    """Of those that are known; 0 if none is."""
    return statistics.median([value for value in values if value is not None] or [0.0])


def main() -> int:
    engine = f"{shlex.quote(sys.executable)} -m comfypod emulate comfyui"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", default=engine, help="command that starts ComfyUI; default: the built-in engine")
    parser.add_argument(
        "--torch-python", default="", help="interpreter with torch, for the usual sequence's first step"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-usual", dest="usual", action="store_false", help="leave out the usual sequence")
    parser.add_argument("--logs", type=Path, help="folder for what the starts print; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="comfypod-boot-") as temporary:
        folder = arguments.logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for line in report(measure(arguments, folder)):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
