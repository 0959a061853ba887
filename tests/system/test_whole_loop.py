"""The whole chain, each part a process of its own: command line, local RunPod, the real SDK's worker, ComfyUI."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from comfypod import Client, JobState, JobStatus
from comfypod.cli.local import LocalEndpoint
from comfypod.errors import JobCancelled, JobFailed

ROOT = Path(__file__).parents[2]
LONG_JOB = {"prompt": "a green tree", "parameters": {"steps": 100, "width": 1024, "height": 1024}}
STEP_SECONDS = 60.0
"""Longest wait for anything in here; far more than any of it takes."""


def comfypod(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "comfypod", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def rp_handler(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "rp_handler.py"), *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
    )


def share_of(path: Path, is_wanted: Callable[[int, int, int], bool]) -> float:
    """How much of a picture has a colour that is wanted."""
    with Image.open(path) as image:
        pixels = image.convert("RGB").resize((64, 64), Image.Resampling.BOX).get_flattened_data()
    return sum(is_wanted(*pixel) for pixel in pixels) / len(pixels)


def is_red(red: int, green: int, blue: int) -> bool:
    return red > 150 and green < 110 and blue < 110


def is_green(red: int, green: int, blue: int) -> bool:
    return green > red + 30 and green > blue + 30


def test_one_command_makes_the_picture_that_was_asked_for(tmp_path: Path) -> None:
    with comfypod("run", "--local", "--input", "test_input.json", "--output", str(tmp_path)) as process:
        stdout, stderr = process.communicate(timeout=STEP_SECONDS)
    assert process.returncode == 0, stderr
    (path,) = [Path(line) for line in stdout.splitlines()]
    assert path.is_relative_to(tmp_path)
    with Image.open(path) as image:
        assert image.size == (1024, 768)
    # A green tree and a house with a red roof at sunset.
    assert 0.01 < share_of(path, is_green) < 0.4
    assert "Done" in stderr
    assert "execute" in stderr
    assert "built-in engine" in stderr


@pytest.fixture
def sampling(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A command whose job is in mid-sampling, and every process below it."""
    (tmp_path / "long.json").write_text(json.dumps({"input": LONG_JOB}), encoding="utf-8")
    process = comfypod("run", "--local", "--input", str(tmp_path / "long.json"), "--output", str(tmp_path))
    assert process.stderr is not None
    assert any("KSampler" in line for line in process.stderr)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 3  # the local RunPod, the worker, its ComfyUI
    yield process, started
    process.kill()
    process.communicate(timeout=STEP_SECONDS)


def test_ctrl_c_cancels_the_job_and_leaves_no_process(
    sampling: tuple[subprocess.Popen[str], list[psutil.Process]], tmp_path: Path
) -> None:
    process, started = sampling
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=STEP_SECONDS)
    assert process.returncode == 130
    assert "CANCELLED" in stderr
    assert psutil.wait_procs(started, timeout=2)[1] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.json"]


def test_a_killed_command_leaves_no_process(sampling: tuple[subprocess.Popen[str], list[psutil.Process]]) -> None:
    process, started = sampling
    process.kill()
    assert psutil.wait_procs(started, timeout=20)[1] == []


def test_a_worker_that_does_not_start_is_told_instead_of_waited_for(tmp_path: Path) -> None:
    arguments = ("run", "--local", "--input", "test_input.json", "--output", str(tmp_path))
    with comfypod(*arguments, COMFYUI_COMMAND=f"{sys.executable} -c 'print(\"no GPU here\"); exit(3)'") as process:
        _, stderr = process.communicate(timeout=STEP_SECONDS)
    assert process.returncode == 1
    assert "its worker does not start" in stderr
    assert "no GPU here" in stderr
    log = (ROOT / ".comfypod" / "local.log").read_text(encoding="utf-8")
    (told, *_) = [line for line in log.splitlines() if "worker_unhealthy" in line]  # by the SDK, to the platform
    assert "check=comfyui_works" in told
    assert "no GPU here" in told


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    endpoint = LocalEndpoint(tmp_path_factory.mktemp("local") / "log")
    yield endpoint
    endpoint.stop()


@pytest.fixture
def client(local: LocalEndpoint) -> Iterator[Client]:
    """A client; what the local RunPod and its worker logged meanwhile is shown if the test fails."""
    before = local.log_file.stat().st_size
    with Client(local.endpoint_id, local.api_key, local.base_url()) as client:
        yield client
    print(local.log_file.read_text(encoding="utf-8")[before:])


class Looks(list[JobStatus]):
    """What every look at a job saw; when, is shown if the test fails."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = time.monotonic()

    def append(self, status: JobStatus) -> None:
        super().append(status)
        told = dict(status.progress or {})
        told.pop("preview", None)
        print(f"{time.monotonic() - self._begun:.2f} s: {status.state.value} {told}")


def test_a_job_is_followed_step_by_step(client: Client) -> None:
    seen = Looks()
    parameters = {"seed": 1, "steps": 100, "width": 768, "height": 768}
    output = client.submit(prompt="a red circle on blue", parameters=parameters).wait(seen.append)
    progress = [status.progress for status in seen if status.progress]
    values = [update.value for update in progress if update.value is not None]
    assert len(values) >= 3
    assert values == sorted(values)
    assert any(update.step and update.current_node_class == "KSampler" for update in progress)
    assert output["worker"]["engine"] == "emulator"


def test_the_picture_fits_the_prompt(client: Client, tmp_path: Path) -> None:
    (path,) = client.submit(prompt="a red circle on blue", parameters={"seed": 42}).save(tmp_path)
    assert 0.05 < share_of(path, is_red) < 0.7
    assert share_of(path, lambda red, green, blue: blue > red + 50 and blue > green) > 0.2


def test_a_cancelled_job_frees_the_worker_for_the_next(client: Client) -> None:
    seen = Looks()
    job = client.submit(**LONG_JOB)

    def cancel_while_sampling(status: JobStatus) -> None:
        seen.append(status)
        if status.progress and status.progress.step:
            job.cancel()

    with pytest.raises(JobCancelled):
        job.wait(cancel_while_sampling, timeout_seconds=STEP_SECONDS)
    assert seen[-1].state is JobState.CANCELLED
    begun = time.monotonic()
    assert client.submit(prompt="x", parameters={"steps": 1, "width": 64, "height": 64}).wait().images
    assert time.monotonic() - begun < 5  # the cancelled one would have gone on for ten


@pytest.mark.parametrize(
    ("job_input", "says"),
    [
        ({"workflow": {"nodes": [], "links": []}}, "Export (API)"),
        ({"prompt": "x", "parameters": {"checkpoint": "missing.safetensors"}}, "missing.safetensors"),
        ({"workflow": {"1": {"class_type": "NoSuchNode", "inputs": {}}}}, "NoSuchNode"),
        ({"nothing": "useful"}, "send a workflow"),
    ],
)
def test_a_bad_job_fails_with_one_sentence(client: Client, job_input: dict[str, Any], says: str) -> None:
    with pytest.raises(JobFailed) as caught:
        client.submit_input(job_input).wait()
    assert says in str(caught.value)
    assert caught.value.output["code"] in ("invalid_workflow", "prompt_rejected", "invalid_job_input")


def test_no_job_of_many_is_lost(client: Client) -> None:
    def run(color: int) -> tuple[int, int]:
        workflow = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": color}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "many"}},
        }
        (image,) = client.submit(workflow).wait(timeout_seconds=STEP_SECONDS).images
        with Image.open(io.BytesIO(image.read())) as picture:
            return color, picture.convert("RGB").getpixel((0, 0))[2]  # type: ignore[index]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(10)))
    assert results == [(color, color) for color in range(10)]


def test_rp_handler_runs_test_input_json_of_the_folder_it_is_called_in(tmp_path: Path) -> None:
    small = {"input": {"prompt": "a fox", "parameters": {"steps": 1, "width": 64, "height": 64}}}
    (tmp_path / "test_input.json").write_text(json.dumps(small), encoding="utf-8")
    done = rp_handler(folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "completed successfully" in done.stdout + done.stderr
    assert "'status': 'success'" in done.stdout + done.stderr


def test_rp_handler_fails_with_exit_code_1(tmp_path: Path) -> None:
    failed = rp_handler("--test_input", '{"input": {"workflow": {"nodes": []}}}', folder=tmp_path)
    assert failed.returncode == 1
    assert "Export (API)" in failed.stdout + failed.stderr


def test_a_comfyui_that_never_answers_ends_the_worker_with_its_reason(tmp_path: Path) -> None:
    failed = rp_handler(
        "--test_input",
        '{"input": {"prompt": "x"}}',
        folder=tmp_path,
        COMFYUI_URL="http://127.0.0.1:9",
        COMFYUI_STARTUP_TIMEOUT_SECONDS="1",
    )
    assert failed.returncode == 1
    assert "comfyui_unavailable: " in failed.stderr
    assert "http://127.0.0.1:9" in failed.stderr


def test_a_bad_setting_ends_the_worker_with_its_name(tmp_path: Path) -> None:
    failed = rp_handler(folder=tmp_path, JOB_TIMEOUT_SECONDS="soon")
    assert failed.returncode == 1
    assert "configuration: JOB_TIMEOUT_SECONDS" in failed.stderr


def test_keys_do_not_reach_the_log(local: LocalEndpoint, client: Client) -> None:
    small = {"steps": 1, "width": 64, "height": 64}
    client.submit(prompt="x", parameters=small, comfy_org_api_key="s3cret-key").wait()
    assert "s3cret-key" not in local.log_file.read_text(encoding="utf-8")
