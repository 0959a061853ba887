"""``comfypod batch plan``, as a person and a program see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfypod.batch.documents import Plan

_MODELS = """
[[model]]
name = "a.safetensors"
folder = "checkpoints"
url = "https://example.org/a.safetensors"
size_bytes = 7000000000

[[model]]
name = "b.safetensors"
folder = "checkpoints"
url = "https://example.org/b.safetensors"
size_bytes = 2000000000
"""
_OFFERS = """
[defaults]
provider = "runpod"
memory_gigabytes = 24
download_megabits = 1600

[[offers]]
gpu = "slow"
price_class = "interruptible"
dollars_per_hour = 0.12
megapixel_steps_per_second = 1.6
interruptions_per_hour = 0.1

[[offers]]
gpu = "quick"
price_class = "on_demand"
dollars_per_hour = 0.30
megapixel_steps_per_second = 3.0
"""


def workflow(checkpoint: str, seed: int) -> dict[str, Any]:
    """A text to image workflow of 1024 x 1024 and 20 steps: 21 megapixel-steps."""
    inputs = {"seed": seed, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["1", 1]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": inputs | links},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [workflow("a.safetensors" if number % 3 else "b.safetensors", number) for number in range(600)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"workflow": row}) + "\n" for row in rows))
    (tmp_path / "models.toml").write_text(_MODELS)
    (tmp_path / "offers.toml").write_text(_OFFERS)
    return tmp_path


def plan(folder: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "comfypod", "batch", "plan", "items.jsonl", "--offers", "offers.toml", *options]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder), "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_person_sees_pods_dollars_and_the_bound_and_a_program_the_same_plan(folder: Path) -> None:
    shown = plan(folder, "--deadline", "1h", "--output", "plan.json")
    assert "a.safetensors" in shown.stdout
    assert "600 items on 3 pods: $" in shown.stdout
    assert "above the bound of $" in shown.stdout
    assert "of 1 h 00 min allowed" in shown.stdout
    assert "The speed of slow is the offer's own" in shown.stderr
    written = Plan.model_validate_json((folder / "plan.json").read_text())
    assert sum(share.items for pod in written.pods for share in pod.shares) == 600
    as_json = plan(folder, "--deadline", "1h", "--json")
    assert Plan.model_validate_json(as_json.stdout) == written


def test_other_conditions_are_compared(folder: Path) -> None:
    by_deadline = json.loads(plan(folder, "--what-if", "deadline", "--json").stdout)["deadline"]
    assert [row["condition"] for row in by_deadline] == ["none", "2 h 00 min", "1 h 00 min", "30 min 00 s"]
    assert [row["pods"] for row in by_deadline] == sorted(row["pods"] for row in by_deadline)
    by_gpu = plan(folder, "--what-if", "gpu").stdout
    assert "slow, interruptible" in by_gpu
    assert "quick, on-demand" in by_gpu
    by_price = json.loads(plan(folder, "--what-if", "price", "--json").stdout)["price"]
    assert by_price[0]["gpus"] == ["slow"]
    assert by_price[-1]["gpus"] == ["quick"]


def test_what_cannot_work_is_said_in_a_sentence_with_the_exit_code_of_wrong_input(folder: Path) -> None:
    refused = plan(folder, "--budget", "0.05", code=2)
    assert refused.stderr.startswith("plan_impossible: No plan costs less than $")
    as_json = plan(folder, "--payload-cap", "5", "--json", code=2)
    assert json.loads(as_json.stdout)["error"]["code"] == "plan_impossible"
    assert "7.0 GB together" in json.loads(as_json.stdout)["error"]["reasons"][0]
