"""Which ComfyUI the worker takes, and how its process starts, fails to start, and ends."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import socket
import sys
import threading
import urllib.request
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from worker_jobs import ROOT, job, save_color

from comfypod.comfyui.client import Patience
from comfypod.comfyui.process import ComfyUIProcess
from comfypod.comfyui.selftest import run_self_test
from comfypod.comfyui.server import RemoteServer
from comfypod.errors import ComfyUIUnavailable, ConfigurationError
from comfypod.settings import Settings
from comfypod.worker.comfyui_command import comfyui_command
from comfypod.worker.main import WorkerApplication

# As much of a ComfyUI as a start needs: it takes --listen and --port, and answers every GET.
SERVER = """
import argparse, http.server
parser = argparse.ArgumentParser()
parser.add_argument("--listen", default="127.0.0.1")
parser.add_argument("--port", type=int)
arguments, _ = parser.parse_known_args()

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

print("serving", flush=True)
http.server.ThreadingHTTPServer((arguments.listen, arguments.port), Answer).serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    path = tmp_path / "server.py"
    path.write_text(SERVER, encoding="utf-8")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/queue", timeout=5) as response:  # noqa: S310
        return bool(response.status == 200)


def test_a_command_gets_a_free_port_and_ends_with_the_worker(server: Path, tmp_path: Path) -> None:
    process = ComfyUIProcess([sys.executable, str(server)], tmp_path)
    process.start()
    process.wait_until_ready(10)
    assert answers(process.url)
    process.stop()
    with pytest.raises(OSError, match="refused"):
        answers(process.url)


@pytest.mark.parametrize("form", ["--port {}", "--port={}"])
def test_a_command_keeps_its_own_port(server: Path, tmp_path: Path, form: str) -> None:
    port = free_port()
    process = ComfyUIProcess([sys.executable, str(server), *form.format(port).split()], tmp_path)
    assert process.url == f"http://127.0.0.1:{port}"
    process.start()
    process.wait_until_ready(10)
    process.stop()


@pytest.mark.parametrize("text", ["--port", "--port high", "--port=x", "--port=", "--port=0", "--port 65536"])
def test_a_port_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a port"):
        ComfyUIProcess(["python", *text.split()], tmp_path)


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be started"):
        ComfyUIProcess(["/no/such/program"], tmp_path).start()


def test_a_process_that_exits_is_told_with_its_code_and_last_words(tmp_path: Path) -> None:
    process = ComfyUIProcess([sys.executable, "-c", "print('no kernel image for this GPU'); exit(3)"], tmp_path)
    process.start()
    with pytest.raises(ComfyUIUnavailable) as caught:
        process.wait_until_ready(10)
    process.stop()
    assert caught.value.exit_code == 3
    assert "exited with code 3" in str(caught.value)
    assert "no kernel image for this GPU" in str(caught.value)


def test_a_process_that_never_answers_is_told_in_time_and_ended(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    process = ComfyUIProcess([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path)
    process.start()
    started = set(psutil.Process().children()) - before
    assert started
    with pytest.raises(ComfyUIUnavailable, match=r"within 0\.3 s"):
        process.wait_until_ready(0.3)
    process.stop()
    assert not any(child.is_running() for child in started)


def engine_command(folder: Path) -> list[str]:
    engine = [sys.executable, "-m", "comfypod", "emulate", "comfyui"]
    return [*engine, "--base-directory", str(folder / "engine")]


def application(root: Path, **environment: str) -> WorkerApplication:
    return WorkerApplication(Settings.from_environment(environment), root, environment)


def test_a_url_comes_first_and_starts_nothing(tmp_path: Path) -> None:
    before = psutil.Process().children()
    with application(tmp_path, COMFYUI_URL="http://127.0.0.1:9", COMFYUI_COMMAND="false") as worker:
        assert psutil.Process().children() == before
        assert worker.settings.comfyui_url == "http://127.0.0.1:9"


def test_a_command_comes_before_a_checkout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "main.py").write_text("raise SystemExit(9)", encoding="utf-8")
    with application(tmp_path, COMFYUI_COMMAND=shlex.join(engine_command(tmp_path))) as worker:
        worker.wait_until_ready()
    assert "comfyui | ready http" in capfd.readouterr().err


def test_a_checkout_is_started(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ComfyUI").mkdir()
    script = f"import os, sys\ncommand = {engine_command(tmp_path)!r}\n"
    script += "os.execv(command[0], command + [flag for flag in sys.argv[1:] if flag != '--cpu'])\n"
    (tmp_path / "ComfyUI" / "main.py").write_text(script, encoding="utf-8")
    with application(tmp_path) as worker:
        worker.wait_until_ready()
    assert "comfyui | ready http" in capfd.readouterr().err


# As much of a checkout as its command needs.
FOLDER_PATHS = 'folder_names_and_paths["loras"] = ([os.path.join(models_dir, "loras")], extensions)\n'


def test_the_command_of_a_checkout_has_the_pins_flags_and_tells_where_models_are(tmp_path: Path) -> None:
    checkout, folder, models = tmp_path / "ComfyUI", tmp_path / "worker", tmp_path / "models"
    for path in (checkout, folder, models / "loras"):
        path.mkdir(parents=True)
    (checkout / "main.py").touch()
    (checkout / "folder_paths.py").write_text(FOLDER_PATHS, encoding="utf-8")
    shutil.copy(ROOT / "ComfyUI" / "comfyui.toml", checkout)
    command = comfyui_command(tmp_path, folder, None, str(models))
    _, script, *flags = command.arguments
    assert script == str(checkout / "main.py")
    assert "--disable-auto-launch" in flags
    paths = json.loads(Path(flags[flags.index("--extra-model-paths-config") + 1]).read_text(encoding="utf-8"))
    assert str(models / "loras") in json.dumps(paths)
    assert command.model_paths is not None
    assert list(command.model_paths.by_kind["loras"]) == [checkout / "models" / "loras", models / "loras"]
    assert Path(flags[flags.index("--output-directory") + 1]).is_dir()


def test_a_checkout_whose_folders_are_not_known_is_started_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "main.py").touch()
    command = comfyui_command(tmp_path, tmp_path, None, None)
    assert "--extra-model-paths-config" not in command.arguments
    assert "model_paths_not_found" in caplog.messages


def test_a_port_that_was_chosen_is_used_unless_the_command_names_one(tmp_path: Path) -> None:
    assert ComfyUIProcess(["python"], tmp_path, 8190).url == "http://127.0.0.1:8190"
    assert ComfyUIProcess(["python", "--port", "8191"], tmp_path, 8190).url == "http://127.0.0.1:8191"


def test_a_server_that_only_answers_is_not_ready(server: Path, tmp_path: Path) -> None:
    process = ComfyUIProcess([sys.executable, str(server)], tmp_path)
    process.start()
    process.wait_until_ready(10)
    with pytest.raises(ComfyUIUnavailable) as caught:
        run_self_test(process, 10, Patience(reconnect_seconds=0.2))
    process.stop()
    assert caught.value.phase == "self_test"


GARBAGE = ("no JSON {id}", '["{id}"]', '{"type": "{id}", "data": null}', '{"id": "{id}", "data": ["{id}"]}')


async def test_the_self_test_bears_what_node_packs_send_and_leaves_no_history() -> None:
    application, passed = web.Application(), threading.Event()
    sockets: list[web.WebSocketResponse] = []
    telling: list[asyncio.Task[None]] = []
    history: set[str] = set()

    async def socket(request: web.Request) -> web.WebSocketResponse:
        sockets.append(websocket := web.WebSocketResponse())
        await websocket.prepare(request)
        async for _ in websocket:
            pass
        return websocket

    async def tell(prompt_id: str) -> None:
        for text in GARBAGE:
            await sockets[0].send_str(text.replace("{id}", prompt_id))
        for kind in ("executed", "execution_success"):
            await sockets[0].send_json({"type": kind, "data": {"node": "2", "prompt_id": prompt_id}})
        await asyncio.sleep(0.1)  # ComfyUI may take its time before the entry is there
        history.add(prompt_id)
        await sockets[0].send_json({"type": "executing", "data": {"node": None, "prompt_id": prompt_id}})

    async def prompt(request: web.Request) -> web.Response:
        prompt_id = (await request.json())["prompt_id"]
        telling.append(asyncio.create_task(tell(prompt_id)))
        return web.json_response({"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    async def forget(request: web.Request) -> web.Response:
        history.difference_update((await request.json())["delete"])
        return web.Response()

    application.add_routes([web.get("/ws", socket), web.post("/prompt", prompt), web.post("/history", forget)])
    async with TestServer(application) as server:
        await asyncio.to_thread(run_self_test, RemoteServer(str(server.make_url("/"))), 10, on_passed=passed.set)
        await asyncio.gather(*telling)
    assert passed.is_set()
    assert not history


def test_a_port_that_is_taken_is_told_and_its_owner_not_taken_for_ours(server: Path, tmp_path: Path) -> None:
    owner = ComfyUIProcess([sys.executable, str(server)], tmp_path)
    owner.start()
    owner.wait_until_ready(10)
    with pytest.raises(ComfyUIUnavailable, match="another process listens"):
        ComfyUIProcess([sys.executable, str(server), f"--port={owner.url.rpartition(':')[2]}"], tmp_path).start()
    owner.stop()


def test_without_any_the_built_in_engine_runs_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "models.toml").write_text("", encoding="utf-8")
    with application(tmp_path) as worker:
        worker.wait_until_ready()
    (record,) = [record for record in caplog.records if record.getMessage() == "built_in_engine"]
    assert record.levelname == "WARNING"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the templates and the models of this one, and no ComfyUI of its own."""
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    (tmp_path / "models.toml").symlink_to(ROOT / "models.toml")
    return tmp_path


@pytest.mark.parametrize("name", ["text_to_image", "warm.json"])
def test_the_warm_up_runs_before_the_first_job(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.chdir(root)
    (root / "warm.json").write_text(json.dumps(save_color(1)), encoding="utf-8")
    with application(root, WARMUP_WORKFLOW=name) as worker:
        worker.wait_until_ready()
    submitted = [record.fields["nodes"] for record in caplog.records if record.getMessage() == "prompt_submitted"]  # type: ignore[attr-defined]
    assert submitted == [7 if name == "text_to_image" else 3]
    assert "warmup_failed" not in caplog.messages


@pytest.mark.parametrize("name", ["no_such_template", "missing.json", "broken.json", "export.json"])
def test_a_warm_up_that_cannot_be_read_is_a_mistake_of_the_operator(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    (root / "broken.json").write_text("{", encoding="utf-8")
    (root / "export.json").write_text('{"nodes": [], "links": []}', encoding="utf-8")
    told = pytest.raises(ConfigurationError, match=f"WARMUP_WORKFLOW '{name}'")
    with application(root, WARMUP_WORKFLOW=name) as worker, told:
        worker.wait_until_ready()


def test_a_warm_up_that_fails_is_told_and_the_worker_serves(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(root)
    (root / "warm.json").write_text('{"1": {"class_type": "NoSuchNode", "inputs": {}}}', encoding="utf-8")
    with application(root, WARMUP_WORKFLOW="warm.json") as worker:
        worker.wait_until_ready()
        assert "warmup_failed" in caplog.messages
        answer = asyncio.run(worker.handler(None)(job(workflow=save_color(2))))
    assert answer["status"] == "success"
