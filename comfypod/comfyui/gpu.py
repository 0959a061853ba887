"""Whether this machine's GPUs will do for ComfyUI, as far as their driver says. Pure.

Facts: CUDA Driver API (cuInit, error codes), CUDA Compatibility ("Minor Version Compatibility": what is built with one
12.x runs with the driver of another; a driver never runs what is built with a later major version).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfypod.errors import GPUUnavailable

Version = tuple[int, int]

XFORMERS_KERNELS: tuple[Version, Version] = ((7, 5), (10, 0))
"""Compute capabilities that xformers 0.0.35 has code for, from the first to below the second: its build is for
"7.5 8.0+PTX 9.0a" (``xformers.info``), nothing of Blackwell's (10.x, 12.x)."""

_HINTS = {
    "CUDA_ERROR_NO_DEVICE": "the driver sees no GPU",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the host's driver and its library are of different versions",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "the image's CUDA compatibility library does not work on this GPU",
    "CUDA_ERROR_SYSTEM_NOT_READY": "the host's fabric manager does not run",
    "CUDA_ERROR_STUB_LIBRARY": "the library found is CUDA's stub for building, not a driver's",
    "CUDA_ERROR_UNKNOWN": "the driver is broken, or the container may not use its devices",
}


@dataclass(frozen=True, slots=True)
class GPU:
    """One device as the driver sees it; ``capability`` is its compute capability, memory 0 where it does not say."""

    name: str
    capability: Version
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DriverAnswer:
    """What NVIDIA's driver says: ``cuda`` is the newest CUDA that it knows.

    ``failure`` is why it says nothing, a clause; ``error`` the name of the error code that `cuInit` returned.
    """

    cuda: Version | None = None
    gpus: tuple[GPU, ...] = ()
    error: str | None = None
    failure: str | None = None


def check_gpu(answer: DriverAnswer, needed_cuda: Version | None) -> list[str]:
    """Sentences about what may go wrong with these GPUs, for the log.

    Args:
        answer: what the driver said.
        needed_cuda: the CUDA that ComfyUI's libraries were built with; None: not known, and not compared.

    Raises:
        GPUUnavailable: ComfyUI cannot work here; the sentence says what to do.
    """
    if answer.failure is not None:
        raise GPUUnavailable(answer.failure)
    if answer.error is not None:
        hint = _HINTS.get(answer.error)
        raise GPUUnavailable(f"cuInit says {answer.error}" + (f" ({hint})" if hint else ""))
    if answer.cuda is not None and needed_cuda is not None and answer.cuda[0] < needed_cuda[0]:
        raise GPUUnavailable(_older(answer.cuda, needed_cuda))
    if not answer.gpus:
        raise GPUUnavailable("the driver works and lists no GPU; see CUDA_VISIBLE_DEVICES")
    if answer.cuda is not None and needed_cuda is not None and answer.cuda < needed_cuda:
        return [f"The GPU may not be usable: {_older(answer.cuda, needed_cuda)}."]
    return []


def comfyui_gpu_flags(gpus: Sequence[GPU]) -> list[str]:
    """``--disable-xformers`` where xformers has no code for a GPU: it would fail in the middle of a job."""
    first, end = XFORMERS_KERNELS
    return [] if all(first <= gpu.capability < end for gpu in gpus) else ["--disable-xformers"]


def parse_version(text: str) -> Version | None:
    """``12.8`` as ``(12, 8)``; None if the text is no version."""
    major, _, minor = text.strip().partition(".")
    minor = minor.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def version_text(version: Version | None) -> str:
    """``(12, 8)`` as ``12.8``; ``unknown`` for None."""
    return "unknown" if version is None else f"{version[0]}.{version[1]}"


def _older(cuda: Version, needed: Version) -> str:
    text = version_text(needed)
    return (
        f"the driver supports CUDA {version_text(cuda)}, the image needs {text}: choose machines with CUDA {text} or "
        "newer (the endpoint's allowed CUDA versions)"
    )
