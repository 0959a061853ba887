"""``comfypod pod`` as a process: the API with its key, the page, the end, and a worker that cannot be started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import WSServerHandshakeError, encode_basic_auth
from typer.testing import CliRunner

from comfypod import Client
from comfypod.cli.commands.pod import app
from comfypod.errors import AuthenticationFailed, ConfigurationError

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef-key"
SECONDS = 30.0
LONG_JOB = {"prompt": "a green tree", "parameters": {"steps": 100, "width": 1024, "height": 1024}}
SHORT_JOB = {"prompt": "a red barn", "parameters": {"steps": 1, "width": 64, "height": 64}}
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "page"}},
}


class RunningPod:
    """A pod with the built-in engine as its ComfyUI."""

    def __init__(self, folder: Path, *arguments: str, cwd: Path = ROOT, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "COMFY"))}
        engine = f"{sys.executable} -m comfypod emulate comfyui --base-directory {folder / 'engine'}"
        engine += f" --models {ROOT / 'models.toml'}"
        self.log = folder / "log"
        self.output = self.log.open("a+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "comfypod", "pod", "--port", "0", "--state", str(folder / "jobs.db"), *arguments],
            cwd=cwd,
            env={**kept, "HOME": str(folder), "COMFYPOD_API_KEY": KEY, "COMFYUI_COMMAND": engine, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.output,
            text=True,
            start_new_session=True,
        )

    def base_url(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:"), self.log.read_text(encoding="utf-8")
        return line.removeprefix("ready ").strip()

    def logged(self, event: str) -> str:
        """The first line with this event; waits for it."""
        deadline = time.monotonic() + SECONDS
        while True:
            text = self.log.read_text(encoding="utf-8")
            for line in text.splitlines():
                if event in line:
                    return line
            assert time.monotonic() < deadline, text
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=SECONDS)
        self.output.close()


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPod]:
    folder = tmp_path_factory.mktemp("pod")
    pod = RunningPod(folder, "--comfyui-page", "--page-port", "0", COMFYPOD_STARTED=str(time.time() - 50))
    yield pod
    pod.process.send_signal(signal.SIGTERM)
    pod.process.wait(SECONDS)
    pod.stop()


@pytest.fixture(scope="module")
def base_url(pod: RunningPod) -> str:
    return pod.base_url()


@pytest.fixture
async def browser(pod: RunningPod, base_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    pod.logged("comfyui_ready")
    address = f"http://127.0.0.1:{pod.logged('page_started').partition(' port=')[2].split()[0]}"
    timeout = aiohttp.ClientTimeout(SECONDS)
    async with aiohttp.ClientSession(address, timeout=timeout, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


def test_a_job_through_the_api_with_the_key(pod: RunningPod, base_url: str) -> None:
    with Client("local", KEY, base_url) as client:
        result = client.submit_input(SHORT_JOB).wait()
        assert len(result.images) == 1
        assert client.health()["workers"]["idle"] == 1
    with Client("local", "another-key-of-length", base_url) as client, pytest.raises(AuthenticationFailed):
        client.health()
    assert "not RunPod's" in pod.logged("RunPod's API as comfypod itself implements it")
    python_seconds = pod.logged("worker_ready").partition(" python=")[2].split()[0]
    assert float(python_seconds) < 20, "since the worker's start, not since the pod's"


def test_nobody_but_the_pod_itself_has_the_key(pod: RunningPod, base_url: str) -> None:
    del base_url
    pod.logged("comfyui_ready")
    started = psutil.Process(pod.process.pid).children(recursive=True)
    assert len(started) >= 2, "the worker and its ComfyUI"
    assert not [child for child in started if KEY in json.dumps([child.environ(), child.cmdline()])]
    assert KEY not in pod.log.read_text(encoding="utf-8")


async def test_the_page_runs_a_prompt_to_its_end(browser: aiohttp.ClientSession) -> None:
    async with browser.get("/queue") as response:
        assert response.status == 401
    async with browser.get("/queue", headers={"Authorization": encode_basic_auth("me", KEY)}) as response:
        assert await response.json() == {"queue_running": [], "queue_pending": []}
    origin = {"Origin": str(browser._base_url).rstrip("/")}
    async with browser.ws_connect("/ws?clientId=page", headers=origin) as websocket:  # the cookie is enough
        assert (await websocket.receive_json())["type"] == "status"
        async with browser.post("/prompt", json={"prompt": PROMPT, "client_id": "page"}, headers=origin) as response:
            assert response.status == 200
        image = await saved_image(websocket)
    async with browser.get("/view", params=image) as response:
        assert (response.content_type, (await response.read())[:4]) == ("image/png", b"\x89PNG")


async def test_what_the_page_saves_while_a_job_runs_is_left_alone(
    pod: RunningPod, base_url: str, browser: aiohttp.ClientSession
) -> None:
    headers = {"Authorization": encode_basic_auth("me", KEY)}
    with Client("local", KEY, base_url) as client:
        job = client.submit(prompt="a green tree", parameters={"steps": 20, "width": 768, "height": 768})
        pod.logged("prompt_submitted job_id=" + job.id)
        body = {"prompt": PROMPT, "client_id": "page", "front": True}
        async with browser.post("/prompt", json=body, headers=headers) as response:
            assert response.status == 200
        async with browser.ws_connect("/ws?clientId=page", headers=headers) as websocket:
            image = await saved_image(websocket)
        await asyncio.to_thread(job.wait)
    async with browser.get("/view", params=image, headers=headers) as response:
        assert response.status == 200


async def saved_image(websocket: aiohttp.ClientWebSocketResponse) -> Any:
    """What the prompt saved, once ComfyUI has told that it succeeded."""
    found = None
    async with asyncio.timeout(SECONDS):
        while True:
            message = await websocket.receive_json()
            if message["type"] == "executed":
                (found,) = message["data"]["output"]["images"]
            elif message["type"] == "execution_success":
                return found


async def test_a_page_of_another_site_cannot_use_the_browsers_cookie(browser: aiohttp.ClientSession) -> None:
    async with browser.get("/queue", headers={"Authorization": encode_basic_auth("me", KEY)}):
        pass
    with pytest.raises(WSServerHandshakeError) as refusal:
        await browser.ws_connect("/ws?clientId=evil", headers={"Origin": "https://evil.example"})
    assert refusal.value.status == 403


def test_sigterm_ends_everything_and_the_next_start_goes_on_with_the_queue(tmp_path: Path) -> None:
    first = RunningPod(tmp_path)
    try:
        with Client("local", KEY, first.base_url()) as client:
            running = client.submit_input(LONG_JOB)
            first.logged("prompt_submitted job_id=" + running.id)
            waiting = client.submit_input(SHORT_JOB)
        started = psutil.Process(first.process.pid).children(recursive=True)
        begun = time.monotonic()
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(SECONDS) == 0
        assert time.monotonic() - begun < 10
        assert psutil.wait_procs(started, timeout=2)[1] == []
    finally:
        first.stop()
    second = RunningPod(tmp_path)
    try:
        with Client("local", KEY, second.base_url()) as client:
            assert len(client.job(waiting.id).wait().images) == 1
            second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(SECONDS) == 0
    finally:
        second.stop()


def test_a_worker_that_is_set_up_wrongly_ends_the_pod_with_its_reason(tmp_path: Path) -> None:
    pod = RunningPod(tmp_path, COMFYUI_COMMAND="/no/such/comfyui")
    try:
        assert pod.process.wait(SECONDS) == 1
        *_, last = pod.log.read_text(encoding="utf-8").splitlines()
        assert last.startswith("configuration: ComfyUI's command '/no/such/comfyui' cannot be started")
        assert pod.log.read_text(encoding="utf-8").count("worker_started") == 1
    finally:
        pod.stop()


def test_a_worker_that_fails_again_and_again_ends_the_pod(tmp_path: Path) -> None:
    (tmp_path / "rp_handler.py").write_text("import sys; sys.exit('bad luck')", encoding="utf-8")
    pod = RunningPod(tmp_path, cwd=tmp_path)
    try:
        assert pod.process.wait(SECONDS) == 1
        *_, last = pod.log.read_text(encoding="utf-8").splitlines()
        assert last == "bad luck"
        assert pod.log.read_text(encoding="utf-8").count("worker_started") == 3
    finally:
        pod.stop()


def test_it_does_not_listen_to_the_world_without_a_key() -> None:
    variables = {"COMFYPOD_HOST": "0.0.0.0", "COMFYPOD_API_KEY": "short"}  # noqa: S104
    refusal = CliRunner().invoke(app, ["--port", "0"], env=variables).exception
    assert isinstance(refusal, ConfigurationError)
    assert str(refusal).startswith("Listening at 0.0.0.0, a pod needs a longer key")
