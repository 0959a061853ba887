"""Documents to look at, and the commands as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SECONDS = 60.0

Write = Callable[..., Path]
Inspect = Callable[..., subprocess.CompletedProcess[str]]

OUR_VARIABLES = ("COMFY", "RUNPOD_", "BUCKET_", "MODELS_")


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a machine on which nothing of ours is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OUR_VARIABLES)}
    return {**kept, "HOME": str(home), **variables}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a document as JSON below the test's folder."""

    def write_document(document: Any, name: str = "workflow.json") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return write_document


@pytest.fixture
def inspect(tmp_path: Path) -> Inspect:
    """Run ``comfypod …`` in the repository (or ``folder``), with these variables set."""

    def run(*arguments: str | Path, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment(tmp_path, PYTHONPATH=str(ROOT), **variables)
        return subprocess.run(
            [sys.executable, "-m", "comfypod", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=SECONDS,
        )

    return run


def nodes_of_a_picture(checkpoint: str = "sd_xl_base_1.0.safetensors") -> dict[str, Any]:
    """The default template's workflow, to be spoilt."""
    template = json.loads((ROOT / "workflows" / "text_to_image.json").read_text(encoding="utf-8"))
    workflow: dict[str, Any] = template["workflow"]
    workflow["4"]["inputs"]["ckpt_name"] = checkpoint
    return workflow


@pytest.fixture
def picture() -> dict[str, Any]:
    return nodes_of_a_picture()
