"""The pack of our own makes ComfyUI's boot and its saving shorter, and changes nothing else."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PACK = ROOT / "custom_nodes" / "comfypod_nodes"


def boot(*arguments: str) -> dict[str, Any]:
    """What became of the memory of a program that boots as ComfyUI does."""
    command = [sys.executable, str(Path(__file__).with_name("booting_comfyui.py")), str(PACK), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_was_imported_is_looked_through_neither_during_the_boot_nor_after_it() -> None:
    found = boot()
    assert found["waited"]
    assert found["enabled"]
    assert found["looked_through"] < 5_000  # of 50,000
    assert not found["later_pack_looked_through"]


def test_what_jobs_load_is_given_back() -> None:
    assert boot()["model_is_gone"]


def test_outside_of_comfyui_nothing_is_frozen_and_the_collector_works() -> None:
    found = boot("without_comfyui")
    assert found["enabled"]
    assert found["looked_through"] > 50_000


@pytest.fixture
def photograph() -> Image.Image:
    """Smooth shapes with a little grain."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray(np.clip(smooth + random.normal(0, 1.2, smooth.shape), 0, 255).astype(np.uint8))


def png(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def install(monkeypatch: pytest.MonkeyPatch, setting: str | None) -> None:
    """Do what the pack does when it is imported; undone after the test."""
    Image.preinit()
    monkeypatch.setitem(Image.SAVE, "PNG", Image.SAVE["PNG"])
    monkeypatch.delenv("FAST_PNG", raising=False)
    if setting is not None:
        monkeypatch.setenv("FAST_PNG", setting)
    spec = importlib.util.spec_from_file_location("fast_png", PACK / "fast_png.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install()


def test_pictures_are_saved_otherwise_with_the_same_pixels_and_no_larger(
    monkeypatch: pytest.MonkeyPatch, photograph: Image.Image
) -> None:
    before = png(photograph, compress_level=4)
    install(monkeypatch, "true")
    after = png(photograph, compress_level=4)
    assert after != before
    assert len(after) < 1.01 * len(before)
    assert Image.open(io.BytesIO(after)).tobytes() == photograph.tobytes()


def test_who_names_a_compression_gets_it(monkeypatch: pytest.MonkeyPatch, photograph: Image.Image) -> None:
    asked: tuple[dict[str, Any], ...] = ({"compress_level": 9}, {"compress_level": 4, "compress_type": 0}, {})
    before = [png(photograph, **options) for options in asked]
    install(monkeypatch, "true")
    assert [png(photograph, **options) for options in asked] == before


@pytest.mark.parametrize("setting", [None, "", "false", "0"])
def test_unless_it_is_asked_for_comfyui_saves_as_ever(
    monkeypatch: pytest.MonkeyPatch, photograph: Image.Image, setting: str | None
) -> None:
    before = png(photograph, compress_level=4)
    install(monkeypatch, setting)
    assert png(photograph, compress_level=4) == before
