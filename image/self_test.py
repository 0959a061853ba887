"""Whether the torch set of the image is the pinned one, and loads: ``python image/self_test.py image/constraints.txt``.

No resolver knows which versions belong together: torchaudio names no torch, and xformers is compiled for one CUDA only.
A wrong set installs without a word; ComfyUI then goes without sound or xformers, or fails at its first picture.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path


def main(constraints: Path) -> int:
    """0 if all is well; else 1, and sentences on stderr."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    problems = [*other_versions(pins), *import_problems(pins)]
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 (a program)
    return 1 if problems else 0


def other_versions(pins: dict[str, str]) -> list[str]:
    """What is installed in another version than the pinned one, or not at all."""
    problems = []
    for name, version in pins.items():
        try:
            installed = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            installed = "nothing"
        if installed != version:
            problems.append(f"{name}: {version} is pinned, {installed} is installed.")
    return problems


def import_problems(pins: dict[str, str]) -> list[str]:
    """What does not load. An operator of each library's compiled code is called, on the CPU."""
    checks = {"torch": _check_torch, "torchvision": _check_torchvision, "torchaudio": _check_torchaudio}
    if "xformers" in pins:
        checks["xformers"] = _check_xformers
    problems = []
    for name, check in checks.items():
        try:
            check()
        except (ImportError, AttributeError, OSError, RuntimeError, AssertionError) as error:
            problems.append(f"{name}: it does not load ({error}).")
    return problems


def _check_torch() -> None:
    torch = import_module("torch")
    if torch.ones(2).sum().item() != 2:
        raise RuntimeError("it cannot add")


def _check_torchvision() -> None:
    torch, operators = import_module("torch"), import_module("torchvision.ops")
    operators.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)


def _check_torchaudio() -> None:
    torch, functional = import_module("torch"), import_module("torchaudio.functional")
    functional.resample(torch.zeros(1, 160), 16_000, 8_000)


def _check_xformers() -> None:
    # ComfyUI looks at the same flag, and does without xformers if it is false (comfy/model_management.py).
    if not import_module("xformers")._has_cpp_library:  # noqa: SLF001
        raise RuntimeError("its compiled code is for another torch or CUDA")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
