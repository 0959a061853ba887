"""`comfypod nodes lock`: what ComfyUI, the worker and the packs require is resolved together, from wheels made here."""

from __future__ import annotations

import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from comfypod.comfyui.node_packs import NodePack, NodePacks
from comfypod.errors import ConfigurationError, RequirementsConflict, SourceFetchFailed
from comfypod.image.installation import install_pack, install_requirements
from comfypod.image.layout import Layout
from comfypod.image.lock import lock, outdated
from comfypod.image.nodes_file import append_pack
from comfypod.image.packs import Wishes, add_pack, vendor_pack
from comfypod.image.requirements import read_requirements
from comfypod.image.resolver import Target
from tests.image.git_repositories import PACK, GitRepository, layout, pack

__all__ = ["layout", "pack"]

ROOT = Path(__file__).parents[2]
TARGET = Target()


class Wheels:
    """An index of packages that have nothing in them: uv is told to know no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, version: str, requires: Sequence[str] = ()) -> None:
        stem = f"{name.replace('-', '_')}-{version}"
        lines = [
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
            *(f"Requires-Dist: {it}" for it in requires),
        ]
        with zipfile.ZipFile(self.folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(lines) + "\n")
            wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheels:
    """numpy 1 and 2, and a torch that brings a library of its own."""
    found = Wheels(tmp_path / "wheels")
    (tmp_path / "uv.toml").write_text(f'[pip]\nno-index = true\nfind-links = ["{found.folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    for version in ("1.26.0", "2.1.0"):
        found.add("numpy", version)
    found.add("torch", "2.10.0", ["nvidia-lib", "filelock"])
    found.add("torch", "2.11.0")
    for name in ("nvidia-lib", "filelock", "aiohttp", "einops"):
        found.add(name, "1.0")
    return found


@pytest.fixture
def ours(layout: Layout, tmp_path: Path, wheels: Wheels) -> Layout:
    """A repository whose ComfyUI wants torch, numpy and filelock, and whose worker wants aiohttp."""
    comfyui = GitRepository(tmp_path / "sources" / "ComfyUI")
    commit = comfyui.commit({"requirements.txt": "torch\nnumpy>=1.25.0\nfilelock\n\n#more\neinops # for shapes\n"})
    write(
        layout.comfyui / "comfyui.toml", f'repository = "{comfyui.address}"\nversion = "0.33.0"\ncommit = "{commit}"\n'
    )
    write(layout.worker_requirements, "aiohttp==1.0 ; python_version >= '3.8'\n")
    write(layout.torch_set, "torch==2.10.0\n")
    return layout


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def add(ours: Layout, folder: Path, name: str, files: Mapping[str, str]) -> None:
    repository = GitRepository(folder / "sources" / name)
    repository.commit({"__init__.py": PACK, **files})
    add_pack(ours, repository.address, Wishes(classes=[f"{name}_*"]))


def pins(layout: Layout) -> list[str]:
    lines = layout.lock.read_text().splitlines()
    return [line.partition(" ")[0] for line in lines if line[:1] not in {"#", " "}]


def test_everything_is_pinned_with_hashes_but_torch_and_what_only_torch_needs(
    ours: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_RESOLUTION", "lowest")  # what a developer has set for other projects changes nothing
    locked = lock(ours, TARGET, upgrade=False)
    assert pins(ours) == ["aiohttp==1.0", "einops==1.0", "filelock==1.0", "numpy==2.1.0"]
    assert locked.packages == 4
    text = ours.lock.read_text()
    assert text.count("--hash=sha256:") == 4
    assert "    # for ComfyUI, torch\n" in text
    assert "://" not in text
    assert str(ours.root) not in text


def test_the_same_again_gives_the_same_file_also_when_there_is_something_newer(ours: Layout, wheels: Wheels) -> None:
    lock(ours, TARGET, upgrade=False)
    before = ours.lock.read_bytes()
    wheels.add("numpy", "2.2.0")
    assert lock(ours, TARGET, upgrade=False).changes == []
    assert ours.lock.read_bytes() == before
    assert lock(ours, TARGET, upgrade=True).changes == ["numpy 2.1.0 -> 2.2.0"]


def test_packs_that_exclude_each_other_are_named_with_what_they_require(ours: Layout, tmp_path: Path) -> None:
    add(ours, tmp_path, "old-pack", {"requirements.txt": "einops\nnumpy<2\n"})
    add(ours, tmp_path, "new-pack", {"pyproject.toml": '[project]\nname = "x"\ndependencies = ["numpy >= 2"]\n'})
    with pytest.raises(RequirementsConflict) as refused:
        lock(ours, TARGET, upgrade=False)
    assert list(refused.value.sources) == ["old-pack", "new-pack"]
    sentence = str(refused.value)
    assert sentence.startswith(
        "The requirements of old-pack and new-pack cannot be met together: "
        "old-pack requires numpy<2; new-pack requires numpy>=2. "
    )
    assert "source-" not in sentence
    assert not ours.lock.exists()


def test_a_conflict_through_what_a_package_requires_names_both_packs(
    ours: Layout, wheels: Wheels, tmp_path: Path
) -> None:
    wheels.add("faces", "3.0", ["numpy<2"])
    add(ours, tmp_path, "face-pack", {"requirements.txt": "faces\n"})
    add(ours, tmp_path, "new-pack", {"requirements.txt": "numpy>=2\n"})
    with pytest.raises(RequirementsConflict) as refused:
        lock(ours, TARGET, upgrade=False)
    assert list(refused.value.sources) == ["face-pack", "new-pack"]
    assert "face-pack requires faces; new-pack requires numpy>=2" in refused.value.cause


def test_a_pack_that_wants_another_torch_is_told_so(ours: Layout, tmp_path: Path) -> None:
    add(ours, tmp_path, "torch-pack", {"requirements.txt": "torch>=2.11\n"})
    with pytest.raises(RequirementsConflict) as refused:
        lock(ours, TARGET, upgrade=False)
    assert list(refused.value.sources) == ["torch-pack", "image/torch/cu128.in"]


def test_what_no_index_has_is_told_with_the_pack_that_requires_it(ours: Layout, tmp_path: Path) -> None:
    add(ours, tmp_path, "odd-pack", {"requirements.txt": "nobody-has-this\n"})
    with pytest.raises(RequirementsConflict, match="odd-pack requires nobody-has-this") as refused:
        lock(ours, TARGET, upgrade=False)
    assert list(refused.value.sources) == ["odd-pack"]


@pytest.mark.parametrize(
    "line",
    [
        "-r /etc/passwd",
        "--extra-index-url https://example.com/simple",
        "-e .",
        "git+https://example.com/x.git",
        "x @ file:///etc/passwd",
        "./x-1.0-py3-none-any.whl",
        "numpy --config-settings=x",
        "${HOME}",
    ],
)
def test_lines_that_are_no_plain_requirement_are_refused_by_number(ours: Layout, tmp_path: Path, line: str) -> None:
    add(ours, tmp_path, "odd-pack", {"requirements.txt": f"# first\nnumpy\n{line}\n"})
    with pytest.raises(ConfigurationError) as refused:
        lock(ours, TARGET, upgrade=False)
    assert f"odd-pack: requirements.txt, line 3: {line!r} is not the plain name" in str(refused.value)
    assert "requirements = [...]" in str(refused.value)


def test_what_a_pack_links_to_outside_of_itself_is_not_read(ours: Layout, tmp_path: Path) -> None:
    sly = GitRepository(tmp_path / "sources" / "sly")
    commit = sly.commit({"__init__.py": PACK}, links={"requirements.txt": "/dev/zero"})
    append_pack(ours.nodes_toml, NodePack(name="sly", repository=sly.address, commit=commit))
    with pytest.raises(SourceFetchFailed, match=r"'requirements\.txt' is a link that leads out of it"):
        lock(ours, TARGET, upgrade=False)


def test_an_entry_says_what_is_required_in_place_of_the_packs_own_files(ours: Layout, tmp_path: Path) -> None:
    add(ours, tmp_path, "odd-pack", {"requirements.txt": "-r /etc/passwd\n"})
    with ours.nodes_toml.open("a") as file:
        file.write('requirements = ["numpy<2"]\n')
    lock(ours, TARGET, upgrade=False)
    assert "numpy==1.26.0" in pins(ours)
    assert outdated(ours) == []


def test_a_source_distribution_is_built_only_where_the_entry_says_so(
    ours: Layout, wheels: Wheels, tmp_path: Path
) -> None:
    (wheels.folder / "sourceonly-1.0.tar.gz").write_bytes(b"never opened")
    add(ours, tmp_path, "odd-pack", {"requirements.txt": "sourceonly\n"})
    with pytest.raises(RequirementsConflict, match="odd-pack requires sourceonly") as refused:
        lock(ours, TARGET, upgrade=False)
    assert "build_from_source" in str(refused.value)
    with ours.nodes_toml.open("a") as file:
        file.write('build_from_source = ["sourceonly"]\n')
    with pytest.raises(SourceFetchFailed, match="sourceonly"):  # it is opened now
        lock(ours, TARGET, upgrade=False)


def test_the_file_knows_when_what_it_was_made_from_has_changed(
    ours: Layout, pack: GitRepository, tmp_path: Path
) -> None:
    assert "is not there: comfypod nodes lock" in outdated(ours)[0]
    add_pack(ours, pack.address, Wishes())
    lock(ours, TARGET, upgrade=False)
    assert outdated(ours) == []
    newest = pack.commit({"requirements.txt": "numpy<2\n"})
    add_pack(ours, pack.address, Wishes())
    assert f"comfy-example, commit {newest}" in outdated(ours)[0]
    lock(ours, TARGET, upgrade=False)
    assert outdated(ours) == []
    vendored = vendor_pack(ours, "comfy-example", force=False)
    lock(ours, TARGET, upgrade=False)
    write(vendored / "requirements.txt", "numpy<3\n")
    assert "comfy-example, sha256:" in outdated(ours)[0]
    write(ours.torch_set, "torch==2.11.0\n")
    write(ours.worker_requirements, "")
    assert all(name in outdated(ours)[0] for name in ("cu128.in", "the worker"))
    write(ours.lock, "numpy==1.0\n")
    assert "does not say what it was made from" in outdated(ours)[0]


def test_without_uv_that_is_said(ours: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ConfigurationError, match="pip install uv=="):
        lock(ours, TARGET, upgrade=False)


def test_an_index_that_does_not_answer_is_no_conflict(
    ours: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    write(tmp_path / "uv.toml", 'index-url = "http://127.0.0.1:9/simple"\n')
    with pytest.raises(SourceFetchFailed, match="uv: "):
        lock(ours, TARGET, upgrade=False)


def test_requirements_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    continued = "open_clip.torch [x] >= 2,\\\n  <3 ; python_version>='3'"
    write(tmp_path / "requirements.txt", f"\ufeffPillow>=9 # pictures\n{continued}\n\n  # none\nPillow>=9\nnumpy")
    assert read_requirements(tmp_path / "requirements.txt", "x") == [
        "pillow>=9",
        'open-clip-torch[x]<3,>=2; python_version >= "3"',
        "numpy",
    ]


def test_what_packs_require_is_installed_within_the_versions_that_the_image_has(
    ours: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(ours, TARGET, upgrade=False)
    add(ours, tmp_path, "old-pack", {"requirements.txt": "numpy<2\n"})
    add(ours, tmp_path, "good-pack", {"requirements.txt": "einops\n"})
    packs = NodePacks.load(ours.nodes_toml)
    old, good = (
        install_pack(ours, packs.named(f"{it}-pack"), tmp_path / "nodes", force=False) for it in ("old", "good")
    )
    monkeypatch.setenv("UV_CONSTRAINT", str(ours.torch_set))
    python = make_environment(tmp_path / "venv")
    assert install_requirements(ours, [good], python) == ["einops"]
    assert list((tmp_path / "venv").rglob("einops-1.0.dist-info"))
    with pytest.raises(RequirementsConflict) as refused:
        install_requirements(ours, [old, good], python)
    assert list(refused.value.sources) == ["old-pack"]


def test_no_pack_replaces_the_torch_that_is_there(
    ours: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a developer's own environment, which no constraints bind."""
    monkeypatch.delenv("UV_CONSTRAINT", raising=False)
    add(ours, tmp_path, "new-pack", {"requirements.txt": "torch>=2.11\n"})
    packs = NodePacks.load(ours.nodes_toml)
    new = install_pack(ours, packs.named("new-pack"), tmp_path / "nodes", force=False)
    python = make_environment(tmp_path / "venv")
    [packages] = (tmp_path / "venv").rglob("site-packages")
    metadata = "Metadata-Version: 2.1\nName: torch\nVersion: 2.10.0+cu128\n"
    write(packages / "torch-2.10.0+cu128.dist-info" / "METADATA", metadata)
    with pytest.raises(RequirementsConflict) as refused:
        install_requirements(ours, [new], python)
    assert list(refused.value.sources) == ["new-pack"]


def make_environment(folder: Path) -> Path:
    """A virtual environment with no packages."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def test_the_pinned_packages_of_this_repository_are_up_to_date() -> None:
    assert outdated(Layout(ROOT)) == []
    assert "://" not in Layout(ROOT).lock.read_text(encoding="utf-8")
