"""What ComfyUI's log and exit code say about a failure, in words for a person. Pure.

Facts are from the logs of ComfyUI 0.3.64, 0.8.0 and 0.33.0 (``main.py``, ``nodes.py: load_custom_node``), CUDA's own
texts, and Python's. From 0.23 on a log line begins with a coloured ``[INFO]`` or the like: see `plain`.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

LAST_WORDS = 3
"""So many lines at the end of a log may tell why the process ended."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FAILED_IMPORT = re.compile(r"Cannot import (?P<path>.+) module for custom nodes: (?P<reason>.*)")
_DEAD_THREAD = re.compile(r"Exception in thread .*\(prompt_worker\)")
_START_FAILURES: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"error: (unrecognized arguments: .+)"), "this version does not know a flag ({}); see its --help"),
    (re.compile(r"error: (argument .+)"), "a flag has a wrong value ({})"),
    (re.compile(r"(address already in use)"), "its port is taken ({}): choose another --port"),
    (re.compile(r"^(?:\[\w+\] )?(?:ModuleNotFoundError|ImportError): (.+)"),
     "an import failed ({}): install its requirements"),
    (re.compile(r"(Found no NVIDIA driver|Torch not compiled with CUDA enabled|No CUDA GPUs are available)"),
     "it found no usable GPU ({}); start it with --cpu to do without"),
    (re.compile(r"(no kernel image is available.*)"), "its PyTorch does not support this GPU ({})"),
    (re.compile(r"ASSETS_STARTUP_FAILED: (.+)"), "its assets database cannot be opened ({})"),
    (re.compile(r"No such file or directory: '?([^']+)"), "a file is missing ({})"),
    (re.compile(r"can't open file '([^']+)'"), "a file is missing ({})"),
    (re.compile(r"(No space left on device)"), "the disk is full ({})"),
)  # fmt: skip

_OUT_OF_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|HIP out of memory|HIP error: out of memory|MPS backend out of memory"
    r"|XPU out of memory|Allocation on device|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_ALLOC_FAILED|can't allocate memory|Unable to allocate .* for an array",
    re.IGNORECASE,
)
_MEMORY_EXCEPTIONS = {"OutOfMemoryError", "MemoryError", "_ArrayMemoryError"}

# Errors after which every further call of the same process fails ("sticky" in the CUDA Runtime API's documentation).
_BROKEN_GPU = re.compile(
    r"(?:CUDA|HIP) error: (?:an illegal memory access|device-side assert|unspecified launch failure|misaligned address"
    r"|an illegal instruction|uncorrectable ECC|hardware stack error|invalid device context|unknown error"
    r"|the launch timed out|driver shutting down)"
    r"|CUDA driver error|GPU is lost|no CUDA-capable device|(?:CUDNN|CUBLAS)_STATUS_EXECUTION_FAILED",
    re.IGNORECASE,
)


def plain(line: str) -> str:
    """The line without the colours that a terminal would show."""
    return _COLOUR.sub("", line)


def failed_import(line: str) -> tuple[str, str] | None:
    """``(name of the custom node pack, reason)`` if the log line tells that one failed to import."""
    match = _FAILED_IMPORT.search(line)
    if match is None:
        return None
    return match["path"].rstrip("/").rpartition("/")[2], match["reason"].strip() or "no reason was given"


def tells_dead_thread(line: str) -> bool:
    """Whether the log line tells that the thread that runs prompts has died: no prompt will ever end again."""
    return _DEAD_THREAD.search(line) is not None


def explain_exit(exit_code: int, last_lines: Sequence[str]) -> str:
    """Why a process ended, as a sentence without a full stop; ``exit_code`` is negative for a signal."""
    reason = _reason(last_lines) if 0 < exit_code < 128 else None  # others were ended, by a signal
    return f"{_describe(exit_code)}; {reason}" if reason else _describe(exit_code)


def _describe(exit_code: int) -> str:
    # A shell reports a child that a signal ended as 128 + its number.
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"it exited with code {exit_code}"
    hint = ", probably because the machine's memory was full" if name == "SIGKILL" else ""
    return f"it was ended by {name}{hint}" if exit_code < 0 else f"it exited with code {exit_code} ({name}{hint})"


def _reason(last_lines: Sequence[str]) -> str | None:
    """What ended it stands at the very end; the same words earlier in the log were borne (a custom node's, for one)."""
    for line in reversed([line for line in last_lines if line.strip()][-LAST_WORDS:]):
        for pattern, sentence in _START_FAILURES:
            if match := pattern.search(line):
                return sentence.format(match[1].strip())
    return None


def is_out_of_memory(exception_type: str, message: str) -> bool:
    """Whether a node's exception means that memory was short, on the GPU or off it."""
    return exception_type.rpartition(".")[2] in _MEMORY_EXCEPTIONS or _OUT_OF_MEMORY.search(message) is not None


def is_broken_gpu(message: str) -> bool:
    """Whether a node's exception means that this process can no longer use the GPU."""
    return _BROKEN_GPU.search(message) is not None
