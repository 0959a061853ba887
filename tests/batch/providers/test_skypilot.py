"""Tasks for SkyPilot: what its documentation has of fields, nothing secret, and YAML that says what was meant."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfypod.batch.providers.skypilot import SkyPilotProvider, accelerator, task, to_yaml
from comfypod.errors import ProviderRefused
from tests.batch.providers.pods_site import A40, offer, wish

# docs.skypilot.co, "SkyPilot YAML".
TASK_FIELDS = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "setup", "run", "config"}
RESOURCES_FIELDS = {
    *("infra", "accelerators", "accelerator_args", "cpus", "memory", "instance_type", "use_spot", "disk_size"),
    *("disk_tier", "network_tier", "image_id", "ports", "labels", "autostop", "any_of", "ordered", "job_recovery"),
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_task_has_only_documented_fields_and_no_secret(tmp_path: Path) -> None:
    provider = SkyPilotProvider(tmp_path / "tasks", [offer(A40), offer(memory_bytes=10**9, gpu="NVIDIA L4")])
    pod = provider.create(wish(tmp_path / "disk", offer(price_class="interruptible")))
    found = read(tmp_path / "tasks" / f"{pod.name}.yaml")
    assert found.keys() <= TASK_FIELDS
    assert found["resources"].keys() <= RESOURCES_FIELDS
    assert found["name"] == pod.name == "comfypod-b1-0-0"
    assert found["resources"]["image_id"] == "docker:registry/image:1"
    assert found["resources"]["disk_size"] == 20
    # What was wanted first, then what has as much memory.
    assert found["resources"]["ordered"] == [
        {"accelerators": "RTXA4000:1", "use_spot": True},
        {"accelerators": "A40:1", "use_spot": False},
    ]
    assert found["envs"] == {"GREETING": 'a "b"\n$c'}
    assert found["secrets"] == {"COMFYPOD_BATCH_TOKEN": None}
    assert "secret" not in (tmp_path / "tasks" / f"{pod.name}.yaml").read_text().replace("secrets", "")
    secrets = tmp_path / "tasks/b1.env"
    assert secrets.read_text() == "COMFYPOD_BATCH_TOKEN=secret\n"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600


def test_the_script_runs_the_command_and_has_a_dead_mans_switch_of_its_own(tmp_path: Path) -> None:
    wanted = wish(tmp_path / "disk", offer())
    command = (sys.executable, "-c", "import os; print(os.environ['COMFYPOD_BATCH_ENDS_AT'], 'a  b')")
    changes = {"command": command, "environment": {"COMFYPOD_BATCH_ENDS_AT": "4000000000"}}
    script = task(wanted.model_copy(update=changes))["run"].replace("cd /app", f"cd {tmp_path}")
    printed = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout
    moment, rest = printed.split(maxsplit=1)
    assert abs(float(moment) - 4e9) < 60
    assert rest == "a  b\n"


def test_tasks_are_listed_and_taken_away_and_written_once(tmp_path: Path) -> None:
    provider = SkyPilotProvider(tmp_path / "tasks")
    assert provider.pods() == []
    pod = provider.create(wish(tmp_path / "disk", offer()))
    assert provider.create(wish(tmp_path / "disk", offer(A40))).name == pod.name
    assert read(tmp_path / "tasks" / f"{pod.name}.yaml")["resources"]["ordered"][0]["accelerators"] == "RTXA4000:1"
    assert [item.name for item in provider.pods("b1")] == [pod.name]
    provider.end(pod)
    provider.end(pod)
    assert provider.pods() == []
    with pytest.raises(ProviderRefused):
        provider.create(wish(tmp_path / "disk", offer()).model_copy(update={"name": "../x"}))


@pytest.mark.parametrize(
    "document",
    [
        {"a": "yes", "no": "1e3", "on": None, "x": [], "y": {}, "z": ""},
        {"text": "line one\nline: two # three\n\tfour", "ends": "a\n", "spaces": "  b\nc", "accents": "é\nü"},
        {"deep": {"list": [{"a": "b: c", "d": [1, 2.5, True]}, "x"], "quote": "'\"\\\n"}},
        {"key with: colon": "- dash", "#": "@", "0x10": "010", "number": 12, "word": "plain", "null": "~"},
    ],
)
def test_yaml_is_read_as_it_was_meant(document: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(document)) == document


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA GeForce RTX 3080 Ti", "RTX3080Ti"),
        ("NVIDIA GeForce RTX 4080 SUPER", "RTX4080SUPER"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000-Ada"),
        ("NVIDIA RTX PRO 4500 Blackwell", "RTXPRO4500"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("NVIDIA H200", "H200-SXM"),
    ],
)
def test_types_have_skypilots_names(gpu: str, name: str) -> None:
    assert accelerator(gpu) == name
