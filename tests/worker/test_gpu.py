"""Whether this machine has a GPU that ComfyUI could use: what NVIDIA's driver says, and what the worker does then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from worker_jobs import ROOT

from benchmarks.boot import LocalRunPod
from comfypod.comfyui.gpu import GPU, DriverAnswer, check_gpu, comfyui_gpu_flags, parse_version
from comfypod.errors import GPUUnavailable
from comfypod.worker.gpu import DriverQuestion
from comfypod.worker.launch import Launch

BLACKWELL = GPU("NVIDIA GeForce RTX 5090", (12, 0), 32 * 2**30)
ADA = GPU("NVIDIA GeForce RTX 4090", (8, 9), 24 * 2**30)

# As much of the CUDA Driver API as is used; FAKE_CUDA_* say how it answers.
FAKE_DRIVER = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}
int cuInit(unsigned flags) {
    if (number("FAKE_CUDA_HANGS", 0)) sleep(600);
    if (number("FAKE_CUDA_CRASHES", 0)) abort();
    return number("FAKE_CUDA_INIT", 0);
}
int cuDriverGetVersion(int *version) { *version = number("FAKE_CUDA_VERSION", 12080); return 0; }
int cuDeviceGetCount(int *count) { *count = number("FAKE_CUDA_COUNT", 2); return 0; }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 40 ? "NVIDIA GeForce RTX 4090" : "NVIDIA GeForce RTX 5090", length);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? (device == 40 ? 8 : 12) : attribute == 76 ? (device == 40 ? 9 : 0) : -1;
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)(device == 40 ? 24 : 32) << 30;
    return 0;
}
int cuGetErrorName(int error, const char **name) { *name = error == 999 ? "CUDA_ERROR_UNKNOWN" : NULL; return 0; }
"""


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "cuda.c").write_text(FAKE_DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", folder / "cuda.c"], check=True)
    return folder


def ask(driver_folder: Path, seconds: float = 10.0, **answers: int) -> DriverAnswer:
    variables = {f"FAKE_CUDA_{name.upper()}": str(value) for name, value in answers.items()}
    return DriverQuestion({**os.environ, "LD_LIBRARY_PATH": str(driver_folder), **variables}).answer(seconds)


def test_the_driver_tells_its_version_and_its_gpus(driver_folder: Path) -> None:
    assert ask(driver_folder) == DriverAnswer((12, 8), (ADA, BLACKWELL))


def test_the_name_of_the_drivers_error_is_told(driver_folder: Path) -> None:
    assert ask(driver_folder, init=999).error == "CUDA_ERROR_UNKNOWN"
    assert ask(driver_folder, init=4242).error == "error 4242"


def test_a_driver_that_hangs_is_given_up(driver_folder: Path) -> None:
    begun = time.monotonic()
    answer = ask(driver_folder, 0.5, hangs=1)
    assert time.monotonic() - begun < 5
    assert answer.failure == "the driver did not answer within 0.5 s; this host is broken"


def test_a_driver_that_crashes_ends_only_the_process_that_asked(driver_folder: Path) -> None:
    assert "ended the process" in str(ask(driver_folder, crashes=1).failure)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (DriverAnswer(failure="there is no NVIDIA driver here"), "no NVIDIA driver"),
        (DriverAnswer((12, 8), error="CUDA_ERROR_NO_DEVICE"), r"CUDA_ERROR_NO_DEVICE \(the driver sees no GPU\)"),
        (DriverAnswer((12, 8), error="CUDA_ERROR_NEW"), "cuInit says CUDA_ERROR_NEW"),
        (DriverAnswer((12, 8)), "CUDA_VISIBLE_DEVICES"),
        (DriverAnswer((11, 8), (ADA,)), "supports CUDA 11.8, the image needs 12.8: choose machines with CUDA 12.8"),
    ],
)
def test_gpus_that_will_not_do_are_refused_with_the_reason(answer: DriverAnswer, says: str) -> None:
    with pytest.raises(GPUUnavailable, match=says):
        check_gpu(answer, (12, 8))


def test_an_older_driver_of_the_same_major_version_is_warned_of() -> None:
    (warning,) = check_gpu(DriverAnswer((12, 4), (ADA,)), (12, 8))
    assert "supports CUDA 12.4, the image needs 12.8" in warning


@pytest.mark.parametrize("needed", [(12, 8), (12, 4), None])
def test_a_driver_that_is_new_enough_is_not_spoken_of(needed: tuple[int, int] | None) -> None:
    assert check_gpu(DriverAnswer((13, 0), (ADA,)), needed) == []


@pytest.mark.parametrize(
    ("capability", "has_kernels"),
    [
        ((7, 0), False),
        ((7, 5), True),
        ((8, 0), True),
        ((8, 9), True),
        ((9, 0), True),
        ((10, 0), False),
        ((12, 0), False),
    ],
)
def test_xformers_is_switched_off_where_it_has_no_kernels(capability: tuple[int, int], has_kernels: bool) -> None:
    assert comfyui_gpu_flags([ADA, GPU("", capability)]) == ([] if has_kernels else ["--disable-xformers"])


@pytest.mark.parametrize(
    ("text", "version"), [("12.8", (12, 8)), ("12.8.1", (12, 8)), ("13.0", (13, 0)), ("", None), ("twelve", None)]
)
def test_versions_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


@pytest.fixture
def checkout(tmp_path: Path, driver_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose ComfyUI does nothing, on a machine with the driver above."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver_folder))
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "main.py").write_text("import time; time.sleep(600)")
    return tmp_path


def test_comfyui_is_told_what_the_driver_says_of_its_gpus(checkout: Path) -> None:
    with Launch(checkout, {"REQUIRE_GPU": "true", "COMFYPOD_CUDA_VERSION": "12.8.1"}) as launch:
        assert launch.process is not None
        assert launch.process.exit_code is None
        assert "--disable-xformers" in launch.process.command
        assert "--cpu" not in launch.process.command


def test_comfyui_is_not_started_with_a_driver_that_is_too_old(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("FAKE_CUDA_VERSION", "11080")
    launch = Launch(checkout, {"REQUIRE_GPU": "true", "COMFYPOD_CUDA_VERSION": "12.8.1"})
    with pytest.raises(GPUUnavailable, match=r"supports CUDA 11\.8"):
        launch.start()
    assert "comfyui_starting" not in caplog.messages


@pytest.fixture
def platform() -> Iterator[LocalRunPod]:
    platform = LocalRunPod()
    yield platform
    platform.stop()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_a_worker_without_a_gpu_tells_the_platform_and_ends_before_anything_is_started(
    platform: LocalRunPod, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proof, asked = tmp_path / "started", tmp_path / "asked"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ntouch {asked}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {
        **os.environ,
        **platform.emulator.worker_environment("no-gpu"),
        "REQUIRE_GPU": "true",
        "COMFYUI_COMMAND": f"touch {proof}",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    before = set(psutil.Process().children(recursive=True))
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, ROOT / "rp_handler.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert time.monotonic() - begun < 5
    assert done.returncode == 1
    sentence = "gpu_unavailable: There is no usable GPU here: there is no NVIDIA driver here"
    assert sentence in done.stderr
    (told,) = [record.fields for record in caplog.records if record.getMessage() == "worker_unhealthy"]  # type: ignore[attr-defined]
    assert told["check"] == "gpu_works"
    assert "There is no usable GPU here" in told["reason"]
    assert not proof.exists()
    assert not asked.exists(), "on a broken host it may hang, and the reason would come late"
    assert set(psutil.Process().children(recursive=True)) == before
