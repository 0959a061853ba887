"""hadolint and shellcheck find nothing in the Dockerfile, in shell files, and in what the documents tell to write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pathspec
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHEBANG = re.compile(rb"#!\S*/(env )?(ba|da)?sh\b")


def tool(name: str) -> str:
    """One of the development requirements, beside this Python."""
    path = Path(sys.executable).with_name(name)
    assert path.exists(), f"{name} is not installed; run make test, or pip install -r requirements-dev.txt"
    return str(path)


def findings(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def shell_files() -> Iterator[Path]:
    """Those of the repository, by their first line or their name; nothing that git ignores."""
    ignored = pathspec.GitIgnoreSpec.from_lines([".git/", *(ROOT / ".gitignore").read_text().splitlines()])
    for folder, folders, names in os.walk(ROOT):
        inside = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not ignored.match_file(f"{(inside / name).as_posix()}/")]
        for name in names:
            path = Path(folder, name)
            if path.suffix in {"", ".sh"} and not ignored.match_file((inside / name).as_posix()):
                with path.open("rb") as file:
                    if path.suffix == ".sh" or SHEBANG.match(file.read(64)):
                        yield path


def dockerfiles_in_documents() -> dict[str, str]:
    """Whole ones, that begin with FROM; by page and place."""
    found = {}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        blocks = re.findall(r"^```dockerfile\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        whole = (block for block in blocks if re.match(r"(#.*\n|ARG .*\n)*FROM ", block))
        found |= {f"{page.relative_to(ROOT)}:{number}": block for number, block in enumerate(whole)}
    return found


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert findings(tool("hadolint"), "--no-color", "Dockerfile") == ""


@pytest.mark.parametrize(("place", "text"), dockerfiles_in_documents().items(), ids=lambda value: str(value)[:60])
def test_hadolint_finds_nothing_in_the_documents(place: str, text: str) -> None:
    command = [tool("hadolint"), "--no-color", "--failure-threshold=warning", "-"]
    assert findings(*command, text=text) == "", place


def test_shellcheck_finds_nothing() -> None:
    files = [str(path.relative_to(ROOT)) for path in shell_files()]
    assert {"start.sh", ".ci/run"} <= set(files)
    assert findings(tool("shellcheck"), "--color=never", *files) == ""


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_shellcheck_finds_nothing_in_the_steps_of(workflow: Path) -> None:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    for step in (step for job in jobs.values() for step in job["steps"] if "run" in step):
        assert "${{" not in step["run"], "a value that stands in a script can be a script; hand it in as a variable"
        assert findings(tool("shellcheck"), "--color=never", "--shell=bash", "-", text=step["run"]) == "", step


def test_a_linter_that_finds_something_says_what() -> None:
    assert "SC2086" in findings(tool("shellcheck"), "--color=never", "--shell=bash", "-", text="rm $1\n")
    assert "DL3006" in findings(tool("hadolint"), "--no-color", "-", text="FROM debian\n")
