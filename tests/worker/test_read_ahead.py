"""Model files are read into the page cache before ComfyUI asks for them."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_jobs import ROOT

from comfypod.worker.read_ahead import CHUNK_BYTES, ReadAhead, named_files

FILE_BYTES = 2 * CHUNK_BYTES + 12345


def resident_share(path: Path) -> float:
    """Which part of a file the page cache holds (mincore(2))."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as memory:
        pages = bytearray(-(-len(memory) // mmap.PAGESIZE))
        start = ctypes.c_char.from_buffer(memory)
        answer = (ctypes.c_ubyte * len(pages)).from_buffer(pages)
        failed = ctypes.CDLL(None).mincore(ctypes.byref(start), ctypes.c_size_t(len(memory)), answer)
        del start
    assert not failed
    return sum(page & 1 for page in pages) / len(pages)


def evict(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture
def cold_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(FILE_BYTES))
    evict(path)
    if resident_share(path) > 0.1:
        pytest.skip("this file system keeps its files in memory")
    return path


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the page cache cannot be asked here")
def test_a_file_that_was_read_ahead_is_in_memory(cold_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with ReadAhead([cold_file]) as reading:
        assert reading.wait(30)
    assert resident_share(cold_file) == 1
    (told,) = [record.fields for record in caplog.records if record.getMessage() == "read_ahead"]  # type: ignore[attr-defined]
    assert (told["files"], told["bytes"], told["is_whole"]) == (["model.safetensors"], FILE_BYTES, True)


def test_no_more_is_read_than_there_is_memory_for(tmp_path: Path) -> None:
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate(10**13)
    with ReadAhead([huge, huge], 3 * CHUNK_BYTES + 5) as reading:
        assert reading.wait(30)
    assert reading.read_bytes == 3 * CHUNK_BYTES + 5


def test_it_stops_when_the_worker_ends(tmp_path: Path) -> None:
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate(10**13)
    begun = time.monotonic()
    with ReadAhead([huge], 10**13) as reading:
        pass
    assert reading.wait(10)
    assert time.monotonic() - begun < 10


def test_a_file_that_cannot_be_read_is_told_and_the_next_one_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "there").write_bytes(b"1234")
    with ReadAhead([tmp_path / "gone", tmp_path / "there"]) as reading:
        assert reading.wait(30)
    assert reading.read_bytes == 4
    assert "read_ahead_failed" in caplog.messages
    (told,) = [record.fields for record in caplog.records if record.getMessage() == "read_ahead"]  # type: ignore[attr-defined]
    assert (told["files"], told["is_whole"]) == (["gone", "there"], False)


def test_files_are_looked_for_in_its_own_thread() -> None:
    """On a volume that never answers this takes for ever."""
    answers = threading.Event()

    def files() -> Iterator[Path]:
        answers.wait(30)
        yield from ()

    with ReadAhead(files()) as reading:
        assert not reading.wait(0.05)
        answers.set()
        assert reading.wait(10)


def test_the_files_that_a_workflow_names_are_found_in_the_folders_of_any_kind(tmp_path: Path) -> None:
    checkpoints, volume, loras = (tmp_path / name for name in ("checkpoints", "volume", "loras"))
    for path in (
        checkpoints / "sd_xl_base_1.0.safetensors",
        volume / "sd_xl_base_1.0.safetensors",
        loras / "styles" / "ink.safetensors",
        tmp_path / "secret.txt",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    workflow = json.loads((ROOT / "workflows" / "text_to_image.json").read_text(encoding="utf-8"))["workflow"]
    workflow["20"] = {"class_type": "LoraLoader", "inputs": {"lora_name": "styles/ink.safetensors", "model": ["4", 0]}}
    workflow["21"] = {
        "class_type": "Note",
        "inputs": {"a": "../secret.txt", "b": str(tmp_path / "secret.txt"), "c": "x." * 5000, "d": "a\0b.c", "e": 3},
    }
    folders = {"checkpoints": [checkpoints, volume], "loras": [loras]}
    assert list(named_files(workflow, folders)) == [
        checkpoints / "sd_xl_base_1.0.safetensors",
        loras / "styles" / "ink.safetensors",
    ]
