"""`comfypod nodes`: the packs of nodes.toml, whether they are here, and who has a class."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Inspect = Callable[..., subprocess.CompletedProcess[str]]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two packs: one lies in the checkout, one nowhere."""
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "nodes.toml").write_text(
        f"""
        [[pack]]
        name = "Video Helpers"
        repository = "https://github.com/example/Comfy-Video"
        commit = "{COMMIT}"
        classes = ["VHS_*", "SaveImage"]

        [[pack]]
        name = "absent-pack"
        repository = "https://github.com/example/absent-pack.git"
        commit = "{COMMIT}"
        classes = ["AbsentNode"]
        """
    )
    (tmp_path / "ComfyUI" / "custom_nodes" / "comfy-video").mkdir(parents=True)
    return tmp_path


def test_without_packs_that_is_said(inspect: Inspect, tmp_path: Path) -> None:
    done = inspect("nodes", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "custom_nodes/nodes.toml names no packs.\n"


def test_every_pack_is_listed_with_whether_it_is_here(inspect: Inspect, repository: Path) -> None:
    shown = inspect("nodes", folder=repository)
    assert shown.returncode == 0, shown.stderr
    here = next(line for line in shown.stdout.splitlines() if "Video Helpers" in line)
    assert all(part in here for part in (COMMIT[:10], "ComfyUI/custom_nodes/comfy-video", "VHS_*"))
    packs = json.loads(inspect("nodes", "list", "--json", folder=repository).stdout)["packs"]
    assert [(pack["name"], pack["presence"], pack["known"]) for pack in packs] == [
        ("Video Helpers", "here", None),
        ("absent-pack", "missing", None),
    ]


def test_a_checkout_at_another_commit_is_told(inspect: Inspect, repository: Path) -> None:
    folder = repository / "ComfyUI" / "custom_nodes" / "comfy-video"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(folder)]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True, timeout=30)
    packs = json.loads(inspect("nodes", "--json", folder=repository).stdout)["packs"]
    assert packs[0]["presence"] == "other commit"


def test_a_running_comfyui_is_asked_which_of_the_classes_it_knows(
    inspect: Inspect, repository: Path, comfyui_url: str
) -> None:
    for arguments in (
        ("nodes", "list", "--comfyui", comfyui_url, "--json"),
        ("nodes", "--json", "--comfyui", comfyui_url),
        ("nodes", "--json", "--comfyui", comfyui_url, "list"),
    ):
        done = inspect(*arguments, folder=repository)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert comfyui_url in document["asked"]
        assert [(pack["known"], pack["unknown"]) for pack in document["packs"]] == [
            (["SaveImage"], ["VHS_*"]),
            ([], ["AbsentNode"]),
        ]


def test_find_names_the_pack_of_a_class_and_who_knows_it(inspect: Inspect, repository: Path, comfyui_url: str) -> None:
    done = inspect("nodes", "find", "VHS_LoadVideo", "--comfyui", comfyui_url, folder=repository)
    assert done.returncode == 0, done.stderr
    assert "belongs to Video Helpers (https://github.com/example/Comfy-Video" in done.stdout
    assert "does not know it" in done.stdout
    core = inspect("nodes", "find", "KSampler", folder=repository)
    assert core.returncode == 0
    assert "the built-in engine knows it; it comes from ComfyUI itself" in core.stdout


def test_find_exits_with_2_for_a_class_of_nobody_and_tells_near_names(inspect: Inspect, repository: Path) -> None:
    done = inspect("nodes", "find", "KSamplr", folder=repository)
    assert done.returncode == 2
    assert "did you mean KSampler?" in done.stdout
    document = json.loads(inspect("nodes", "find", "KSamplr", "--json", folder=repository).stdout)
    assert document["near"][0] == "KSampler"
    assert (document["packs"], document["asked"]["knows_it"]) == ([], False)


def test_a_broken_nodes_toml_is_wrong_configuration(inspect: Inspect, repository: Path) -> None:
    (repository / "custom_nodes" / "nodes.toml").write_text('[[pack]]\nname = "x"\n')
    done = inspect("nodes", folder=repository)
    assert done.returncode == 2
    assert done.stderr.startswith("configuration: ")
    assert "pack.0.repository" in done.stderr
