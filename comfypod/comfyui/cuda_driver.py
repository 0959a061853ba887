"""A program that asks NVIDIA's driver about this machine's GPUs and prints what it learned, as one line of JSON.

`comfypod.worker.gpu` runs it in a process of its own: on a broken host the driver may never answer. It takes no memory
of a GPU (no context is created), and needs neither torch nor anything else besides the driver's library.
"""

from __future__ import annotations

import ctypes
import json
from typing import Any

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR (CUDA Driver API, CUdevice_attribute)."""
_NAME_BYTES = 256


def ask_driver(library: str = LIBRARY) -> dict[str, Any]:
    """``version``, ``gpus``, ``error``, ``failure``: what this process learns from the driver."""
    said: dict[str, Any] = {"version": 0, "gpus": [], "error": None, "failure": None}
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        said["failure"] = f"there is no NVIDIA driver here ({library}); the machine has no GPU, or the container was "
        said["failure"] += "started without it"
        return said
    version = ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(version)) == 0:
        said["version"] = version.value
    if code := cuda.cuInit(0):
        said["error"] = _error_name(cuda, code)
        return said
    count = ctypes.c_int()
    if code := cuda.cuDeviceGetCount(ctypes.byref(count)):
        said["error"] = _error_name(cuda, code)
        return said
    said["gpus"] = [_device(cuda, index) for index in range(count.value)]
    return said


def _device(cuda: ctypes.CDLL, index: int) -> dict[str, Any]:
    handle, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    cuda.cuDeviceGetName(name, _NAME_BYTES, handle)
    major, minor = (_attribute(cuda, handle, number) for number in (_MAJOR, _MINOR))
    memory = ctypes.c_size_t()  # by this name of the function it is right beyond 4 GB (CUDA Driver API, cuda.h)
    if not hasattr(cuda, "cuDeviceTotalMem_v2") or cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle):
        memory.value = 0
    shown = name.value.decode(errors="replace")
    return {"name": shown, "major": major, "minor": minor, "memory_bytes": memory.value}


def _attribute(cuda: ctypes.CDLL, handle: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), number, handle)
    return value.value


def _error_name(cuda: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(name))
    return (name.value or b"").decode(errors="replace") or f"error {code}"


if __name__ == "__main__":
    print(json.dumps(ask_driver()))  # noqa: T201 (the process's answer)
