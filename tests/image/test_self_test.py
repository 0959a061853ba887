"""The self-test of the image's torch set, run as the build runs it, over stand-ins for the libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SELF_TEST = Path(__file__).parents[2] / "image" / "self_test.py"
PINS = {"torch": "2.10.0", "torchvision": "0.25.0", "torchaudio": "2.10.0", "xformers": "0.0.35"}
MODULES = {
    "torch/__init__.py": "class _Ones:\n    sum = lambda self: self\n    item = lambda self: 2\n"
    "def ones(n): return _Ones()\ndef zeros(*n): return None\ndef tensor(values): return values\n",
    "torchvision/__init__.py": "",
    "torchvision/ops.py": "def nms(boxes, scores, threshold): return None\n",
    "torchaudio/__init__.py": "",
    "torchaudio/functional.py": "def resample(sound, before, after): return None\n",
    "xformers/__init__.py": "_has_cpp_library = True\n",
}


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A folder of modules that look like a torch set that works."""
    folder = tmp_path / "libraries"
    for name, source in MODULES.items():
        write(folder / name, source)
    for name, version in PINS.items():
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}+cu128\n"
        write(folder / f"{name}-{version}.dist-info" / "METADATA", metadata)
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(libraries: Path, pins: dict[str, str] = PINS) -> tuple[int, str]:
    constraints = libraries.parent / "constraints.txt"
    constraints.write_text("# One set.\n" + "".join(f"{name}=={version}\n" for name, version in pins.items()))
    command = [sys.executable, str(SELF_TEST), str(constraints)]
    environment = {**os.environ, "PYTHONPATH": str(libraries)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_set_that_loads_passes(libraries: Path) -> None:
    assert run(libraries) == (0, "")


@pytest.mark.parametrize(
    ("module", "source", "sentence"),
    [
        # What a resolver left alone picks: docs/explanation/dependencies.md.
        ("torchaudio/__init__.py", "raise RuntimeError('CUDA 13.2 vs 13.0')", "torchaudio: it does not load (CUDA 13"),
        ("torchvision/ops.py", "raise OSError('libcudart.so.13')", "torchvision: it does not load (libcudart.so.13)"),
        ("xformers/__init__.py", "_has_cpp_library = False", "xformers: it does not load (its compiled code"),
        (
            "torchvision/__init__.py",
            "import torch; torch.library",
            "torchvision: it does not load (module 'torch' has no",
        ),
        ("torch/__init__.py", "import nothing_of_that_name", "torch: it does not load (No module named"),
    ],
)
def test_what_does_not_load_is_named(libraries: Path, module: str, source: str, sentence: str) -> None:
    write(libraries / module, source)
    code, said = run(libraries)
    assert code == 1
    assert sentence in said


def test_another_version_than_the_pinned_one_is_named(libraries: Path) -> None:
    code, said = run(libraries, {**PINS, "torch": "2.14.0"})
    assert (code, said) == (1, "torch: 2.14.0 is pinned, 2.10.0 is installed.\n")


def test_a_set_without_xformers_does_not_need_it(libraries: Path) -> None:
    write(libraries / "xformers/__init__.py", "raise ImportError")
    without = {name: version for name, version in PINS.items() if name != "xformers"}
    assert run(libraries, without) == (0, "")
