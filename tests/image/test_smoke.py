"""The smoke test of an image, over the built-in engine and things that are wrong with an image."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = shlex.join([sys.executable, "-m", "comfypod", "emulate", "comfyui"])
UNKNOWN_PACK = """
[[pack]]
name = "fancy"
repository = "https://example.com/fancy"
commit = "0123456789abcdef0123456789abcdef01234567"
classes = ["FancyLoader", "KSampler"]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the image has of this repository, as far as the smoke test looks at it."""
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows")
    (tmp_path / "custom_nodes").mkdir()
    return tmp_path


def smoke(repository: Path, comfyui_command: str | None = ENGINE) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI_")}
    if comfyui_command is not None:
        environment["COMFYUI_COMMAND"] = comfyui_command
    command = [sys.executable, "-m", "comfypod", "smoke"]
    return subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_what_works_is_told_in_one_line(repository: Path) -> None:
    done = smoke(repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ComfyUI ")
    assert "0 node packs, 2 workflows, one job" in done.stdout
    assert done.stdout.count("\n") == 1


def test_everything_that_is_wrong_is_named(repository: Path) -> None:
    """A pack that does not load, a class that its pack does not bring, and one that a workflow wants."""
    broken = "Cannot import /app/ComfyUI/custom_nodes/broken module for custom nodes: No module named 'cv2'"
    (repository / "custom_nodes/nodes.toml").write_text(UNKNOWN_PACK)
    workflow = {"1": {"class_type": "NobodyHasThis", "inputs": {}}}
    (repository / "workflows/wish.json").write_text(
        json.dumps({"name": "wish", "description": "", "parameters": {}, "workflow": workflow})
    )
    done = smoke(repository, shlex.join(["sh", "-c", f'echo {shlex.quote(broken)}; exec {ENGINE} "$@"', "sh"]))
    assert done.returncode == 1
    assert done.stdout == ""
    said = done.stderr.splitlines()[-1]
    assert said.startswith("smoke_test_failed: The node pack broken failed to load: No module named 'cv2'.")
    assert "The node pack fancy brings no class FancyLoader, which nodes.toml lists." in said
    assert "KSampler" not in said
    assert "workflows/wish.json: node 1 has the class NobodyHasThis, which is not installed." in said


def test_a_workflow_that_is_none_is_named(repository: Path) -> None:
    (repository / "workflows/half.json").write_text('{"name": "half"}')
    done = smoke(repository)
    assert done.returncode == 2
    assert "workflows/half.json is not a template" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_comfyui_that_does_not_start_fails_it(repository: Path) -> None:
    done = smoke(repository, shlex.join([sys.executable, "-c", "import torch_of_another_world"]))
    assert done.returncode == 1
    assert "No module named 'torch_of_another_world'" in done.stderr.splitlines()[-1]


def test_the_built_in_engine_is_no_comfyui(repository: Path) -> None:
    """Without a ComfyUI a worker would take the engine, and an image that lacks ComfyUI would pass."""
    done = smoke(repository, None)
    assert done.returncode == 2
    assert done.stderr.startswith("configuration: There is no ComfyUI in ")
