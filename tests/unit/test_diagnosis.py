"""What a log and an exit code say."""

from __future__ import annotations

import pytest

from comfypod.comfyui.diagnosis import (
    explain_exit,
    failed_import,
    is_broken_gpu,
    is_out_of_memory,
    plain,
    tells_dead_thread,
)


@pytest.mark.parametrize(
    ("exit_code", "says"),
    [
        (0, "it exited with code 0"),
        (3, "it exited with code 3"),
        (139, "it exited with code 139 (SIGSEGV)"),
        (-11, "it was ended by SIGSEGV"),
        (-9, "it was ended by SIGKILL, probably because the machine's memory was full"),
        (-4242, "it exited with code -4242"),
    ],
)
def test_an_exit_code_is_told_in_words(exit_code: int, says: str) -> None:
    assert explain_exit(exit_code, []) == says


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("main.py: error: unrecognized arguments: --no-such-flag", "--no-such-flag"),
        ("main.py: error: argument --port: invalid int value: 'x'", "--port: invalid int value"),
        ("OSError: [Errno 98] error while attempting to bind on port 8188: address already in use", "port is taken"),
        ("ModuleNotFoundError: No module named 'torchsde'", "No module named 'torchsde'"),
        ("\x1b[31m[ERROR]\x1b[0m ImportError: cannot import name 'x' from 'y'", "cannot import name 'x'"),
        ("RuntimeError: Found no NVIDIA driver on your system.", "no usable GPU"),
        ("RuntimeError: CUDA error: no kernel image is available for execution", "does not support this GPU"),
        ("python: can't open file '/ComfyUI/main.py': [Errno 2] No such file or directory", "/ComfyUI/main.py"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
    ],
)  # fmt: skip
def test_the_last_line_that_tells_something_is_the_reason(line: str, says: str) -> None:
    sentence = explain_exit(1, ["Starting server", plain(line), "  ^^^^"])
    assert sentence.startswith("it exited with code 1; ")
    assert says in sentence


def test_a_custom_node_that_failed_is_named_with_its_reason() -> None:
    line = "Cannot import /x/custom_nodes/some pack module for custom nodes: No module named 'cv2'"
    assert failed_import(line) == ("some pack", "No module named 'cv2'")
    assert failed_import("Cannot import /x/empty module for custom nodes: ") == ("empty", "no reason was given")
    assert failed_import("   0.0 seconds: /x/custom_nodes/fine") is None


def test_the_death_of_the_execution_thread_is_seen() -> None:
    assert tells_dead_thread("Exception in thread Thread-1 (prompt_worker):")
    assert not tells_dead_thread("Exception in thread Thread-7 (download):")


@pytest.mark.parametrize(
    ("exception_type", "message"),
    [
        ("torch.OutOfMemoryError", "Allocation on device"),
        ("torch.cuda.OutOfMemoryError", ""),
        ("MemoryError", ""),
        ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 9 GiB"),
        ("RuntimeError", "CUDA error: out of memory\nCUDA kernel errors might be"),
        ("RuntimeError", "HIP out of memory. Tried to allocate"),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 9 GB)"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_was_short_is_recognised(exception_type: str, message: str) -> None:
    assert is_out_of_memory(exception_type, message)
    assert not is_broken_gpu(message)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
        "CUDA error: uncorrectable ECC error encountered",
        "HIP error: an illegal memory access was encountered",
    ],
)
def test_a_gpu_that_this_process_lost_is_recognised(message: str) -> None:
    assert is_broken_gpu(message)
    assert not is_out_of_memory("RuntimeError", message)


@pytest.mark.parametrize(
    "message",
    [
        "mat1 and mat2 shapes cannot be multiplied (77x768 and 2048x320)",
        "lab value error",
        "an error out of the memory of the prompt",
        "CUDA error: invalid argument",
        "",
    ],
)
def test_other_failures_are_neither(message: str) -> None:
    assert not is_out_of_memory("RuntimeError", message)
    assert not is_broken_gpu(message)
