"""From the start of the container's first program to the first job's answer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import engine_command, engine_only
from worker_jobs import ROOT, job, save_color

from benchmarks.boot import LocalRunPod
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings
from comfypod.worker.boot import STARTED_VARIABLE, BootTimeline
from comfypod.worker.launch import Launch, LaunchSettings
from comfypod.worker.main import WorkerApplication

MOST_MODULES = 200
"""That are imported before ComfyUI is started, most of them Python's own; pydantic alone would be 100 more."""
SLOW = {"aiohttp", "asyncio", "http.client", "numpy", "PIL", "pydantic", "requests", "runpod", "ssl", "websockets"}


def test_nothing_slow_is_imported_before_comfyui_is_started() -> None:
    script = "import rp_handler, sys, json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert not modules & SLOW
    assert len(modules) < MOST_MODULES


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"REQUIRE_GPU": "true", "COMFYUI_PORT": " 8188 ", "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json"},
        {"REQUIRE_GPU": "Yes", "COMFYUI_URL": "http://127.0.0.1:9", "MODELS_DIRECTORY": "/models"},
        {"REQUIRE_GPU": "ON", "COMFYUI_COMMAND": " a b ", "COMFYUI_URL": " ", "COMFYPOD_CUDA_VERSION": "12.8.1"},
        {"COMFYUI_PORT": "65535", "COMFYUI_COMMAND": "a --port=1"},
        *({"REQUIRE_GPU": word} for word in ("1", "t", "Y", "0", "false", "off", "n", "No", "")),
    ],
)
def test_what_is_read_before_the_settings_says_the_same(given: dict[str, str]) -> None:
    early, settings = LaunchSettings.from_environment(given), Settings.from_environment(given)
    for name in ("comfyui_url", "comfyui_command", "comfyui_port", "require_gpu", "models_directory", "log_level"):
        assert getattr(early, name) == getattr(settings, name), name
    assert (early.log_format == "json") == (settings.log_format == "json")
    assert early.needed_cuda == ((12, 8) if settings.comfypod_cuda_version else None)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "8188.5", "9" * 5000, "\u0663"])
def test_a_port_that_is_none_is_left_to_the_settings_to_refuse(port: str) -> None:
    assert LaunchSettings.from_environment({"COMFYUI_PORT": port}).comfyui_port is None


def test_a_disk_without_room_is_told_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ConfigurationError, match=r"No such file.*TMPDIR"):
        Launch(tmp_path, {}).start()


def test_a_worker_that_is_told_to_end_ends_whatever_hangs() -> None:
    script = """if True:
        import concurrent.futures, sys, time
        from comfypod.worker.last_resort import exit_in_time
        concurrent.futures.ThreadPoolExecutor().submit(time.sleep, 600)
        exit_in_time(1)
        sys.exit(3)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_time_line_begins_with_the_start_script() -> None:
    timeline = BootTimeline.from_environment({STARTED_VARIABLE: str(time.time() - 5)})
    timeline.mark("python")
    timeline.mark("ready")
    timeline.mark("python")  # of a restart
    assert list(timeline.seconds()) == ["python", "ready"]
    assert timeline.milliseconds()["python"] == pytest.approx(5000, abs=500)


@pytest.mark.parametrize("text", ["", "soon", "1000.5", "99999999999"])
def test_a_beginning_that_cannot_be_is_not_believed(text: str) -> None:
    timeline = BootTimeline.from_environment({STARTED_VARIABLE: text})
    timeline.mark("python")
    assert timeline.seconds()["python"] < 1


@engine_only
def test_only_the_first_answer_tells_how_the_worker_started(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    environment = {"COMFYUI_COMMAND": " ".join(engine_command(tmp_path))}
    settings = Settings.from_environment(environment)
    with Launch(ROOT, environment) as launch, WorkerApplication(settings, ROOT, environment, launch) as worker:
        worker.wait_until_ready()
        handler = worker.handler(None)
        jobs = [job(workflow=flow) for flow in ({}, save_color(1), save_color(2))]
        refused, first, second = (asyncio.run(handler(job)) for job in jobs)
    boot = refused["timings"]["boot_ms"]
    assert list(boot) == sorted(boot, key=boot.get)
    assert {"comfyui_started", "settings", "comfyui_answers", "self_test", "models", "ready"} <= set(boot)
    assert not {"boot_ms"} & (set(first["timings"]) | set(second["timings"]))
    assert caplog.messages.count("comfyui_starting") == 1
    (ready,) = [record.fields for record in caplog.records if record.getMessage() == "worker_ready"]  # type: ignore[attr-defined]
    assert ready["ready"] * 1000 == pytest.approx(boot["ready"], abs=1)


@pytest.fixture
def platform() -> Iterator[LocalRunPod]:
    platform = LocalRunPod()
    yield platform
    platform.stop()


def handler_process(platform: LocalRunPod, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    worker = {**os.environ, **platform.emulator.worker_environment("worker"), **environment}
    return subprocess.run(
        [sys.executable, root / "rp_handler.py"], env=worker, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"JOB_TIMEOUT_SECONDS": "soon"}, "JOB_TIMEOUT_SECONDS"),
        ({"COMFYUI_COMMAND": "/no/such/program"}, "cannot be started"),
        ({"COMFYUI_COMMAND": "true --port high"}, "is not a port"),
        ({"COMFYUI_COMMAND": "python 'main.py"}, "COMFYUI_COMMAND cannot be read as in a shell"),
    ],
)
def test_a_wrong_setting_ends_the_worker_and_is_told_to_the_platform(
    given: dict[str, str], says: str, platform: LocalRunPod, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = f"{sys.executable} -c 'import time; time.sleep(600)'"
    done = handler_process(platform, **{"COMFYUI_COMMAND": command, "TMPDIR": str(tmp_path), **given})
    assert done.returncode == 1
    (told,) = [record.fields for record in caplog.records if record.getMessage() == "worker_unhealthy"]  # type: ignore[attr-defined]
    for text in (done.stderr, told["reason"]):
        assert says in text
    assert told["check"] == "configuration_is_valid"
    if "comfyui_starting" in done.stderr and "JOB_TIMEOUT_SECONDS" in given:
        assert "comfyui_stopped" in done.stderr
    assert list(tmp_path.iterdir()) == []  # its folders are gone


@engine_only
def test_a_model_that_cannot_be_had_is_told_to_the_platform_as_that(
    platform: LocalRunPod, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(ROOT / "rp_handler.py", tmp_path)
    model = 'name = "a.safetensors"\nfolder = "loras"\nurl = "https://10.0.0.1/a"\nwhen = "boot"\n'
    (tmp_path / "models.toml").write_text(f"[[model]]\n{model}")
    environment = {"PYTHONPATH": str(ROOT), "COMFYUI_COMMAND": " ".join(engine_command(tmp_path))}
    done = handler_process(platform, tmp_path, **environment)
    assert (done.returncode, "a.safetensors" in done.stderr) == (1, True), done.stderr
    (told,) = [record.fields for record in caplog.records if record.getMessage() == "worker_unhealthy"]  # type: ignore[attr-defined]
    assert told["check"] == "models_are_there"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """``start.sh`` and its two mount points in a folder, and a python3 that says how it was called."""
    script = (ROOT / "start.sh").read_text(encoding="utf-8")
    for folder in ("/runpod-volume", "/workspace", "/usr/lib"):
        script = script.replace(folder, f"{tmp_path}{folder}")
    for folder in ("app", "bin", "home"):
        (tmp_path / folder).mkdir()
    (tmp_path / "app" / "start.sh").write_text(script, encoding="utf-8")
    shutil.copymode(ROOT / "start.sh", tmp_path / "app" / "start.sh")
    python = tmp_path / "bin" / "python3"
    python.write_text('#!/bin/sh\necho "$PWD: $*"\necho "$COMFYPOD_STARTED" "$LD_PRELOAD"\n', encoding="utf-8")
    python.chmod(0o755)
    return tmp_path


def start(image: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": f"{image}/bin:{os.environ['PATH']}", "HOME": str(image / "home"), **environment}
    return subprocess.run(
        command or [image / "app" / "start.sh"], env=variables, cwd=image, capture_output=True, text=True, check=False
    )


def test_start_becomes_the_handler_in_its_own_folder_and_says_when_it_began(image: Path) -> None:
    for done in (start(image), start(image, "bash", "app/start.sh")):
        call, moment = done.stdout.splitlines()
        assert call == f"{image}/app: -u rp_handler.py"
        assert float(moment) == pytest.approx(time.time(), abs=10)
        assert done.stderr == ""


def test_start_goes_on_where_bash_forgets_how_its_child_ended(image: Path) -> None:
    (image / "forgetful.sh").write_text("wait() { return 255; }\n", encoding="utf-8")
    done = start(image, BASH_ENV=str(image / "forgetful.sh"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "rp_handler.py" in done.stdout


def test_start_becomes_the_pod_command_where_that_is_wanted(image: Path) -> None:
    assert f"{image}/app: -u -m comfypod pod" in start(image, COMFYPOD_MODE="pod").stdout
    wrong = start(image, COMFYPOD_MODE="both")
    assert (wrong.returncode, "COMFYPOD_MODE" in wrong.stderr) == (1, True)


def test_start_puts_the_cache_on_a_volume_that_it_finds_where_pods_have_it(image: Path) -> None:
    (image / "workspace").mkdir()
    (image / "home" / ".cache").mkdir()
    for _ in range(2):
        done = start(image)
        assert (done.returncode, done.stderr) == (0, "")
    (image / "home" / ".cache" / "weights").write_text("downloaded")
    assert (image / "workspace" / ".cache" / "weights").read_text() == "downloaded"
    assert (image / "runpod-volume").readlink() == image / "workspace"


def test_start_leaves_a_cache_alone_that_the_image_has_filled(image: Path) -> None:
    (image / "runpod-volume").mkdir()
    (image / "home" / ".cache").mkdir()
    (image / "home" / ".cache" / "weights").write_text("from the image")
    done = start(image)
    assert done.returncode == 0
    assert "stays where it is" in done.stderr
    assert not (image / "home" / ".cache").is_symlink()


def test_start_without_a_volume_changes_nothing(image: Path) -> None:
    assert start(image).returncode == 0
    assert not (image / "runpod-volume").exists()
    assert not (image / "home" / ".cache").exists()


def test_start_does_not_wait_for_a_volume_that_never_answers(image: Path) -> None:
    script = image / "app" / "start.sh"
    script.write_text(script.read_text().replace("read -r -t 5", "read -r -t 0.2"))
    (image / "runpod-volume").mkdir()
    hanging = image / "bin" / "mkdir"
    hanging.write_text("#!/bin/sh\nexec sleep 20 >/dev/null 2>&1\n")
    hanging.chmod(0o755)
    begun = time.monotonic()
    with (image / "log").open("w+") as log:  # no pipe, which the process that hangs would hold open
        done = subprocess.run(
            [script],
            env={"PATH": f"{image}/bin:/usr/bin:/bin", "HOME": str(image)},
            stdout=log,
            stderr=log,
            check=False,
        )
    assert done.returncode == 0
    assert time.monotonic() - begun < 10
    said = (image / "log").read_text()
    assert "the volume does not answer" in said
    assert "-u rp_handler.py" in said


def test_start_preloads_the_allocator_that_is_there(image: Path) -> None:
    library = next(Path("/usr/lib").glob("*/libc.so.6"), None) or next(Path("/lib").glob("*/libc.so.6"), None)
    if library is None:
        pytest.skip("there is no library here that can be preloaded")
    allocator = image / "usr" / "lib" / "x86_64-linux-gnu" / "libtcmalloc_minimal.so.4"
    allocator.parent.mkdir(parents=True)
    allocator.symlink_to(library)
    assert str(allocator) in start(image).stdout
