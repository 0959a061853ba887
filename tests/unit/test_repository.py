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
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "ComfyUI/README.md"])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_page_of_settings_is_the_generated_one() -> None:
    assert text("docs/reference/settings.md") == settings_page()


def test_the_hubs_form_is_the_generated_one() -> None:
    assert json.loads(text(".runpod/hub.json"))["config"]["env"] == hub_environment()


def test_the_image_installs_the_pinned_comfyui_and_starts_it_as_pinned() -> None:
    pin = tomllib.loads(text("ComfyUI/comfyui.toml"))
    dockerfile = text("Dockerfile")
    assert f"ARG COMFYUI_COMMIT={pin['commit']}\n" in dockerfile
    assert f"ARG COMFYUI_REPOSITORY={pin['repository']}\n" in dockerfile
    command = " ".join(["/venv/bin/python", "/comfyui/main.py", *pin["flags"]])
    assert f'ENV COMFYUI_COMMAND="{command}"' in dockerfile


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_command_line_needs_none_of_the_workers_libraries_to_start() -> None:
    """A client's machine has the base dependencies only."""
    script = (
        "import sys\n"
        "import comfypod.cli.main, comfypod.cli.run\n"
        "print([name for name in ('aiohttp', 'websockets', 'runpod', 'PIL', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
