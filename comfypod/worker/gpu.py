"""This machine's GPUs, before ComfyUI is started. Only the standard library."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import comfypod.comfyui
from comfypod.comfyui.gpu import GPU, DriverAnswer, Version, check_gpu, comfyui_gpu_flags, version_text
from comfypod.errors import GPUUnavailable
from comfypod.logs import event

ANSWER_SECONDS = 10.0
"""How long the driver may take: it answers in a fraction of a second, unless its host is broken."""
DEVICE = Path("/dev/nvidiactl")
"""There where NVIDIA's driver is (NVIDIA driver README, "How do I know my device files are there")."""
_PROGRAM = Path(comfypod.comfyui.__file__).with_name("cuda_driver.py")


class DriverQuestion:
    """`comfypod.comfyui.cuda_driver`, asked when this is made. Fetch the answer, or `close` it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @classmethod
    def if_useful(cls, *, required: bool) -> Self | None:
        """The question, where a GPU must be there or seems to be."""
        return cls() if required or DEVICE.exists() else None

    def answer(self, timeout_seconds: float = ANSWER_SECONDS) -> DriverAnswer:
        """What the driver said; a ``failure`` if it did not answer in time, or took the process down with it."""
        try:
            output, _ = self._process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            return DriverAnswer(failure=f"the driver did not answer within {timeout_seconds:g} s; this host is broken")
        finally:
            self.close()
        try:
            said: dict[str, Any] = json.loads(output)
        except ValueError:
            code = self._process.returncode
            return DriverAnswer(failure=f"the driver ended the process that asked it (exit code {code})")
        gpus = tuple(GPU(gpu["name"], (gpu["major"], gpu["minor"]), gpu["memory_bytes"]) for gpu in said["gpus"])
        version = said["version"]  # 12040: CUDA 12.4
        cuda = (version // 1000, version % 1000 // 10) if version else None
        return DriverAnswer(cuda, gpus, said["error"], said["failure"])

    def close(self) -> None:
        """End the process; one that hangs in the kernel is left behind."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        if self._process.stdout is not None:
            self._process.stdout.close()


def flags_for_gpu(question: DriverQuestion | None, needed_cuda: Version | None, *, required: bool) -> list[str]:
    """What ComfyUI is told of the GPUs here; waits for the driver's answer, if it was asked.

    Raises:
        GPUUnavailable: they will not do, and one is required.
    """
    answer = question.answer() if question is not None else DriverAnswer()
    for gpu in answer.gpus:
        event("gpu", model=gpu.name, capability=version_text(gpu.capability), cuda=version_text(answer.cuda))
    if question is not None:
        try:
            warnings = check_gpu(answer, needed_cuda)
        except GPUUnavailable as error:
            if required:
                raise
            warnings = [str(error)]
        for warning in warnings:
            event("gpu_warning", logging.WARNING, message=warning)
    return comfyui_gpu_flags(answer.gpus) if answer.gpus else _device_flags()


def _device_flags() -> list[str]:
    """``--cpu`` where there is no GPU: without it ComfyUI does not start there."""
    has_gpu = sys.platform == "darwin" or shutil.which("nvidia-smi") or Path("/dev/kfd").exists()  # kfd: AMD's driver
    return [] if has_gpu else ["--cpu"]
