"""The process that `isolation.run_isolated` starts: ``SECONDS OPERATION ARGUMENTS``, the last as a JSON array.

It prints ``{"result": …}`` or ``{"refused": CLAUSE, "something_else": …}``. It imports the library that the operation
needs, and no other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comfypod.files.isolation import FileRefused, HoldsSomethingElse

MEMORY_BYTES = 2 * 1024**3
"""Address space; the libraries themselves take about 300 MB of it."""


def limit_resources(seconds: int, may_write: bool) -> None:
    """Bound what this process can take: memory, processor time and files, as far as the system can."""
    try:
        import resource  # noqa: PLC0415 (Windows has none; there, time is the only bound)
    except ImportError:
        return
    # The parent ends this process in time; the bound on processor time is for the case that it is gone.
    limits = {resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CPU: 2 * seconds, resource.RLIMIT_CORE: 0}
    if not may_write:
        limits[resource.RLIMIT_FSIZE] = 0
    for name, value in limits.items():
        with suppress(ValueError, OSError):  # macOS refuses some, and the operator may have set a lower one
            resource.setrlimit(name, (value, value))


def look_at_picture(path: str) -> dict[str, Any]:
    """The facts of a picture."""
    from comfypod.files import pictures  # noqa: PLC0415 (libav's operations do not need Pillow)

    return asdict(pictures.picture_facts(Path(path)))


def check_picture(path: str, maximum_pixels: int) -> dict[str, Any]:
    """The facts of a picture that is within the limit and whole."""
    from comfypod.files import pictures  # noqa: PLC0415 (as above)

    # Here, where nothing else uses Pillow, its own limit reaches what the header of a file does not tell: the pictures
    # inside an icon.
    pictures.limit_nested_pictures(maximum_pixels)
    return asdict(pictures.check_picture(Path(path), maximum_pixels))


def look_at_streams(path: str) -> dict[str, Any]:
    """The facts of a video or sound file."""
    from comfypod.files import streams  # noqa: PLC0415 (Pillow's operations do not need libav)

    return asdict(streams.stream_facts(path))


def remux(source: str, target: str, muxer: str) -> None:
    """Copy the streams of a video or sound file, and nothing else."""
    from comfypod.files import streams  # noqa: PLC0415 (as above)

    streams.remux(source, target, muxer)


def check_tensors(path: str) -> None:
    """Raise `FileRefused` unless the file is a whole safetensors file."""
    from comfypod.files import tensors  # noqa: PLC0415 (for no other operation)

    tensors.check_tensors(Path(path))


def check_archive(path: str) -> None:
    """Raise `FileRefused` if the zip archive holds a pickle."""
    from comfypod.files import pickles  # noqa: PLC0415 (for no other operation)

    pickles.check_archive(Path(path))


OPERATIONS: dict[str, Callable[..., Any]] = {
    operation.__name__: operation
    for operation in (look_at_picture, check_picture, look_at_streams, remux, check_tensors, check_archive)
}


def main(seconds: str, operation: str, arguments: str) -> None:
    """Do one operation and print how it ended."""
    limit_resources(int(seconds), may_write=operation == remux.__name__)
    try:
        answer = {"result": OPERATIONS[operation](*json.loads(arguments))}
    except FileRefused as refusal:
        answer = {"refused": str(refusal), "something_else": isinstance(refusal, HoldsSomethingElse)}
    except MemoryError:
        clause = f"needs more than {MEMORY_BYTES // 1024**3} GiB of memory to look into"
        answer = {"refused": clause, "something_else": False}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
