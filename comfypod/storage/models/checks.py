"""Whether a downloaded file is what its name says, and cannot run code when it is loaded."""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

from comfypod.errors import ModelFetchFailed
from comfypod.files.isolation import FileRefused
from comfypod.files.pickles import PICKLE_SUFFIXES, check_archive, check_harmless
from comfypod.files.tensors import TENSOR_SUFFIXES, check_tensors
from comfypod.storage.models.manifest import ModelEntry

BEGINNING_BYTES = 1024**2
_TEXT_SUFFIXES = frozenset({".json", ".yaml", ".yml", ".txt", ".html"})

_HASH_STEP_BYTES = 32 * 1024**2


def refuse_pickle_name(entry: ModelEntry) -> None:
    """Refuse a file whose suffix says that it is a pickle, before a byte of it is asked for.

    Raises:
        ModelFetchFailed: it is one, and the entry does not allow it.
    """
    if entry.suffix in PICKLE_SUFFIXES and not entry.allow_pickle:
        raise _pickle_refused(entry, f"files ending in {entry.suffix} are pickles")


def check_content(path: Path, entry: ModelEntry) -> None:
    """Look at the file's beginning, and at its header where it has one; run it in a thread.

    Raises:
        ModelFetchFailed: it is an error page, broken, or a pickle that the entry does not allow.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        beginning = file.read(BEGINNING_BYTES)
    if entry.suffix not in _TEXT_SUFFIXES and _is_text_answer(beginning):
        cause = "the source sent a web page or a message in place of the file; it may want a token (token_env)"
        raise ModelFetchFailed(entry.name, cause)
    if not entry.allow_pickle:
        _refuse_pickle(path, entry, beginning)
    if problem := _format_problem(path, entry, beginning):
        raise ModelFetchFailed(entry.name, f"what was downloaded is not a {entry.suffix} file: {problem}")


def _format_problem(path: Path, entry: ModelEntry, beginning: bytes) -> str | None:
    """Why the file is not of the format that its suffix names, as a clause."""
    if entry.suffix == ".gguf" and not beginning.startswith(b"GGUF"):
        return "it does not begin as GGUF files do"
    if entry.suffix in TENSOR_SUFFIXES and not entry.allow_pickle:
        try:
            check_tensors(path)
        except FileRefused as error:
            return f"it {error}"
    return None


async def sha256_of(path: Path, on_bytes: Callable[[int], None]) -> str:
    """The SHA-256 of a file, in hexadecimal; computed in threads, step by step, so that it can be cancelled."""
    digest = hashlib.sha256()
    done = 0
    while count := await asyncio.to_thread(_hash_step, path, done, digest):
        done += count
        on_bytes(done)
    return digest.hexdigest()


def _hash_step(path: Path, offset: int, digest: hashlib._Hash) -> int:
    count = 0
    with path.open("rb") as file:
        file.seek(offset)
        while count < _HASH_STEP_BYTES and (block := file.read(1024**2)):
            digest.update(block)
            count += len(block)
    return count


def _pickle_refused(entry: ModelEntry, why: str) -> ModelFetchFailed:
    cause = f"{why}, and loading a pickle can run code; take a .safetensors file, or set allow_pickle = true"
    return ModelFetchFailed(entry.name, cause)


def _is_text_answer(beginning: bytes) -> bool:
    """HTML, XML or JSON. A safetensors header is no JSON here: eight bytes of length come before it."""
    start = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<?xml", b"{", b"<error"))


def _refuse_pickle(path: Path, entry: ModelEntry, beginning: bytes) -> None:
    """Refuse what `torch.load` would hand to ``pickle``: its zip format, its two older ones, and a bare pickle."""
    try:
        if beginning.startswith(b"PK\x03\x04"):
            check_archive(path)
        check_harmless(beginning, complete=path.stat().st_size <= len(beginning))
    except FileRefused as error:
        raise ModelFetchFailed(entry.name, f"it {error} (or set allow_pickle = true, if you trust it)") from error
    if tarfile.is_tarfile(path):  # torch/serialization.py, _legacy_load: what was written before torch 0.2
        raise _pickle_refused(entry, "it is an archive of torch's oldest kind")
