"""Checks of Python, of this package, and of the libraries that its parts need."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import comfypod
from comfypod.cli.doctor.finding import Finding, Patient

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)
"""The newest that the tests run on."""

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?P<range>[^;]*?)\s*(?:;.*extra == ['\"](?P<extra>\w+)['\"])?")
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(?P<marker>;.*)?")


@dataclass(frozen=True, slots=True)
class _Requirement:
    """A direct requirement of this package; ``versions`` as in ``>=2,<3``; ``extra`` is None for the client's own."""

    name: str
    versions: str
    extra: str | None


def python(patient: Patient) -> Finding:  # noqa: ARG001 (every check has this shape)
    """Whether this Python is one that the package is made for."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        remedy = "Install a newer Python, and make the virtual environment anew: make run PYTHON=python3.12"
        return Finding("python", "problem", f"Python {version} is too old; 3.11 is the oldest", remedy)
    newer = " (newer than what is tested)" if sys.version_info[:2] > NEWEST_PYTHON else ""
    return Finding("python", "note" if newer else "ok", f"Python {version}{newer}, {sys.executable}")


def own_version(patient: Patient) -> Finding:  # noqa: ARG001
    """Whether the package that runs is the one that is installed."""
    here, folder = comfypod.__version__, Path(comfypod.__file__).parent
    try:
        installed = metadata.version("comfypod")
    except metadata.PackageNotFoundError:
        return Finding("comfypod", "note", f"comfypod {here}, not installed: it runs from {folder}")
    if installed != here:
        sentence = f"comfypod {here} runs from {folder}, but {installed} is what is installed"
        return Finding("comfypod", "warning", sentence, "Install it again: pip install --no-deps --editable .")
    return Finding("comfypod", "ok", f"comfypod {here}, {folder}")


def base_libraries(patient: Patient) -> Finding:
    """The client's libraries, and the versions that ``requirements.txt`` pins."""
    if wrong := list(_wrong(None)):
        return Finding("libraries", "problem", "; ".join(wrong), "Install them: pip install comfypod")
    differing = list(_differing_pins(patient.root / "requirements.txt"))
    if differing:
        shown = ", ".join(differing[:6]) + (f" and {len(differing) - 6} more" if len(differing) > 6 else "")
        remedy = "Tests ran with the pinned ones: pip install --requirement requirements.txt"
        return Finding("libraries", "warning", f"Other versions than requirements.txt pins: {shown}", remedy)
    versions = ", ".join(f"{item.name} {metadata.version(item.name)}" for item in _requirements() if item.extra is None)
    return Finding("libraries", "ok", versions or "those that this Python has; the package is not installed")


def worker_libraries(patient: Patient) -> Finding:  # noqa: ARG001
    """What a worker needs."""
    return _extra("worker", "a worker cannot run here (make run, comfypod run --local)")


def emulator_libraries(patient: Patient) -> Finding:  # noqa: ARG001
    """What the local RunPod and the built-in engine need."""
    return _extra("emulator", "the local RunPod and the built-in engine cannot run here")


def _extra(extra: str, consequence: str) -> Finding:
    wrong = list(_wrong(extra))
    if not wrong:
        return Finding(extra, "ok", f"The libraries of comfypod[{extra}] are here")
    sentence = f"{'; '.join(wrong)}: {consequence}"
    return Finding(extra, "note", sentence, f"If you want that: pip install 'comfypod[{extra}]'")


def _wrong(extra: str | None) -> Iterator[str]:
    """What is missing, or of a version outside its range."""
    for item in _requirements():
        if item.extra != extra:
            continue
        try:
            version = metadata.version(item.name)
        except metadata.PackageNotFoundError:
            yield f"{item.name} is missing"
            continue
        if not satisfies(version, item.versions):
            yield f"{item.name} {version} is not {item.versions}"


def _requirements() -> list[_Requirement]:
    try:
        texts = metadata.requires("comfypod") or []
    except metadata.PackageNotFoundError:  # it runs from its source, with whatever is there
        return []
    matches = [match for text in texts if (match := _REQUIREMENT.fullmatch(text))]
    return [_Requirement(match["name"], match["range"], match["extra"]) for match in matches]


def _differing_pins(path: Path) -> Iterator[str]:
    """Libraries that are here in another version than the one that is pinned."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _PIN.fullmatch(line.strip())
        if match is None:
            continue
        try:
            version = metadata.version(match["name"])
        except metadata.PackageNotFoundError:  # of an extra that is not here, or of another system
            continue
        if version != match["version"]:
            yield f"{match['name']} {version} (pinned: {match['version']})"


def satisfies(version: str, versions: str) -> bool:
    """Whether a version lies in a range such as ``<3,>=2.12``; what cannot be read passes."""
    for part in filter(None, (item.strip(" ()") for item in versions.split(","))):
        operator, bound = re.match(r"([<>=!~]*)\s*(.*)", part).groups()  # type: ignore[union-attr]
        have, want = _numbers(version), _numbers(bound)
        if (operator == ">=" and have < want) or (operator == "<" and have >= want):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[a-z+-]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
