"""What stands in several places stands there alike, and what users expect to find is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import comfypod
from comfypod.cli.reference import hub_environment, settings_page

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_page_of_settings_is_the_generated_one() -> None:
    assert text("docs/reference/settings.md") == settings_page()


def test_the_hubs_form_is_the_generated_one() -> None:
    assert json.loads(text(".runpod/hub.json"))["config"]["env"] == hub_environment()


def test_the_hubs_form_leaves_alone_what_the_image_sets() -> None:
    asked = {entry["key"] for entry in hub_environment()}
    names = set(re.findall(r"^(?:ENV)?\s+([A-Z_]+)=", text("Dockerfile"), re.MULTILINE))
    assert "REQUIRE_GPU" in names
    assert asked & names == set()


def test_the_version_is_one() -> None:
    assert tomllib.loads(text("pyproject.toml"))["project"]["version"] == comfypod.__version__
    assert f"## {comfypod.__version__}" in text("CHANGELOG.md")


def test_every_requirement_is_pinned_and_no_registry_is_named() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in text(name).splitlines():
            assert line.startswith(("#", "-r requirements.txt")) or re.match(r"[A-Za-z0-9._-]+==[^ ]+( ;.*)?$", line), (
                line
            )
            assert "://" not in line


def test_the_readme_is_short() -> None:
    assert len(text("README.md").split()) < 600


def test_every_page_is_in_the_index() -> None:
    listed = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#:]+)\)", text("docs/README.md"))}
    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {ROOT / "docs/README.md"}
    assert {page.name for page in pages - listed} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_what_the_page_of_symptoms_names_is_there() -> None:
    page = text("docs/how-to/troubleshoot.md")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "comfypod").rglob("*.py"))
    words = {word for code in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", code)}
    assert {word for word in words if not re.search(rf"\b{word}\b", sources)} == set()
    variables = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", page)) - {"IN_QUEUE", "TIMED_OUT", "RUNPOD_INIT_TIMEOUT"}
    assert {name for name in variables if f"| `{name}` |" not in text("docs/reference/settings.md")} == set()


def test_the_command_line_needs_none_of_the_workers_libraries_to_start() -> None:
    """A client's machine has the base dependencies only."""
    script = (
        "import sys\n"
        "import comfypod.cli.main, comfypod.cli.run\n"
        "print([name for name in ('aiohttp', 'websockets', 'runpod', 'PIL', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
