"""Files that run code when they are loaded: pickles, under whatever name, and programs.

Pickles are recognised by reading them as `pickle` would, without doing what they say: `pickletools` (Python's library)
names the steps, and torch's own forms are a zip with ``data.pkl`` inside (torch/serialization.py, _is_zipfile and
_open_zipfile_reader) and, before torch 1.6, a pickle of a magic number followed by others.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import Any

from comfypod.files.isolation import FileRefused

PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth"})

_PROTOCOL = b"\x80"
_NEWEST_PROTOCOL = 5
_READ_STEPS = 100_000
_LIKELY_STEPS = 8
"""So many valid steps after the protocol's mark are no accident (each one has a chance of about a quarter)."""

_CALLING_STEPS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
"""The steps that bring in functions; a pickle without one of them holds plain data."""

_PROGRAMS = {
    b"\x7fELF": "a Linux program",
    b"#!": "a script",
    b"\xfe\xed\xfa\xce": "a macOS program",
    b"\xfe\xed\xfa\xcf": "a macOS program",
    b"\xce\xfa\xed\xfe": "a macOS program",
    b"\xcf\xfa\xed\xfe": "a macOS program",
    b"\xca\xfe\xba\xbe": "a macOS program",
}


def check_harmless(head: bytes, complete: bool) -> None:
    """Raise if a file is a pickle or a program; ``head`` is how it begins, ``complete`` whether that is all of it.

    A zip archive must be passed to `check_archive` besides.

    Raises:
        FileRefused: it is.
    """
    if _is_pickle(head, complete):
        raise FileRefused("is a pickle, which can run code when it is loaded; send it as .safetensors")
    for signature, what in _PROGRAMS.items():
        if head.startswith(signature):
            raise FileRefused(f"is {what}")
    if head[:2] == b"MZ" and _windows_signature(head) == b"PE\0\0":
        raise FileRefused("is a Windows program")


def check_archive(path: Path) -> None:
    """Raise if a zip archive holds a pickle, as the files of torch do.

    Raises:
        FileRefused: it does, or is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [Path(name).suffix.lower() for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise FileRefused("is a broken zip archive") from error
    if any(suffix in PICKLE_SUFFIXES for suffix in names):
        raise FileRefused("is an archive that holds a pickle, which can run code when it is loaded")


def _windows_signature(head: bytes) -> bytes:
    """PE format, "MS-DOS stub": the signature's place stands at 0x3C."""
    place = int.from_bytes(head[0x3C:0x40], "little")
    return head[place : place + 4]


def _is_pickle(head: bytes, complete: bool) -> bool:
    """Whether `pickle` could load it and would call something, or whether it is a pickle by its mark."""
    marked = head[:1] == _PROTOCOL and len(head) > 1 and head[1] <= _NEWEST_PROTOCOL
    steps, valid, calls = _read_steps(head, complete)
    # Without the mark (protocols 0 and 1) short texts can be pickles by chance, so it must also call something.
    return valid and calls if not marked else valid or steps >= _LIKELY_STEPS


def _read_steps(head: bytes, complete: bool) -> tuple[int, bool, bool]:
    """How many valid steps there are, whether all that was read is valid, and whether one brings in a function."""
    file = io.BytesIO(head)
    count, calls = 0, False
    try:
        for operation, argument, _ in pickletools.genops(file):
            count += 1
            calls = calls or _brings_in(operation.name, argument)
            if count >= _READ_STEPS:
                break
    except (ValueError, OverflowError):  # an unknown step, or one that goes on beyond what was read
        return count, not complete and file.tell() == len(head), calls
    return count, True, calls


def _brings_in(step: str, argument: Any) -> bool:  # noqa: ANN401 (pickletools' own)
    """Whether it is a step that names a function; two lines of a table do not look like a module and a name."""
    if step in {"GLOBAL", "INST"}:
        return str(argument).replace(".", "_").replace(" ", "_").isidentifier()
    return step in _CALLING_STEPS
