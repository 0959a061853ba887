"""What a pack, ComfyUI or the worker requires of Python packages, as lines that cannot do anything but name packages.

A requirements file may hold options that pull other files or addresses, or that run code of a repository; such lines
are refused, each by its number.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from comfypod.comfyui.node_packs import NodePack
from comfypod.errors import ConfigurationError

_LARGEST_BYTES = 1024**2
_REMEDY = "write what it needs into its entry of nodes.toml instead: requirements = [...]"


def pack_requirements(pack: NodePack, folder: Path) -> list[str]:
    """What the pack requires: its entry's ``requirements``, else its requirements.txt, else its pyproject.toml's.

    Raises:
        ConfigurationError: a line is none that can be taken; every one is named.
    """
    if pack.requirements is not None:
        return _normal(enumerate(pack.requirements, 1), f"{pack.name}: requirements in nodes.toml")
    if (folder / "requirements.txt").exists():
        return read_requirements(folder / "requirements.txt", pack.name, remedy=_REMEDY)
    return _normal(enumerate(_project_dependencies(folder, pack.name), 1), f"{pack.name}: pyproject.toml", _REMEDY)


def read_requirements(path: Path, owner: str, *, remedy: str = "") -> list[str]:
    """The lines of a requirements.txt; ``owner`` is whose it is.

    Raises:
        ConfigurationError: as `pack_requirements`, or it cannot be read.
    """
    return _normal(_lines(_read(path, owner)), f"{owner}: {path.name}", remedy)


def package_of(requirement: str) -> str:
    """The package that a line requires, as indexes spell it."""
    return canonicalize_name(Requirement(requirement).name)


def _read(path: Path, owner: str) -> str:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ConfigurationError([f"{owner}: {path.name} is larger than 1 MiB."])
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"{owner}: {path.name} cannot be read: {error}."]) from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments, continued ones joined, as pip reads them (pip, req_file.py)."""
    number, started = 0, ""
    for count, line in enumerate(text.splitlines(), 1):
        number = number if started else count
        started += re.sub(r"(^|\s)#.*$", "", line)
        if started.endswith("\\"):
            started = started.removesuffix("\\")
            continue
        if started.strip():
            yield number, started.strip()
        started = ""
    if started.strip():
        yield number, started.strip()


def _project_dependencies(folder: Path, owner: str) -> list[str]:
    path = folder / "pyproject.toml"
    if not path.exists():
        return []
    try:
        project = tomllib.loads(_read(path, owner)).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{owner}: pyproject.toml is not TOML: {error}."]) from error
    dependencies = project.get("dependencies", []) if isinstance(project, dict) else []
    if not isinstance(dependencies, list) or not all(isinstance(item, str) for item in dependencies):
        raise ConfigurationError([f"{owner}: pyproject.toml: project.dependencies is no list of texts."])
    return dependencies


def _normal(lines: Iterator[tuple[int, str]], where: str, remedy: str = "") -> list[str]:
    taken: list[str] = []
    problems: list[str] = []
    for number, line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            problems.append(_refusal(where, number, line, remedy))
            continue
        if requirement.url is not None:
            problems.append(_refusal(where, number, line, remedy))
        else:
            requirement.name = canonicalize_name(requirement.name)
            taken.append(str(requirement))
    if problems:
        raise ConfigurationError(problems)
    return list(dict.fromkeys(taken))


def _refusal(where: str, number: int, line: str, remedy: str) -> str:
    shown = line if len(line) <= 100 else f"{line[:99]}…"
    advice = f"; {remedy}" if remedy else ""
    return f"{where}, line {number}: {shown!r} is not the plain name and version of a package{advice}."
