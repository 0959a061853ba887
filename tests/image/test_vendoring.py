"""Packs' files come into the repository, and to where ComfyUI loads them from; changes made there are not lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfypod.comfyui.node_packs import NodePacks
from comfypod.errors import ConfigurationError, SourceFetchFailed
from comfypod.image.installation import install_pack
from comfypod.image.layout import Layout
from comfypod.image.pack_check import check_packs
from comfypod.image.pack_tree import MOST_LEVELS, check_tree
from comfypod.image.packs import Wishes, add_pack, vendor_pack
from tests.image.git_repositories import PACK, GitRepository, layout, pack

__all__ = ["layout", "pack"]

NAME = "comfy-example"


@pytest.fixture
def vendored(layout: Layout, pack: GitRepository) -> Path:
    """The folder of a vendored pack."""
    pack.commit({"nodes/loader.py": "# load\n", "run.sh": "#!/bin/sh\n"})
    add_pack(layout, pack.address, Wishes())
    return vendor_pack(layout, NAME, force=False)


def move(layout: Layout, pack: GitRepository) -> str:
    """The pack's newest commit, in the list."""
    commit = pack.commit({"newer.py": ""})
    add_pack(layout, pack.address, Wishes())
    return commit


def problems(layout: Layout) -> list[str]:
    """What is wrong with packs; of the lock, which these repositories do not have, nothing."""
    found = check_packs(layout, ())
    return [problem for problem in found.problems if "image/requirements.txt" not in problem]


def test_the_files_come_without_gits_and_with_a_note_of_where_they_come_from(
    layout: Layout, pack: GitRepository, vendored: Path
) -> None:
    names = sorted(str(path.relative_to(vendored)) for path in vendored.rglob("*"))
    assert names == [".origin.toml", "__init__.py", "nodes", "nodes/loader.py", "run.sh"]
    entry = NodePacks.load(layout.nodes_toml).named(NAME)
    note = (vendored / ".origin.toml").read_text()
    assert entry.vendored
    assert f'repository = "{pack.address}"' in note
    assert f'commit = "{entry.commit}"' in note
    assert problems(layout) == []


def test_done_twice_nothing_is_written_again(layout: Layout, vendored: Path) -> None:
    before = vendored.stat().st_ino
    vendor_pack(layout, NAME, force=False)
    assert vendored.stat().st_ino == before


def test_the_next_commit_replaces_all_files(layout: Layout, pack: GitRepository, vendored: Path) -> None:
    pack.remove("run.sh")
    commit = move(layout, pack)
    assert "not what nodes.toml says: comfypod nodes vendor comfy-example" in problems(layout)[0]
    vendor_pack(layout, NAME, force=False)
    assert (vendored / "newer.py").exists()
    assert not (vendored / "run.sh").exists()
    assert commit in (vendored / ".origin.toml").read_text()
    assert problems(layout) == []


def edit(folder: Path) -> None:
    (folder / "nodes" / "loader.py").write_text("# mine\n")


def add_file(folder: Path) -> None:
    (folder / "mine.py").write_text("")


def remove_file(folder: Path) -> None:
    (folder / "run.sh").unlink()


def make_executable(folder: Path) -> None:
    (folder / "run.sh").chmod(0o755)


@pytest.mark.parametrize("change", [edit, add_file, remove_file, make_executable])
def test_changes_made_here_are_told_and_never_overwritten_unless_that_is_wished(
    layout: Layout, pack: GitRepository, vendored: Path, change: object
) -> None:
    assert callable(change)
    change(vendored)
    assert "was changed after it was put there" in problems(layout)[0]
    move(layout, pack)
    with pytest.raises(ConfigurationError, match=r"was changed after it was put there.*--force"):
        vendor_pack(layout, NAME, force=False)
    assert not (vendored / "newer.py").exists()
    vendor_pack(layout, NAME, force=True)
    assert (vendored / "newer.py").exists()
    assert problems(layout) == []


def test_what_python_leaves_behind_is_no_change(layout: Layout, pack: GitRepository, vendored: Path) -> None:
    (vendored / "__pycache__").mkdir()
    (vendored / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert problems(layout) == []
    move(layout, pack)
    vendor_pack(layout, NAME, force=False)
    assert (vendored / "newer.py").exists()


def test_a_checkout_with_its_history_is_never_overwritten(layout: Layout, pack: GitRepository) -> None:
    add_pack(layout, pack.address, Wishes())
    folder = layout.root / "custom_nodes" / NAME
    GitRepository(folder).commit({"mine.py": ""})
    with pytest.raises(ConfigurationError, match="git checkout of its own"):
        vendor_pack(layout, NAME, force=True)
    assert (folder / ".git").is_dir()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "nodes/../../outside", "circle"])
def test_a_link_that_leads_out_is_refused(layout: Layout, pack: GitRepository, target: str) -> None:
    pack.commit({"nodes/x.py": ""}, links={"circle": target})
    with pytest.raises(SourceFetchFailed, match="'circle' is a link that leads out of it"):
        add_pack(layout, pack.address, Wishes())
    assert NodePacks.load(layout.nodes_toml).pack == []


def test_a_link_within_a_pack_stays_one(layout: Layout, pack: GitRepository) -> None:
    pack.commit({"nodes/x.py": "x = 1\n"}, links={"y.py": "nodes/x.py"})
    add_pack(layout, pack.address, Wishes())
    folder = vendor_pack(layout, NAME, force=False)
    assert (folder / "y.py").is_symlink()
    assert (folder / "y.py").read_text() == "x = 1\n"


def test_absurd_trees_are_refused(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "x").write_bytes(b"x" * 2 * 1024**2)
    with pytest.raises(SourceFetchFailed, match="larger than 1 MiB"):
        check_tree(tmp_path / "large", "large", most_bytes=1024**2)
    deep = Path(tmp_path, "deep", *["d"] * MOST_LEVELS)
    deep.mkdir(parents=True)
    (deep / "x").write_text("")
    with pytest.raises(SourceFetchFailed, match="folders more than 50 deep"):
        check_tree(tmp_path / "deep", "deep")


def test_packs_are_installed_once_and_follow_the_list(layout: Layout, pack: GitRepository, tmp_path: Path) -> None:
    directory = tmp_path / "custom_nodes"
    other = GitRepository(tmp_path / "sources" / "other")
    other.commit({"__init__.py": PACK, "install.py": ""})
    add_pack(layout, pack.address, Wishes())
    vendor_pack(layout, NAME, force=False)
    add_pack(layout, other.address, Wishes(classes=["O_*"]))

    def install() -> list[tuple[str, str]]:
        packs = NodePacks.load(layout.nodes_toml).pack
        done = [install_pack(layout, item, directory, force=False) for item in packs]
        return [(item.pack.name, item.did) for item in done]

    assert install() == [(NAME, "installed"), ("other", "installed")]
    assert install() == [(NAME, "was there"), ("other", "was there")]
    commit = move(layout, pack)
    vendor_pack(layout, NAME, force=False)
    shutil.rmtree(layout.root / ".comfypod")  # in an image, nothing was fetched before
    add_pack(layout, other.address, Wishes(classes=["O_*"]))
    assert install() == [(NAME, "replaced"), ("other", "was there")]
    assert commit in (directory / NAME / ".origin.toml").read_text()
    (directory / "other" / "mine.py").write_text("")
    with pytest.raises(ConfigurationError, match="other was changed"):
        install()


def test_an_installation_without_what_was_fetched_before_fetches_and_tells_of_install_py(
    layout: Layout, pack: GitRepository, tmp_path: Path
) -> None:
    pack.commit({"install.py": "raise SystemExit('run')\n"})
    entry = add_pack(layout, pack.address, Wishes()).pack
    shutil.rmtree(layout.root / ".comfypod")
    done = install_pack(layout, entry, tmp_path / "nodes", force=False)
    assert done.did == "installed"
    assert "install.py, which is not run" in done.remarks[0]
    assert not (layout.root / ".comfypod").exists()


def test_a_folder_that_somebody_else_put_there_is_left_alone(
    layout: Layout, pack: GitRepository, tmp_path: Path
) -> None:
    entry = add_pack(layout, pack.address, Wishes()).pack
    (tmp_path / "nodes" / NAME).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="was not put there by comfypod"):
        install_pack(layout, entry, tmp_path / "nodes", force=False)
    assert install_pack(layout, entry, tmp_path / "nodes", force=True).did == "replaced"


def test_a_hostile_pack_that_is_fetched_by_an_installation_leaves_nothing(
    layout: Layout, pack: GitRepository, tmp_path: Path
) -> None:
    entry = add_pack(layout, pack.address, Wishes()).pack
    hostile = entry.model_copy(update={"commit": pack.commit({}, links={"x": "/etc/passwd"})})
    with pytest.raises(SourceFetchFailed, match="leads out of it"):
        install_pack(layout, hostile, tmp_path / "nodes", force=False)
    assert list((tmp_path / "nodes").iterdir()) == []


def test_a_pack_cannot_bring_a_note_of_its_own(layout: Layout, pack: GitRepository, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    pack.commit({"nodes/.origin.toml": "theirs"}, links={".origin.toml": str(victim)})
    entry = add_pack(layout, pack.address, Wishes()).pack
    vendor_pack(layout, NAME, force=False)
    shutil.rmtree(layout.root / ".comfypod")
    folder = install_pack(layout, entry, tmp_path / "nodes", force=False).folder
    assert victim.read_text() == "mine"
    assert (folder / "nodes" / ".origin.toml").read_text() == "theirs"
    assert install_pack(layout, entry, tmp_path / "nodes", force=False).did == "was there"


def test_check_names_what_does_not_fit(layout: Layout, vendored: Path) -> None:
    (layout.root / "custom_nodes" / "forgotten").mkdir()
    layout.workflows.mkdir()
    (layout.workflows / "video.json").write_text(
        '{"name": "video", "workflow": {"1": {"class_type": "VHS_Load", "inputs": {}},'
        ' "2": {"class_type": "KSampler", "inputs": {}}, "3": {"class_type": "ExampleSaver", "inputs": {}}}}'
    )
    with layout.nodes_toml.open("a") as file:
        file.write('\n[[pack]]\nname = "own"\nvendored = true\nclasses = ["Example*"]\n')
    found = check_packs(layout, ["KSampler"]).problems
    for part in (
        "own is not there",
        "forgotten is no vendored pack of nodes.toml",
        "comfy-example and own both have ExampleLoader, ExampleSaver: ComfyUI takes only one",
        "video.json needs VHS_Load, which neither",
    ):
        assert any(part in problem for problem in found), (part, found)


def test_check_tells_of_files_that_git_would_leave_out(layout: Layout, pack: GitRepository) -> None:
    ours = GitRepository(layout.root / "x").path  # a repository whose root is ours
    (ours / ".git").rename(layout.root / ".git")
    pack.commit({".gitignore": "*.json\n", "presets.json": "{}"})
    add_pack(layout, pack.address, Wishes())
    vendor_pack(layout, NAME, force=False)
    assert any("git leaves out presets.json" in problem for problem in problems(layout)), problems(layout)
