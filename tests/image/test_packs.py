"""`comfypod nodes add`: a pack is looked at and pinned, and the rest of nodes.toml stays as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfypod.comfyui.node_packs import NodePack, NodePacks
from comfypod.errors import ConfigurationError, SourceFetchFailed
from comfypod.image.layout import Layout
from comfypod.image.packs import Wishes, add_pack
from tests.image.git_repositories import PACK, GitRepository, layout, pack

__all__ = ["layout", "pack"]

ROOT = Path(__file__).parents[2]


def packs_of(layout: Layout) -> list[NodePack]:
    return NodePacks.load(layout.nodes_toml).pack


def test_a_pack_is_pinned_at_its_newest_commit_with_the_classes_of_its_files(
    layout: Layout, pack: GitRepository
) -> None:
    commit = pack.commit({"more.py": 'raise SystemExit("imported")\n'})
    added = add_pack(layout, pack.address, Wishes())
    expected = NodePack(
        name="comfy-example", repository=pack.address, commit=commit, classes=["ExampleLoader", "ExampleSaver"]
    )
    assert packs_of(layout) == [expected] == [added.pack]
    assert (added.former_commit, added.remarks) == (None, [])
    assert layout.nodes_toml.read_text().startswith("# Our packs.\n")
    assert not (layout.root / "custom_nodes" / "comfy-example").exists()


def test_comments_and_other_entries_stay(layout: Layout, pack: GitRepository) -> None:
    before = (
        "# Head.\n\n[[pack]]\nname = 'other' # why\nrepository = 'https://example.com/other'\n"
        f"commit = '{'a' * 40}'\nclasses = [\n  'O_*', # all\n]\n"
    )
    layout.nodes_toml.write_text(before)
    add_pack(layout, pack.address, Wishes(name="Mine", classes=["EX_*"]))
    assert layout.nodes_toml.read_text().startswith(f'{before}\n[[pack]]\nname = "Mine"\n')
    assert [(item.name, item.classes) for item in packs_of(layout)] == [("other", ["O_*"]), ("Mine", ["EX_*"])]


def test_without_a_list_one_is_made(layout: Layout, pack: GitRepository) -> None:
    layout.nodes_toml.unlink()
    add_pack(layout, pack.address, Wishes())
    assert [item.name for item in packs_of(layout)] == ["comfy-example"]


def test_a_tag_a_branch_and_a_commit_name_what_they_stand_for(layout: Layout, pack: GitRepository) -> None:
    first = pack.commit({"one.py": ""})
    pack.tag("v1")
    newest = pack.commit({"two.py": ""})
    for number, (reference, commit) in enumerate([("v1", first), ("main", newest), (first, first)]):
        added = add_pack(layout, pack.address, Wishes(reference=reference, name=f"pack-{number}"))
        assert added.pack.commit == commit, reference
    with pytest.raises(SourceFetchFailed, match="no branch or tag 'v9'"):
        add_pack(layout, pack.address, Wishes(reference="v9", name="none"))


def test_added_again_a_pack_moves_and_keeps_the_patterns_that_a_person_wrote(
    layout: Layout, pack: GitRepository
) -> None:
    former = add_pack(layout, pack.address, Wishes(classes=["Example*"])).pack.commit
    newest = pack.commit({"__init__.py": PACK + 'NODE_CLASS_MAPPINGS["New"] = object\n'})
    added = add_pack(layout, pack.address, Wishes())
    assert added.former_commit == former
    assert [(item.commit, item.classes) for item in packs_of(layout)] == [(newest, ["Example*", "New"])]


def test_two_packs_cannot_have_one_name(layout: Layout, pack: GitRepository, tmp_path: Path) -> None:
    add_pack(layout, pack.address, Wishes(name="Mine"))
    other = GitRepository(tmp_path / "other")
    other.commit({"__init__.py": PACK})
    with pytest.raises(ConfigurationError, match=r"There is a pack 'Mine' of .*choose another --name"):
        add_pack(layout, other.address, Wishes(name="mine"))


def test_what_a_person_should_know_of_a_pack_is_told(layout: Layout, tmp_path: Path) -> None:
    odd = GitRepository(tmp_path / "odd")
    odd.commit(
        {
            "install.py": "",
            ".gitmodules": "",
            "model.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "requirements.txt": "numpy\ngit+https://example.com/x.git\n",
        }
    )
    told = " ".join(add_pack(layout, odd.address, Wishes()).remarks)
    for part in ("__init__.py", "install.py", "submodules", "Git LFS", "--class", "line 2: 'git+https://example.com/x"):
        assert part in told, part


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("https://me:hunter2@example.com/x", "must not hold a token or password"),
        ("https://hunter2@example.com/x", "must not hold a token or password"),
        ("ssh://git:hunter2@example.com/x", "must not hold a token or password"),
        ("--upload-pack=touch /tmp/x", "must be the address of a git repository"),
    ],
)
def test_what_is_no_address_is_refused_before_anybody_is_asked(layout: Layout, address: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as refused:
        add_pack(layout, address, Wishes(name="x"))
    assert "hunter2" not in str(refused.value)
    assert packs_of(layout) == []


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x ", "ä"])
def test_a_name_is_that_of_a_folder_and_leads_nowhere_else(layout: Layout, pack: GitRepository, name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        add_pack(layout, pack.address, Wishes(name=name or "/"))


def test_the_command_adds_vendors_and_lists(layout: Layout, pack: GitRepository) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def comfypod(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "comfypod", "nodes", *arguments]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=layout.root, env=environment, timeout=60
        )

    added = comfypod("add", pack.address, "--vendor")
    assert added.returncode == 0, added.stderr
    assert "comfy-example: pinned at " in added.stdout
    assert "classes: ExampleLoader, ExampleSaver" in added.stdout
    assert "comfypod nodes lock" in added.stderr
    listed = json.loads(comfypod("list", "--json").stdout)["packs"]
    assert [(item["name"], item["vendored"], item["presence"]) for item in listed] == [("comfy-example", True, "here")]
    table = comfypod("list").stdout
    assert "vendored" in table
    assert "custom_nodes/comfy-example" in table
    refused = comfypod("vendor", "nobody")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no pack 'nobody'; it has: comfy-example" in refused.stderr
