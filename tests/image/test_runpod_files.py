"""What RunPod's Hub and GitHub read has the shapes that they document, and says what is true of this image.

docs.runpod.io, hub/publishing-guide (hub.json, tests.json), references/gpu-types (pools), REST API v1 (CUDA versions).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from worker_jobs import make_handler

from comfypod.schema.job import JobInput
from comfypod.settings import Settings
from tests.image.dockerfile_text import Dockerfile

ROOT = Path(__file__).parents[2]
HUB: dict[str, Any] = json.loads((ROOT / ".runpod/hub.json").read_text(encoding="utf-8"))
TESTS: dict[str, Any] = json.loads((ROOT / ".runpod/tests.json").read_text(encoding="utf-8"))
WORKFLOW = ROOT / ".github/workflows/image.yml"

CATEGORIES = {"audio", "embedding", "language", "video", "image"}
# Pools of 24 GB and more, and the ids of their GPUs.
POOLS = {
    "AMPERE_24": {"NVIDIA L4", "NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090"},
    "ADA_24": {"NVIDIA GeForce RTX 4090"},
    "AMPERE_48": {"NVIDIA RTX A6000", "NVIDIA A40"},
    "ADA_48_PRO": {"NVIDIA L40", "NVIDIA L40S", "NVIDIA RTX 6000 Ada Generation"},
    "AMPERE_80": {"NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"},
    "ADA_80_PRO": {"NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"},
    "HOPPER_141": {"NVIDIA H200"},
}
CUDA_VERSIONS = ["11.8", *(f"12.{minor}" for minor in range(10)), "13.0"]
INPUT_FIELDS = {
    "string": {"name", "type", "description", "default", "advanced", "options", "required"},
    "number": {"name", "type", "description", "default", "advanced", "min", "max", "required"},
    "boolean": {"name", "type", "description", "default", "advanced", "trueValue", "falseValue"},
    "huggingface": {"name", "type", "description", "default", "advanced", "required"},
}


def image_cuda() -> str:
    """The CUDA line of the image, as in "12.8"."""
    found = re.search(r"cuda:(\d+\.\d+)", Dockerfile.parse(ROOT / "Dockerfile").image[0].base)
    assert found
    return found[1]


def usable_cuda_versions() -> list[str]:
    """Drivers run what was built for their own CUDA version or an older one."""
    return CUDA_VERSIONS[CUDA_VERSIONS.index(image_cuda()) :]


def setting_of(value: object) -> str:
    """A preset's value as the variable that the platform sets."""
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def test_the_hubs_listing_has_what_the_hub_asks_for() -> None:
    assert set(HUB) <= {"title", "description", "type", "category", "iconUrl", "config"}
    assert HUB["title"]
    assert len(HUB["description"]) > 40
    assert HUB["type"] == "serverless"
    assert HUB["category"] in CATEGORIES


def test_the_hubs_configuration_fits_the_image() -> None:
    config = HUB["config"]
    assert set(config) == {"runsOn", "containerDiskInGb", "gpuCount", "gpuIds", "allowedCudaVersions", "presets", "env"}
    assert config["runsOn"] == "GPU"
    assert config["gpuCount"] == 1
    assert config["containerDiskInGb"] in range(20, 81)
    pools = config["gpuIds"].split(",")
    assert set(pools) <= set(POOLS), "pools of 24 GB and more: the default template's model is one of SDXL"
    assert 1 <= len(pools) <= 3, "an endpoint takes three types at most (docs.runpod.io, endpoint-configurations)"
    assert config["allowedCudaVersions"] == usable_cuda_versions()


def test_the_hubs_form_asks_in_the_forms_it_knows() -> None:
    entries = HUB["config"]["env"]
    assert len({entry["key"] for entry in entries}) == len(entries)
    for entry in entries:
        assert set(entry) in ({"key", "value"}, {"key", "input"})
        if "input" in entry:
            assert {"name", "type", "description"} <= set(entry["input"]) <= INPUT_FIELDS[entry["input"]["type"]]
            assert all(set(option) == {"label", "value"} for option in entry["input"].get("options", []))


@pytest.mark.parametrize("preset", HUB["config"]["presets"], ids=lambda preset: preset["name"])
def test_a_preset_is_a_valid_set_of_settings(preset: dict[str, Any]) -> None:
    assert set(preset) == {"name", "defaults"}
    assert set(preset["defaults"]) <= {entry["key"] for entry in HUB["config"]["env"]}
    environment = {name: setting_of(value) for name, value in preset["defaults"].items()}
    settings = Settings.from_environment(environment)
    if settings.warmup_workflow:
        assert (ROOT / "workflows" / f"{settings.warmup_workflow}.json").exists()


def test_the_hubs_tests_have_the_documented_shape() -> None:
    assert set(TESTS) == {"tests", "config"}
    assert set(TESTS["config"]) == {"gpuTypeId", "gpuCount", "allowedCudaVersions"}
    offered = set().union(*(POOLS[pool] for pool in HUB["config"]["gpuIds"].split(",")))
    assert TESTS["config"]["gpuTypeId"] in offered
    assert TESTS["config"]["gpuCount"] == HUB["config"]["gpuCount"]
    assert TESTS["config"]["allowedCudaVersions"] == HUB["config"]["allowedCudaVersions"]
    assert len({test["name"] for test in TESTS["tests"]}) == len(TESTS["tests"])
    for test in TESTS["tests"]:
        assert set(test) == {"name", "input", "timeout"}
        assert 60_000 <= test["timeout"] <= 600_000, "milliseconds"


def test_one_of_the_hubs_tests_needs_no_model_and_one_the_model_in_the_image() -> None:
    without, default = (JobInput.parse(test["input"]) for test in TESTS["tests"])
    assert without.workflow is not None
    assert not any("Loader" in node["class_type"] for node in TESTS["tests"][0]["input"]["workflow"].values())
    assert default.workflow is None
    assert default.prompt
    template = json.loads((ROOT / "workflows/text_to_image.json").read_text(encoding="utf-8"))
    assert template["parameters"]["checkpoint"]["default"] in (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("test", TESTS["tests"], ids=lambda test: test["name"])
async def test_the_worker_passes_the_hubs_test(test: dict[str, Any], comfyui_url: str) -> None:
    output = await make_handler(comfyui_url)({"id": "hub-test", "input": test["input"]})
    assert output["status"] == "success", output
    assert output["images"]


def test_the_files_that_the_hub_looks_for_are_there() -> None:
    for name in ("Dockerfile", "README.md", "handler.py"):
        assert (ROOT / name).is_file()
    script = "import handler, rp_handler; assert handler.main is rp_handler.main"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=30)


def test_the_image_of_a_release_is_built_from_pinned_actions_with_least_permissions() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    # YAML 1.1 reads the key "on" as true.
    assert workflow[True] == {"release": {"types": ["published"]}}
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["image"]["permissions"] == {"contents": "read", "packages": "write"}
    for action in re.findall(r"uses: (.*)", text):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_the_image_of_a_release_comes_with_models_and_without() -> None:
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["image"]["steps"]
    builds = [step["with"] for step in steps if step.get("uses", "").startswith("docker/build-push-action@")]
    stages = {stage.name for stage in Dockerfile.parse(ROOT / "Dockerfile").stages}
    assert [build.get("target") for build in builds] == ["base", None]
    assert "base" in stages
    for build in builds:
        assert build["platforms"] == "linux/amd64"
        assert build["push"] is True
        assert "latest" not in build["tags"]
        assert "org.opencontainers.image.revision=" in build["labels"]
    assert builds[0]["tags"].endswith("-base")
    assert builds[0]["tags"].removesuffix("-base") == builds[1]["tags"]
