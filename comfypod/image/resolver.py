"""One set of Python packages for many who require some: uv resolves it, and says whose requirements contradict."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from comfypod.errors import ConfigurationError, ProtocolViolation, RequirementsConflict, SourceFetchFailed
from comfypod.image.requirements import package_of

RESOLVE_SECONDS = 600.0
_CONSTRAINED_BY = frozenset(
    {"UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_BUILD_CONSTRAINT", "UV_EXCLUDE_NEWER"}
    | {"UV_RESOLUTION", "UV_PRERELEASE", "UV_FORK_STRATEGY"}
)
"""What the environment may add to the question; the answer must be the same for everybody."""
_PROJECT = re.compile(r"source-(\d+)")
_NO_WHEEL = re.compile(r"hint: Wheels are required for `([^`]+)` because building from source is disabled.*$")
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==[A-Za-z0-9.!+_-]+")


@dataclass(frozen=True, slots=True)
class Target:
    """What the packages are for: a version of Python, and a platform as uv names it (``uv pip compile --help``)."""

    python: str = "3.12"
    platform: str = "x86_64-manylinux_2_28"


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned package: ``pin`` is ``name==version``, ``required_by`` are sources and packages."""

    name: str
    pin: str
    hashes: Sequence[str]
    required_by: Sequence[str]


@dataclass(frozen=True, slots=True)
class Question:
    """Who requires what (lines, by source), and what the answer shall keep of a former one if it can."""

    required: Mapping[str, Sequence[str]]
    target: Target
    former: str = ""
    build_from_source: Iterable[str] = field(default_factory=tuple)


def find_uv() -> Path:
    """The uv of this environment, else the machine's.

    Raises:
        ConfigurationError: there is none.
    """
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise ConfigurationError(["This needs uv, which is not here: pip install uv==0.13.8."])
    return Path(found)


def resolve(question: Question) -> list[Package]:
    """Every package of the set, pinned, with the hashes of its files; sorted by name.

    Raises:
        RequirementsConflict: there is no such set; it says whose requirements exclude each other.
        SourceFetchFailed: the index of packages does not answer.
        ConfigurationError: there is no uv.
    """
    names = list(question.required)
    with tempfile.TemporaryDirectory(prefix="comfypod-lock-") as folder:
        # A folder of our own: uv reads the configuration of the one that it runs in.
        work = Path(folder)
        for number, lines in enumerate(question.required.values()):
            _write_project(work / f"source-{number}", lines)
        (work / "all.in").write_text("".join(f"./source-{number}\n" for number in range(len(names))))
        (work / "all.txt").write_text(question.former, encoding="utf-8")
        done = _run_uv(_command(question, len(names)), work)
        if done.returncode:
            raise resolution_failure(done.stderr, question.required)
        answer = (work / "all.txt").read_text(encoding="utf-8")
    return _packages(answer, names)


def _write_project(folder: Path, lines: Sequence[str]) -> None:
    """A project that requires these: uv then names it wherever it explains itself. Nothing is built of it."""
    folder.mkdir()
    name, dependencies = json.dumps(folder.name), json.dumps(list(lines))
    text = f'[project]\nname = {name}\nversion = "0"\ndependencies = {dependencies}\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def _command(question: Question, sources: int) -> list[str]:
    target = question.target
    options = ["--python-version", target.python, "--python-platform", target.platform, "--only-binary", ":all:"]
    # Only these are ever built: to learn what a source distribution requires, its own code is run.
    options += [part for name in question.build_from_source for part in ("--no-binary", name)]
    options += [part for number in range(sources) for part in ("--no-emit-package", f"source-{number}")]
    options += ["--generate-hashes", "--no-header", "--no-emit-index-url", "--annotation-style", "split"]
    # Whichever Python: uv would look for that of the target first, which takes it seconds where there is none.
    options += ["--python", sys.executable]
    return ["pip", "compile", "all.in", "--output-file", "all.txt", "--quiet", "--color", "never", *options]


def _run_uv(arguments: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _CONSTRAINED_BY}
    try:
        return subprocess.run(  # noqa: S603 (arguments of our own)
            [find_uv(), *arguments],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=work,
            env={**environment, "UV_PYTHON_DOWNLOADS": "never"},
            timeout=RESOLVE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceFetchFailed("uv pip compile", f"it did not end within {RESOLVE_SECONDS:g} s") from error


def _packages(answer: str, sources: Sequence[str]) -> list[Package]:
    """What uv wrote: a line with the pin, then one per hash, then who requires it, in comments."""
    found: list[Package] = []
    for block in re.split(r"\n(?=[^\s#])", answer.strip()) if answer.strip() else ():
        first, *others = (line.strip().removesuffix("\\").strip() for line in block.splitlines())
        match = _PINNED.fullmatch(first)
        if match is None:
            raise ProtocolViolation("uv pip compile", first[:200])
        hashes = [line.removeprefix("--hash=") for line in others if line.startswith("--hash=")]
        comments = [line.removeprefix("#").strip().removeprefix("via").strip() for line in others if line[:1] == "#"]
        via = [_source_name(comment, sources) for comment in comments if comment]
        found.append(Package(canonicalize_name(match[1]), first, hashes, via))
    return found


def _source_name(text: str, sources: Sequence[str]) -> str:
    match = _PROJECT.fullmatch(text)
    return sources[int(match[1])] if match else text


def resolution_failure(stderr: str, required: Mapping[str, Sequence[str]]) -> RequirementsConflict | SourceFetchFailed:
    """The error that uv's words on stderr stand for; ``required`` are the requirements that it was given, by source."""
    lines = [line for line in stderr.splitlines() if not line.lower().startswith("warning")]
    text = " ".join(" ".join(lines).split())
    if "No solution found" not in text:
        return SourceFetchFailed("uv", text.removeprefix("error: ")[:2000] or "it failed without a word")
    explanation = re.split(r"cause: |╰─▶ ", text, maxsplit=1)[-1]
    sources = list(required)
    mentioned = sorted({int(number) for number in _PROJECT.findall(explanation)} & set(range(len(sources))))
    named = [sources[number] for number in mentioned] or _requiring(explanation, required)
    facts = [f"{name} requires {', '.join(_mentioned(required[name], explanation))}" for name in named]
    return RequirementsConflict(named, ". ".join(["; ".join(facts), _readable(explanation, sources)]))


def _requiring(explanation: str, required: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name, lines in required.items() if _mentioned(lines, explanation)]


def _mentioned(lines: Sequence[str], explanation: str) -> list[str]:
    """Those of the requirements whose package the explanation speaks of."""
    words = {canonicalize_name(word) for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", explanation)}
    return [line for line in lines if package_of(line) in words]


def _readable(explanation: str, sources: Sequence[str]) -> str:
    """Uv's words with our names: it takes the sources for packages of one version each."""
    text = re.sub(r"only source-\d+==0 is available and |,? and only source-\d+==0 is available", "", explanation)
    text = re.sub(r"all versions of (source-\d+) depend on", r"\1 depends on", text)
    text = re.sub(r"(?:all versions of )?source-(\d+)(?:==0)?", lambda match: sources[int(match[1])], text)
    return _NO_WHEEL.sub(r"If \1 may be built, which runs its code: build_from_source of the pack in nodes.toml.", text)
