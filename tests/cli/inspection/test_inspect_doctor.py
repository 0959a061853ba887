"""`comfypod doctor`: what is wrong is told with what to do about it, and no check is in another's way."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from comfypod.cli.doctor import comfyui, libraries, machine, outside, repository
from comfypod.cli.doctor.command import CHECKS
from comfypod.cli.doctor.finding import Check, Finding, Patient, run_checks
from comfypod.comfyui.checkout import checkout_python
from comfypod.comfyui.pin import ComfyUIPin
from comfypod.emulator.runpod import RunPodEmulator
from comfypod.worker.comfyui_command import comfyui_command
from tests.s3_server import S3Server

Inspect = Callable[..., subprocess.CompletedProcess[str]]
Answers = Callable[[Mapping[str, Any] | bytes], str]

ROOT = Path(__file__).parents[3]
KEY = "rpa_hush9f1c2e"


@pytest.fixture
def repository_copy(tmp_path: Path) -> Path:
    """A repository of its own, to be spoilt."""
    folder = tmp_path / "repository"
    for name in ("workflows", "custom_nodes"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "models.toml", folder)
    (folder / "ComfyUI").mkdir()
    shutil.copy(ROOT / "ComfyUI" / "comfyui.toml", folder / "ComfyUI")
    return folder


@pytest.fixture
def answering() -> Iterator[Answers]:
    """Serve one JSON document, or bytes, at every path; returns the address."""
    servers: list[ThreadingHTTPServer] = []

    def serve(document: Mapping[str, Any] | bytes) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def patient(root: Path, **environment: str) -> Patient:
    return Patient(root, environment, patience_seconds=0.2)


# How checks run


def test_checks_run_side_by_side(tmp_path: Path) -> None:
    meeting = threading.Barrier(2)

    def meet(_: Patient) -> Finding:
        meeting.wait(timeout=10)
        return Finding("meet", "ok", "met")

    found = list(run_checks([Check("a", meet), Check("b", meet)], patient(tmp_path)))
    assert [finding.sentence for finding in found] == ["met", "met"]


def test_a_check_that_hangs_is_told_and_the_others_are_not_held_up(tmp_path: Path) -> None:
    release = threading.Event()

    def hang(_: Patient) -> None:
        release.wait(timeout=30)

    begun = time.monotonic()
    checks = [Check("slow", hang, seconds=0.2), Check("quick", lambda _: Finding("quick", "ok", "done"))]
    found = list(run_checks(checks, patient(tmp_path)))
    release.set()
    assert time.monotonic() - begun < 10
    assert [(item.name, item.status) for item in found] == [("slow", "problem"), ("quick", "ok")]
    assert "did not end within 0.2 s" in found[0].sentence


def test_a_check_that_breaks_as_it_may_is_a_problem_and_a_bug_is_raised_after_all_was_told(tmp_path: Path) -> None:
    def break_(_: Patient) -> Finding:
        raise PermissionError(13, "Permission denied", "models.toml")

    def bug(_: Patient) -> Finding:
        raise KeyError("surprise")

    well = Check("well", lambda _: Finding("well", "ok", "done"))
    found = list(run_checks([Check("breaks", break_), well], patient(tmp_path)))
    assert [(item.name, item.status) for item in found] == [("breaks", "problem"), ("well", "ok")]
    assert "The check itself failed" in found[0].sentence
    run = run_checks([Check("bug", bug), well], patient(tmp_path))
    assert [next(run).name, next(run).name] == ["bug", "well"]
    with pytest.raises(KeyError, match="surprise"):
        next(run)


def test_every_check_has_a_name_and_a_deadline_of_its_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.seconds > 0 for check in CHECKS)


# The command


def test_a_sound_repository_has_no_problems(inspect: Inspect, repository_copy: Path) -> None:
    done = inspect("doctor", folder=repository_copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(
        f" {name} " in done.stdout for name in ("python", "settings", "comfyui", "models", "endpoint", "folders")
    )
    assert "problem" not in done.stdout


def test_a_problem_ends_the_command_with_1_and_json_has_the_remedy(inspect: Inspect, repository_copy: Path) -> None:
    (repository_copy / "models.toml").write_text("[[model]]\n")
    done = inspect("doctor", "--json", folder=repository_copy, COMFY_HOST="x")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    found = {item["name"]: item for item in document["findings"]}
    assert document["problems"] == 1
    assert "model number 1" in found["models"]["sentence"]
    assert found["models"]["remedy"]
    assert (found["settings"]["status"], "COMFYUI_URL" in found["settings"]["sentence"]) == ("warning", True)


def test_it_runs_with_the_clients_libraries_alone(tmp_path: Path, repository_copy: Path) -> None:
    missing = "aiohttp yarl obstore websockets numpy PIL av puremagic huggingface_hub runpod boto3 packaging"
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing.split()!r}))\n"
        "sys.argv = ['comfypod', 'doctor', '--json']\n"
        "from comfypod.cli.main import main\nmain()\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMFY", "RUNPOD_", "BUCKET_"))}
    environment = {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=repository_copy,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {item["name"]: item for item in json.loads(done.stdout)["findings"]}
    assert "comfypod[worker]" in found["bucket"]["sentence"]


# Python and libraries


@pytest.mark.parametrize(
    ("version", "versions", "expected"),
    [
        ("2.14.3", "<3,>=2.12", True),
        ("2.9", "<3,>=2.12", False),
        ("3.0", "<3,>=2.12", False),
        ("16.0.0", ">=16,<19", True),
        ("0.13.0rc1", "<0.13,>=0.12", False),
        ("1.0", "", True),
    ],
)
def test_ranges_of_versions_are_understood(version: str, versions: str, expected: bool) -> None:
    assert libraries.satisfies(version, versions) is expected


def test_other_versions_than_the_pinned_ones_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# pins\nrequests==0.0.1\nno-such-thing==1 ; python_version < '3'\n")
    finding = libraries.base_libraries(patient(tmp_path))
    assert finding.status == "warning"
    assert "requests " in finding.sentence
    assert "(pinned: 0.0.1)" in finding.sentence


# This machine


def test_the_gpu_is_told_with_driver_memory_and_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(
        tmp_path / "nvidia-smi",
        'case "$1" in --query*) echo "NVIDIA L4, 550.54.15, 23034 MiB";; *) echo "| CUDA Version: 12.4     |";; esac',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert machine.gpu(patient(tmp_path)) == Finding(
        "gpu", "ok", "NVIDIA L4 (23034 MiB, driver 550.54.15); CUDA up to 12.4"
    )
    script(tmp_path / "nvidia-smi", 'echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18')
    broken = machine.gpu(patient(tmp_path))
    assert broken.status == "problem"
    assert "Driver/library version mismatch" in broken.sentence
    (tmp_path / "nvidia-smi").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpu(patient(tmp_path)).status == "note"


def test_whoever_has_a_port_is_told(comfyui_url: str) -> None:
    assert machine.owner_of(int(comfyui_url.rpartition(":")[2])).startswith("ComfyUI ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0)
        assert f"(process {os.getpid()})" in machine.owner_of(taken.getsockname()[1])


def test_a_port_of_ours_that_is_taken_is_told_unless_the_comfyui_in_use_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0)
        port = taken.getsockname()[1]
        finding = machine.ports(patient(tmp_path), {port: "comfypod emulate x"})
        assert (finding.status, f"{port} is taken by" in finding.sentence) == ("note", True)
        assert "comfypod emulate x --port 0" in finding.remedy
        in_use = patient(tmp_path, COMFYUI_URL=f"http://127.0.0.1:{port}")
        assert machine.ports(in_use, {port: "comfypod emulate x"}).status == "ok"


def test_a_folder_that_cannot_be_written_to_is_a_problem(tmp_path: Path) -> None:
    assert machine.folders(patient(tmp_path)).status == "ok"
    (tmp_path / "outputs").write_text("a file in its place")
    finding = machine.folders(patient(tmp_path))
    assert (finding.status, "outputs/" in finding.sentence) == ("problem", True)
    assert not (tmp_path / ".comfypod").exists()


# ComfyUI


def test_a_comfyui_that_runs_is_told_with_its_version(tmp_path: Path, comfyui_url: str, answering: Answers) -> None:
    assert comfyui.comfyui(patient(tmp_path, COMFYUI_URL=comfyui_url)).status in {"ok", "note"}
    real = answering({"system": {"comfyui_version": "0.3.64"}})
    assert comfyui.comfyui(patient(tmp_path, COMFYUI_URL=real)).sentence == (
        f"ComfyUI 0.3.64 answers at {real} (COMFYUI_URL)"
    )
    other = comfyui.comfyui(patient(tmp_path, COMFYUI_URL=answering({"hello": 1})))
    assert (other.status, "is no ComfyUI" in other.sentence) == ("problem", True)
    page = comfyui.comfyui(patient(tmp_path, COMFYUI_URL=answering(b"<html>")))
    assert (page.status, "is no ComfyUI" in page.sentence) == ("problem", True)
    missing = comfyui.comfyui(patient(tmp_path, COMFYUI_URL=f"{comfyui_url}/nowhere"))
    assert "answers HTTP 404" in missing.sentence
    gone = comfyui.comfyui(patient(tmp_path, COMFYUI_URL="http://user:secret@127.0.0.1:9"))
    assert (gone.status, "secret" in gone.sentence) == ("problem", False)
    assert "it does not answer" in gone.sentence


@pytest.mark.parametrize(
    ("command", "status", "part"),
    [
        ("no-such-program main.py", "problem", "'no-such-program', which is no program here"),
        ("/bin/sh main.py", "problem", "main.py, which is not there"),
        ("/bin/sh -c true", "ok", "names a program that is here"),
    ],
)
def test_a_command_must_name_what_is_there(command: str, status: str, part: str, tmp_path: Path) -> None:
    finding = comfyui.comfyui(patient(tmp_path, COMFYUI_COMMAND=command))
    assert (finding.status, part in finding.sentence) == (status, True)


def test_start_starts_it_and_sees_whether_it_works(tmp_path: Path) -> None:
    command = f"{sys.executable} -m comfypod emulate comfyui --base-directory {tmp_path / 'engine'}"
    environment = {"COMFYUI_COMMAND": command}
    works = comfyui.start(Patient(ROOT, environment, starts_comfyui=True))
    assert works == Finding("start", "ok", "ComfyUI started, and its self-test ran")
    assert comfyui.start(Patient(ROOT, environment)) is None
    nothing = comfyui.start(Patient(tmp_path, {}, starts_comfyui=True))
    assert nothing is not None
    assert (nothing.status, "comfypod comfyui install" in nothing.remedy) == ("note", True)
    broken = Patient(ROOT, {"COMFYUI_COMMAND": "/bin/sh -c 'exit 3'"}, starts_comfyui=True)
    check = next(check for check in CHECKS if check.name == "start")
    (finding,) = run_checks([check], broken)
    assert (finding.status, "exit" in finding.sentence) == ("problem", True)


def test_a_checkout_is_compared_with_the_pin_and_its_torch_is_asked_in_its_own_python(repository_copy: Path) -> None:
    checkout = repository_copy / "ComfyUI"
    (checkout / "main.py").touch()
    pin = ComfyUIPin.load(checkout / "comfyui.toml")
    (checkout / "comfyui_version.py").write_text(f'__version__ = "{pin.version}"\n')
    assert comfyui.comfyui(patient(repository_copy)).status == "ok"
    (checkout / "comfyui_version.py").write_text('__version__ = "0.8.2"\n')
    other = comfyui.comfyui(patient(repository_copy))
    assert (other.status, f"version 0.8.2; the image installs {pin.version}" in other.sentence) == ("note", True)
    assert "comfypod comfyui install" in other.remedy
    assert comfyui.torch(patient(repository_copy)) is None
    python = script(checkout / ".venv" / "bin" / "python", """echo '["2.9.0+cu128", "12.8", true]'""")
    shutil.copytree(ROOT / "image" / "torch", repository_copy / "image" / "torch")
    finding = comfyui.torch(patient(repository_copy))
    assert finding is not None
    assert (finding.status, "torch 2.9.0+cu128" in finding.sentence) == ("warning", True)
    script(python, "echo 'ModuleNotFoundError: No module named torch' >&2; exit 1")
    broken = comfyui.torch(patient(repository_copy))
    assert broken is not None
    assert (broken.status, "No module named torch" in broken.sentence) == ("problem", True)
    assert "torch" not in sys.modules


# The repository


def test_models_are_here_missing_or_wrong_and_must_have_room(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        '[[model]]\nname = "a.safetensors"\nfolder = "vae"\nurl = "https://x.test/a"\nsize_bytes = 3\n'
    )
    assert repository.models(patient(tmp_path)).status == "note"
    file = tmp_path / "ComfyUI" / "models" / "vae" / "a.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    assert repository.models(patient(tmp_path)).status == "ok"
    file.write_bytes(b"abcd")
    wrong = repository.models(patient(tmp_path))
    assert (wrong.status, "vae/a.safetensors" in wrong.sentence) == ("problem", True)
    text = (tmp_path / "models.toml").read_text().replace("size_bytes = 3", f"size_bytes = {10**18}")
    (tmp_path / "models.toml").write_text(text)
    file.unlink()
    full = repository.models(patient(tmp_path))
    assert (full.status, "free:" in full.sentence) == ("problem", True)
    elsewhere = repository.models(patient(tmp_path, MODELS_DIRECTORY=str(tmp_path / "volume")))
    assert str(tmp_path / "volume") in elsewhere.sentence


def test_a_template_that_cannot_be_filled_in_is_a_problem(repository_copy: Path) -> None:
    assert repository.templates(patient(repository_copy)).status == "ok"
    path = repository_copy / "workflows" / "text_to_image.json"
    path.write_text(path.read_text().replace('"3.steps"', '"3.stepz"'))
    (repository_copy / "workflows" / "broken.json").write_text("{")
    finding = repository.templates(patient(repository_copy))
    assert finding.status == "problem"
    assert "There is no input '3.stepz'" in finding.sentence
    assert "broken.json is not a template" in finding.sentence


def test_packs_that_a_checkout_lacks_are_a_warning(repository_copy: Path) -> None:
    (repository_copy / "custom_nodes" / "nodes.toml").write_text(
        f'[[pack]]\nname = "x"\nrepository = "https://github.com/e/x"\ncommit = "{"0" * 40}"\nclasses = ["X"]\n'
    )
    assert repository.nodes(patient(repository_copy)).status == "ok"
    (repository_copy / "ComfyUI" / "main.py").touch()
    assert repository.nodes(patient(repository_copy)).status == "warning"
    (repository_copy / "ComfyUI" / "custom_nodes" / "X").mkdir(parents=True)
    assert repository.nodes(patient(repository_copy)).status == "ok"


# The bucket


def test_a_bucket_is_written_to_and_a_wrong_key_is_told_without_being_shown(
    tmp_path: Path, s3_server: S3Server
) -> None:
    assert outside.bucket(patient(tmp_path, **s3_server.environment)).status == "ok"
    wrong = outside.bucket(patient(tmp_path, **{**s3_server.environment, "BUCKET_SECRET_ACCESS_KEY": KEY}))
    assert (wrong.status, KEY in str(wrong)) == ("problem", False)
    assert "BUCKET_SECRET_ACCESS_KEY" in wrong.sentence


def test_no_bucket_is_a_problem_only_if_one_is_wanted(tmp_path: Path) -> None:
    assert outside.bucket(patient(tmp_path)).status == "note"
    assert outside.bucket(Patient(tmp_path, {}, needs_bucket=True)).status == "problem"
    half = patient(tmp_path, BUCKET_ENDPOINT_URL="https://s3.example.test")
    assert outside.bucket(half).status == "note"
    assert repository.settings(half).status == "problem"


# The endpoint


async def test_an_endpoint_is_asked_with_the_key_of_the_environment(inspect: Inspect, tmp_path: Path) -> None:
    async with RunPodEmulator("mine", KEY) as runpod:
        for endpoint, key, part in (
            ("mine", KEY, "mine answers (a key is in RUNPOD_API_KEY): no workers"),
            ("mine", "wrong-key-7d", "refused the API key"),
            ("other", KEY, "There is no endpoint at"),
        ):
            options = ("--endpoint", endpoint, "--base-url", runpod.base_url, "--json")
            done = await asyncio.to_thread(inspect, "doctor", *options, RUNPOD_API_KEY=key)
            found = {item["name"]: item for item in json.loads(done.stdout)["findings"]}["endpoint"]
            assert part in found["sentence"]
            assert found["status"] == ("note" if endpoint == "mine" and key == KEY else "problem")
            assert key not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("workers", "waiting", "expected"),
    [
        ({"idle": 1, "ready": 1, "running": 1}, 0, ("ok", "1 idle, 1 ready, 1 running")),
        ({"unhealthy": 2}, 3, ("problem", "all its workers are unhealthy")),
        ({"unhealthy": 1, "idle": 1}, 0, ("warning", "some workers are unhealthy")),
        ({"throttled": 2}, 1, ("warning", "throttled")),
        ({}, 4, ("problem", "4 jobs wait, for a worker that is not there")),
        ({}, 0, ("note", "no workers")),
    ],
)
def test_what_the_counts_of_workers_mean_is_told(
    workers: dict[str, int], waiting: int, expected: tuple[str, str], tmp_path: Path, answering: Answers
) -> None:
    url = answering({"jobs": {"inQueue": waiting}, "workers": workers})
    finding = outside.endpoint(Patient(tmp_path, {"RUNPOD_API_KEY": KEY}, "ep", url, patience_seconds=0.2))
    assert (finding.status, expected[1] in finding.sentence) == (expected[0], True), finding
    assert bool(finding.remedy) is (finding.status != "ok")


def test_an_endpoint_that_is_away_or_has_no_key_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    away = Patient(tmp_path, {"RUNPOD_API_KEY": KEY}, "ep", "http://127.0.0.1:9", patience_seconds=0.2)
    finding = outside.endpoint(away)
    assert (finding.status, KEY in str(finding)) == ("problem", False)
    keyless = outside.endpoint(Patient(tmp_path, {}, "ep"))
    assert (keyless.status, "RUNPOD_API_KEY" in keyless.sentence) == ("problem", True)
    assert outside.endpoint(patient(tmp_path)).status == "note"


def test_the_worker_starts_comfyui_with_the_python_that_is_checked(repository_copy: Path, tmp_path: Path) -> None:
    checkout = repository_copy / "ComfyUI"
    (checkout / "main.py").touch()
    assert list(comfyui_command(repository_copy, tmp_path, None, None).arguments[:2]) == [
        sys.executable,
        str(checkout / "main.py"),
    ]
    own_python = checkout / "venv" / "bin" / "python"
    own_python.parent.mkdir(parents=True)
    own_python.touch()
    assert checkout_python(checkout) == own_python
    assert comfyui_command(repository_copy, tmp_path, None, None).arguments[0] == str(own_python)
