"""Performs the faults that strike at boot and in the thread that runs prompts. Which strike is the plan's affair.

The texts are ComfyUI's (recordings of 0.8.0) and PyTorch's.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from comfypod.emulator.faults import Fault, FaultPlan

logger = logging.getLogger(__name__)

SLOW_CHECK_SECONDS = 0.05
SIGNAL_ARRIVES_SECONDS = 10.0
ANSWER_SECONDS = 1.0

ASYNCHRONOUS = "CUDA kernel errors might be asynchronously reported at some other API call"
# As the recording of ComfyUI 0.8.0 has it.
TORCH_OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. "
    "GPU 0 has a total capacity of 23.64 GiB of which 1.02 GiB is free."
)
CUDA_OUT_OF_MEMORY = f"CUDA error: out of memory\n{ASYNCHRONOUS}"
# PyTorch's c10/cuda/CUDAException.cpp.
ILLEGAL_ACCESS = (
    "CUDA error: an illegal memory access was encountered\n"
    f"{ASYNCHRONOUS}, so the stacktrace below might be incorrect.\n"
    "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."
)
_HAS_TYPE = re.compile(r"[\w.]+: ")


class Tensor:
    """A value that JSON cannot express; it has the name of the one that nodes leave in their output by mistake."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the end of a prompt is told and kept."""

    history_delay_seconds: float = 0.0
    is_history_lost: bool = False


class ExecutionFaults:
    """The faults that strike in the thread that runs prompts."""

    def __init__(self, plan: FaultPlan, in_server: Callable[[Callable[[], None]], None]) -> None:
        """Prepare to strike.

        Args:
            plan: what strikes when.
            in_server: has something done in the server's event loop, and returns at once.
        """
        self._plan = plan
        self._in_server = in_server
        self._released = threading.Event()
        self._gpu_broken_by: Fault | None = None
        self._perform: Mapping[str, Callable[[Fault, Callable[[], None]], None]] = {
            "exit": self._exit,
            "hang": lambda fault, _: self.wait(fault.seconds),
            "hang_server": lambda fault, _: self._in_server(partial(time.sleep, fault.seconds)),
            "thread_death": _end_thread,
            "raise": _raise,
            "out_of_memory": _run_out_of_memory,
            "cuda_error": self._break_gpu,
            "full_disk": _fill_disk,
            "slow": self._slow_down,
        }

    def release(self) -> None:
        """End all waiting, now and later: the engine stops."""
        self._released.set()

    def wait(self, seconds: float) -> None:
        """Block this thread; an interrupt does not reach it."""
        self._released.wait(seconds)

    def at_node(self, node_id: str, class_type: str, step: int | None, check_interrupted: Callable[[], None]) -> None:
        """Do what is planned for a node as it starts (step None) or as it has reported progress for the step-th time.

        Raises:
            Exception: whatever the fault makes of the node.
            SystemExit: the fault ends this thread.
        """
        if self._gpu_broken_by is not None and step is None:
            logger.warning("fault %s strikes node %s again: the GPU stays broken", self._gpu_broken_by, node_id)
            raise RuntimeError(ILLEGAL_ACCESS)
        for fault in self._plan.at_node(node_id, class_type, step):
            self._perform[fault.kind](fault, check_interrupted)

    def at_output(self, node_id: str, class_type: str, ui: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a node shows, or something that JSON cannot express."""
        return {**ui, "tensors": [Tensor()]} if self._plan.at_output(node_id, class_type) else ui

    def at_end(self, prompt_id: str) -> Ending:
        """Return how the end of a prompt is told and kept."""
        faults = self._plan.at_end(prompt_id)
        return Ending(sum(fault.seconds for fault in faults), any(fault.kind == "evict_history" for fault in faults))

    def _exit(self, fault: Fault, _check_interrupted: Callable[[], None]) -> None:
        """End the process: nothing is flushed or closed."""
        # A node of ours may start before the request that submitted its prompt is answered; ComfyUI's is never so fast.
        answered = threading.Event()
        self._in_server(answered.set)
        answered.wait(ANSWER_SECONDS)
        if fault.signal is None:
            os._exit(fault.code)
        os.kill(os.getpid(), fault.signal)
        time.sleep(SIGNAL_ARRIVES_SECONDS)
        raise RuntimeError(f"Signal {fault.signal} did not end the process: something ignores it.")

    def _break_gpu(self, fault: Fault, _check_interrupted: Callable[[], None]) -> None:
        # CUDA's context is lost with such an error, and only a new process gets another.
        self._gpu_broken_by = fault
        raise RuntimeError(ILLEGAL_ACCESS)

    def _slow_down(self, fault: Fault, check_interrupted: Callable[[], None]) -> None:
        end = time.monotonic() + fault.seconds
        while (left := end - time.monotonic()) > 0 and not self._released.is_set():
            check_interrupted()
            self.wait(min(left, SLOW_CHECK_SECONDS))


def _end_thread(fault: Fault, _check_interrupted: Callable[[], None]) -> None:
    # Python's threads end silently with this one.
    raise SystemExit(f"fault {fault}")


def _raise(fault: Fault, _check_interrupted: Callable[[], None]) -> None:
    raise _exception(fault.type, fault.message)


def _run_out_of_memory(fault: Fault, _check_interrupted: Callable[[], None]) -> None:
    if fault.form == "torch":
        raise _exception("torch.OutOfMemoryError", TORCH_OUT_OF_MEMORY)
    raise RuntimeError(CUDA_OUT_OF_MEMORY)


def _fill_disk(_fault: Fault, _check_interrupted: Callable[[], None]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _exception(qualified_name: str, message: str) -> Exception:
    """Return an exception whose type has this name, with its module in front unless it is a builtin."""
    module, _, name = qualified_name.rpartition(".")
    kind: type[Exception] = type(name, (Exception,), {"__module__": module or "builtins"})
    return kind(message)


async def boot(plan: FaultPlan, base_directory: Path) -> None:
    """Do what is planned for the time before the port opens.

    Raises:
        SystemExit: the fault ends the process.
    """
    for fault in plan.at_boot():
        if fault.kind == "slow_boot":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "broken_nodes":
            _tell_broken_nodes(base_directory / "custom_nodes" / fault.pack, fault.reason)
        elif fault.kind == "crash_at_boot":
            _tell_crash(fault.message)
            raise SystemExit(fault.code)


def _tell_broken_nodes(pack: Path, reason: str) -> None:
    """Write ComfyUI's own lines about a custom node that cannot be imported (``nodes.py: load_custom_node``)."""
    sys.stderr.write(
        f"Cannot import {pack} module for custom nodes: {reason}\n"
        "Import times for custom nodes:\n"
        f"   0.0 seconds (IMPORT FAILED): {pack}\n"
    )
    sys.stderr.flush()


def _tell_crash(message: str) -> None:
    last_line = message if _HAS_TYPE.match(message) else f"RuntimeError: {message}"
    sys.stderr.write(f'{message}\nTraceback (most recent call last):\n  File "main.py", in <module>\n{last_line}\n')
    sys.stderr.flush()
