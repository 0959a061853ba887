"""ComfyUI and the worker killed in each place of a job, behind the real SDK, as a client of the endpoint sees it.

With ``-s`` the table of `docs/explanation/when-comfyui-fails.md` is printed. COMFYUI_COMMAND makes it a real ComfyUI.
"""

from __future__ import annotations

import base64
import io
import json
import shlex
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from supervised import REAL_COMMAND, comfyui_command
from worker_jobs import save_color

from comfypod.cli.local import LocalEndpoint
from comfypod.cloud.client import Client
from comfypod.deadline import Deadline

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 90.0
HELD_SECONDS = 30
"""For so long a fault holds the job at its place; the kill comes as soon as it is held."""

PLACES = {
    "idle, a moment before the job comes": None,
    "while the websocket is opened": "slow_response:path=/ws",
    "while the prompt is submitted": "slow_response:path=/prompt",
    "while it waits behind another prompt": "slow:node=EmptyImage",
    "in the first node": "slow:node=LoadImage",
    "in a node that notices nothing": "hang:node=ImageInvert",
    "in the last node, which saves": "slow:node=SaveImage",
    "after the end, before the history": "late_history:",
    "while the history is asked for": "slow_response:path=/history",
}


class ComfyUI:
    """The process that serves the endpoint's worker at this moment."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._log = endpoint.log_file
        self._endpoint = endpoint
        self._struck_before = self._told(" strikes")
        deadline = Deadline.after(STEP_SECONDS)
        while not (found := self._find()):
            deadline.check("looking for ComfyUI")
            time.sleep(0.05)
        self.process = found
        command = found.cmdline()
        self.url = f"http://127.0.0.1:{command[len(command) - command[::-1].index('--port')]}"

    def _find(self) -> psutil.Process | None:
        for process in processes_below(self._endpoint):
            command = command_of(process)
            if "--port" in command and ("main.py" in command or "comfyui" in command):
                return process
        return None

    def call(self, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        with urllib.request.urlopen(f"{self.url}{path}", body, timeout=10) as response:  # noqa: S310
            return json.loads(response.read() or b"{}")

    def replace(self) -> ComfyUI:
        """Kill it; the one that takes its place. The worker has no connection to that yet."""
        ready_before = self._told("comfyui_ready")
        self.process.kill()
        deadline = Deadline.after(STEP_SECONDS)
        while self._told("comfyui_ready") == ready_before:
            deadline.check("waiting for the next ComfyUI")
            time.sleep(0.05)
        return ComfyUI(self._endpoint)

    def hold(self, fault: str) -> None:
        """Plan a fault that holds the next job."""
        separator = "" if fault.endswith(":") else ","
        self.call("/emulator/faults", {"faults": [f"{fault}{separator}seconds={HELD_SECONDS}"]})

    def _told(self, words: str) -> int:
        return self._log.read_text(encoding="utf-8").count(words)

    def wait_until_held(self) -> None:
        deadline = Deadline.after(STEP_SECONDS)
        while self._told(" strikes") == self._struck_before:
            deadline.check("waiting for the fault")
            time.sleep(0.01)

    def wait_until_queued(self) -> None:
        deadline = Deadline.after(STEP_SECONDS)
        while not self.call("/queue")["queue_pending"]:
            deadline.check("waiting for a second prompt")
            time.sleep(0.01)


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; empty for one that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def processes_below(endpoint: LocalEndpoint) -> list[psutil.Process]:
    """What it started; other tests' processes are no concern of these."""
    return psutil.Process(endpoint._child.process.pid).children(recursive=True)


def worker_process(endpoint: LocalEndpoint) -> psutil.Process:
    """The handler: the one process that runs rp_handler.py and is no child of another such (the SDK's heartbeat)."""
    children = processes_below(endpoint)
    handlers = [child for child in children if "rp_handler.py" in " ".join(command_of(child))]
    pids = {child.pid for child in handlers}
    return next(child for child in handlers if child.ppid() not in pids)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    folder = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("COMFYUI_COMMAND", shlex.join(comfyui_command(folder)))
        patch.setenv("MAXIMUM_RESTARTS_PER_HOUR", "1000")
        endpoint = LocalEndpoint(folder / "endpoint.log")
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def client(endpoint: LocalEndpoint) -> Iterator[Client]:
    with Client(endpoint.endpoint_id, endpoint.api_key, endpoint.base_url()) as client:
        yield client


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows = ["| killed | the client's answer | after the kill | the next job |", "| --- | --- | --- | --- |"]
    yield rows
    print("\n" + "\n".join(rows))


def picture(color: int) -> dict[str, Any]:
    """A job of three nodes whose picture nobody asked for before."""
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (color, 255 - color, 7)).save(content, "PNG")
    workflow = {**save_color(0), "1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}}}
    return {
        "workflow": workflow,
        "files": [{"name": "in.png", "data": base64.b64encode(content.getvalue()).decode()}],
    }


def pixel(output: Any) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(output["images"][0]["data"]))) as image:
        return image.convert("RGB").getpixel((5, 5))


@pytest.mark.parametrize("place", PLACES)
def test_a_job_survives_the_death_of_comfyui(
    place: str, endpoint: LocalEndpoint, client: Client, table: list[str]
) -> None:
    fault, color = PLACES[place], list(PLACES).index(place)
    if REAL_COMMAND and fault == "late_history:":
        pytest.skip("a real ComfyUI cannot be held there")
    client.submit(save_color(1000 + color)).wait(timeout_seconds=STEP_SECONDS)  # the worker is up
    comfyui = ComfyUI(endpoint)
    if place == "while the websocket is opened":
        comfyui = comfyui.replace()
    if fault:
        comfyui.hold(fault)
    if place == "while it waits behind another prompt":
        comfyui.call("/prompt", {"prompt": save_color(2000)})
        comfyui.wait_until_held()
        job = client.submit_input(picture(20 * color))
        comfyui.wait_until_queued()
    elif fault:
        job = client.submit_input(picture(20 * color))
        comfyui.wait_until_held()
    comfyui.process.kill()
    killed = time.monotonic()
    if not fault:
        job = client.submit_input(picture(20 * color))
    output = job.wait(timeout_seconds=STEP_SECONDS)
    seconds = time.monotonic() - killed
    assert pixel(output) == pytest.approx((255 - 20 * color, 20 * color, 248), abs=1)
    reruns = [warning for warning in output["warnings"] if "the job was run again" in warning]
    assert (len(reruns), len(output["warnings"])) == ((1, 1) if fault else (0, 0)), output["warnings"]
    assert all("SIGKILL" in warning for warning in reruns)
    begun = time.monotonic()
    following = client.submit(save_color(3000 + color)).wait(timeout_seconds=STEP_SECONDS)
    assert (following["status"], following["warnings"]) == ("success", [])
    answer = "COMPLETED, run again" if reruns else "COMPLETED"
    table.append(f"| {place} | {answer} | {seconds:.1f} s | COMPLETED after {time.monotonic() - begun:.1f} s |")


@pytest.mark.parametrize("fault", ["slow:node=ImageInvert", "hang:node=ImageInvert", "hang_server:node=ImageInvert"])
def test_a_killed_worker_leaves_no_comfyui(fault: str, endpoint: LocalEndpoint, client: Client) -> None:
    client.submit(save_color(4000)).wait(timeout_seconds=STEP_SECONDS)
    comfyui = ComfyUI(endpoint)
    comfyui.hold(fault)
    job = client.submit(save_color(4001 + len(fault)))
    comfyui.wait_until_held()
    below = [comfyui.process, *comfyui.process.children(recursive=True)]
    worker_process(endpoint).kill()
    assert psutil.wait_procs(below, timeout=5)[1] == []
    job.cancel()


def test_a_worker_that_is_told_to_end_takes_its_prompt_off_the_gpu_within_a_second(
    endpoint: LocalEndpoint, client: Client
) -> None:
    client.submit(save_color(5000)).wait(timeout_seconds=STEP_SECONDS)
    comfyui = ComfyUI(endpoint)
    comfyui.hold("slow:node=ImageInvert")
    job = client.submit(save_color(5001))
    comfyui.wait_until_held()
    worker_process(endpoint).terminate()
    deadline = Deadline.after(1)
    while any(comfyui.call("/queue").values()):
        deadline.check("waiting for an idle ComfyUI")
        time.sleep(0.01)
    job.cancel()
