"""`comfypod comfyui update` and `install`: the pin moves, and the pinned version is put beside what a developer has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from comfypod.cli.commands.comfyui import app
from comfypod.cli.doctor import comfyui as doctor
from comfypod.cli.doctor.finding import Patient
from comfypod.comfyui.checkout import COMMIT_FILE, installed_commit
from comfypod.comfyui.pin import ComfyUIPin
from comfypod.errors import ConfigurationError, SourceFetchFailed
from comfypod.image import comfyui_checkout
from comfypod.image.comfyui_checkout import WORK_FOLDER, install_checkout
from comfypod.image.comfyui_packages import RECORD_FILE, PackagePlan, install_packages
from comfypod.image.comfyui_releases import Release, find_release, newest_release

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false"]
FILES = {
    "main.py": "print('1')\n",
    "requirements.txt": "leaf\n",
    "comfy/old/thing.py": "x = 1\n",
    "comfy/kept.py": "x = 1\n",
    "models/vae/put_vae_here": "",
    "models/configs/base.yaml": "a: 1\n",
    "custom_nodes/websocket_image_save.py": "x = 1\n",
}

Run = Callable[..., Result]


class Upstream:
    """A repository with releases, as ComfyUI's is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch", "master")

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def commit(self, version: str, files: dict[str, str | None], tag: str | None = None) -> str:
        """Write files (None: remove it), and commit them as a version; returns the commit."""
        for name, text in {**files, "comfyui_version.py": f'__version__ = "{version}"\n'}.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink() if text is None else path.write_text(text)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", version)
        if tag:
            self._git("tag", "--annotate", "--message", version, tag)
        return self._git("rev-parse", "HEAD")

    def branch(self, name: str) -> None:
        self._git("checkout", "--quiet", "-b", name)

    def _git(self, *arguments: str) -> str:
        done = subprocess.run([*GIT, "-C", str(self.folder), *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def root(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of comfypod's with the first version pinned; the current folder."""
    folder = tmp_path / "repository"
    (folder / "ComfyUI").mkdir(parents=True)
    commit = upstream.commit("0.9.0", FILES, "v0.9.0")
    (folder / "ComfyUI" / "comfyui.toml").write_text(
        f'# The pin.\nrepository = "{upstream.url}"\nversion = "0.9.0"\ncommit = "{commit}"\nflags = ["--x"]\n'
    )
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run() -> Run:
    """Run ``comfypod comfyui …``; what it raises is raised here."""

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return invoke


def pinned(root: Path) -> tuple[str, str]:
    pin = ComfyUIPin.load(root / "ComfyUI" / "comfyui.toml")
    return pin.version, pin.commit


def tree(folder: Path) -> dict[str, str]:
    """Every file's text by its path, but for what is the machinery's own."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if not name.startswith(".")}


# The pin


def test_the_newest_release_is_the_one_with_the_highest_number(upstream: Upstream) -> None:
    upstream.commit("0.9.0", FILES, "v0.9.0")
    newest = upstream.commit("0.10.0", {}, "v0.10.0")
    upstream.commit("0.10.1", {}, "v0.10.1-rc1")
    upstream.commit("0.11.0", {}, "nightly")
    assert newest_release(upstream.url) == Release("0.10.0", newest)


def test_a_version_a_branch_or_a_commit_can_be_named(upstream: Upstream) -> None:
    release = upstream.commit("0.9.0", FILES, "v0.9.0")
    upstream.branch("work")
    work = upstream.commit("0.10.0", {})
    for wanted, found in (
        ("0.9.0", Release("0.9.0", release)),
        ("v0.9.0", Release("0.9.0", release)),
        ("work", Release("0.10.0", work)),
        (work, Release("0.10.0", work)),
    ):
        assert find_release(upstream.url, wanted) == found
    for wanted, part in (("0.9.9", "no branch or tag 'v0.9.9'"), (work[:10], "all of its 40 digits"), ("x", "'x'")):
        with pytest.raises(SourceFetchFailed, match=part):
            find_release(upstream.url, wanted)


def test_what_is_no_comfyui_is_refused(tmp_path: Path) -> None:
    other = Upstream(tmp_path / "other")
    other.commit("?", {"README": "no ComfyUI"})
    with pytest.raises(SourceFetchFailed, match="is no ComfyUI"):
        find_release(other.url, "master")
    with pytest.raises(SourceFetchFailed, match="it has no release"):
        newest_release(other.url)


def test_update_moves_the_pin_and_says_what_must_follow(root: Path, upstream: Upstream, run: Run) -> None:
    before = pinned(root)
    assert (run("update").exit_code, pinned(root)) == (0, before)
    commit = upstream.commit("0.10.0", {}, "v0.10.0")
    checked = run("update", "--check")
    assert (checked.exit_code, pinned(root)) == (100, before)
    done = run("update")
    assert (done.exit_code, pinned(root)) == (0, ("0.10.0", commit))
    assert done.stdout == f"ComfyUI 0.9.0 ({before[1][:10]}) → 0.10.0 ({commit[:10]})\n" == checked.stdout
    assert "comfypod nodes lock" in done.stderr
    assert (root / "ComfyUI" / "comfyui.toml").read_text().startswith("# The pin.\n")
    assert run("update", "--check").exit_code == 0
    run("update", "0.9.0")
    assert pinned(root) == before


def test_update_takes_a_mirror_without_writing_it_down(root: Path, upstream: Upstream, run: Run) -> None:
    path = root / "ComfyUI" / "comfyui.toml"
    path.write_text(path.read_text().replace(upstream.url, "file:///nowhere"))
    commit = upstream.commit("0.10.0", {}, "v0.10.0")
    with pytest.raises(SourceFetchFailed, match="nowhere"):
        run("update")
    run("update", "--repository", upstream.url)
    assert pinned(root) == ("0.10.0", commit)
    assert "file:///nowhere" in path.read_text()


# The files


def test_install_puts_the_pinned_version_beside_the_pin_once(root: Path, run: Run) -> None:
    done = run("install", "--no-packages")
    assert "is now in ComfyUI/" in done.stdout
    assert "comfypod nodes install --directory ComfyUI/custom_nodes" in done.stderr
    pin = (root / "ComfyUI" / "comfyui.toml").read_text()
    version = '__version__ = "0.9.0"\n'
    assert tree(root / "ComfyUI") == {**FILES, "comfyui_version.py": version, "comfyui.toml": pin}
    assert not (root / "ComfyUI" / ".git").exists()
    assert not (root / "ComfyUI" / WORK_FOLDER).exists()
    # Nothing is asked for again: the repository could be gone.
    assert "was already" in run("install", "--no-packages", "--repository", "file:///nowhere").stdout


def test_an_update_replaces_what_was_installed_and_leaves_the_rest(root: Path, upstream: Upstream, run: Run) -> None:
    own = {
        "extra_model_paths.yaml": "mine: {}\n",
        "models/vae/mine.safetensors": "weights",
        "models/configs/base.yaml": "mine: 1\n",
        "custom_nodes/pack/__init__.py": "x = 1\n",
        "output/picture.png": "png",
        "user/default/workflow.json": "{}",
        ".venv/bin/python": "",
    }
    for name, text in own.items():
        path = root / "ComfyUI" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run("install", "--no-packages")
    compiled = root / "ComfyUI" / "comfy" / "old" / "__pycache__" / "thing.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    upstream.commit(
        "0.10.0",
        {
            "comfy/old/thing.py": None,
            "models/vae/put_vae_here": None,
            "custom_nodes/websocket_image_save.py": "x = 2\n",
            "comfyui.toml": "hostile = 1\n",
            "models/configs/base.yaml": "a: 2\n",
        },
        "v0.10.0",
    )
    run("update")
    pin = (root / "ComfyUI" / "comfyui.toml").read_text()
    run("install", "--no-packages")
    found = tree(root / "ComfyUI")
    for name, text in own.items():
        assert (root / "ComfyUI" / name).read_text() == text, name
    assert found["comfyui.toml"] == pin
    assert found["custom_nodes/websocket_image_save.py"] == "x = 2\n"
    assert found["comfyui_version.py"] == '__version__ = "0.10.0"\n'
    assert "models/vae/put_vae_here" not in found
    assert not (root / "ComfyUI" / "comfy" / "old").exists()


def test_an_interrupted_installation_is_gone_on_with(root: Path, upstream: Upstream, run: Run) -> None:
    run("install", "--no-packages")
    commit = upstream.commit("0.10.0", {"comfy/old/thing.py": None, "comfy/new.py": "x = 3\n"}, "v0.10.0")
    run("update")
    blocked = root / "ComfyUI" / "main.py"
    blocked.unlink()
    blocked.mkdir()  # what cannot be replaced
    with pytest.raises(SourceFetchFailed, match=r"main\.py cannot be written"):
        run("install", "--no-packages")
    assert installed_commit(root / "ComfyUI") is None
    assert doctor._checkout(root / "ComfyUI").status == "problem"
    blocked.rmdir()
    run("install", "--no-packages", "--repository", "file:///nowhere")  # it was fetched already
    assert installed_commit(root / "ComfyUI") == commit
    assert (root / "ComfyUI" / "comfy" / "new.py").exists()
    assert not (root / "ComfyUI" / "comfy" / "old").exists()
    assert doctor.comfyui(Patient(root, {})).status == "ok"


@pytest.mark.parametrize("sign", [".git", "main.py"])
def test_a_foreign_comfyui_is_left_as_it_is(root: Path, run: Run, sign: str) -> None:
    (root / "ComfyUI" / sign).write_text("mine")
    before = tree(root / "ComfyUI")
    with pytest.raises(ConfigurationError, match="not installed by comfypod"):
        run("install", "--no-packages")
    assert tree(root / "ComfyUI") == before


def test_a_list_of_files_that_leads_out_removes_nothing_there(root: Path, upstream: Upstream, run: Run) -> None:
    run("install", "--no-packages")
    victim = root / "victim"
    victim.touch()
    listed = root / "ComfyUI" / comfyui_checkout.FILES_FILE
    listed.write_text(json.dumps([*json.loads(listed.read_text()), "../victim", str(victim), "comfy/../../victim"]))
    upstream.commit("0.10.0", {}, "v0.10.0")
    run("update")
    run("install", "--no-packages")
    assert victim.exists()


def test_links_are_replaced_and_what_they_lead_to_is_not(root: Path, upstream: Upstream, run: Run) -> None:
    run("install", "--no-packages")
    mine = root / "mine.py"
    mine.write_text("mine")
    (root / "ComfyUI" / "comfy" / "kept.py").unlink()
    (root / "ComfyUI" / "comfy" / "kept.py").symlink_to(mine)
    commit = upstream.commit("0.10.0", {"comfy/kept.py": "x = 2\n"}, "v0.10.0")
    assert install_checkout(upstream.url, commit, root / "ComfyUI")
    assert mine.read_text() == "mine"
    assert (root / "ComfyUI" / "comfy" / "kept.py").read_text() == "x = 2\n"
    assert (root / "ComfyUI" / COMMIT_FILE).read_text() == f"{commit}\n"


def test_a_folder_that_is_a_link_stays_one(root: Path, upstream: Upstream, run: Run) -> None:
    for folder in ("disk", "ComfyUI/models"):
        (root / folder).mkdir()
    (root / "ComfyUI" / "models" / "vae").symlink_to(root / "disk")
    run("install", "--no-packages")
    assert (root / "disk" / "put_vae_here").exists()
    commit = upstream.commit("0.10.0", {"models/vae/put_vae_here": None}, "v0.10.0")
    assert install_checkout(upstream.url, commit, root / "ComfyUI")
    assert (root / "ComfyUI" / "models" / "vae").readlink() == root / "disk"


# The packages


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """The smallest package that pip installs."""
    information = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{information}/METADATA": "\n".join([*lines, *(f"Requires-Dist: {item}" for item in requires), ""]),
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{information}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in {**files, f"{information}/RECORD": record}.items():
            archive.writestr(file, text)


@pytest.fixture
def plan(tmp_path: Path) -> PackagePlan:
    checkout, torch = tmp_path / "ComfyUI", tmp_path / "torch"
    checkout.mkdir()
    torch.mkdir()
    (checkout / "requirements.txt").write_text("torch\nleaf\n")
    (torch / "cu128.in").write_text("# One set.\ntorch==2.10.0\ntorchvision==0.25.0\nxformers==0.0.35\n")
    (torch / "cu128.txt").write_text("torch==2.10.0 --hash=sha256:0\n")
    return PackagePlan(checkout, torch, cuda=False)


def test_cuda_takes_the_images_set_and_the_cpu_the_same_versions(plan: PackagePlan) -> None:
    requirements = [str(plan.checkout / "requirements.txt"), "--constraint", str(plan.torch / "cu128.in")]
    cpu = PackagePlan(plan.checkout, plan.torch, cuda=False, torch_index="https://example.test/cpu")
    assert cpu.steps() == [
        ["--index-url", "https://example.test/cpu", "torch==2.10.0", "torchvision==0.25.0"],
        ["--requirement", *requirements],
    ]
    cuda = PackagePlan(plan.checkout, plan.torch, cuda=True)
    assert cuda.steps()[0] == ["--requirement", str(plan.torch / "cu128.txt")]


def test_packages_are_installed_held_to_the_pins_and_not_twice(
    plan: PackagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    for name, version in (("torch", "2.10.0"), ("torch", "2.15.0"), ("torchvision", "0.25.0")):
        wheel(index, name, version)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    plan.environment.mkdir()
    (plan.environment / RECORD_FILE).write_text("of-cuda of-cuda")
    (plan.environment / "torch-for-cuda").touch()
    with pytest.raises(SourceFetchFailed, match="pip could not install them"):
        install_packages(plan)  # there is no leaf
    assert not (plan.environment / "torch-for-cuda").exists(), "pip would have taken it for what is wanted"
    wheel(index, "leaf", "1.0")
    (plan.environment / "kept").touch()
    assert install_packages(plan)
    assert (plan.environment / "kept").exists(), "it goes on with what it has"
    program = "import leaf, torch, torchvision; print(torch.version)"
    python = plan.environment / "bin" / "python"
    assert subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout == "2.10.0\n"
    shutil.rmtree(index)
    assert not install_packages(plan), "nothing is asked for again"
    (plan.checkout / "requirements.txt").write_text("other\n")
    with pytest.raises(SourceFetchFailed):
        install_packages(plan)


def test_a_developers_own_environment_is_left_as_it_is(plan: PackagePlan) -> None:
    plan.environment.mkdir()
    (plan.environment / "mine").touch()
    with pytest.raises(ConfigurationError, match="not made by comfypod"):
        install_packages(plan)
    assert [path.name for path in plan.environment.iterdir()] == ["mine"]


# Models


def test_paths_are_shown_for_this_machine(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "ComfyUI" / "folder_paths.py").write_text(
        'folder_names_and_paths["vae"] = ([os.path.join(models_dir, "vae")], x)\n'
    )
    file = root / "volume" / "models" / "vae" / "a.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("MODELS_DIRECTORY", str(root / "models"))
    done = run("paths", "--volume", str(root / "volume"))
    # MODELS_DIRECTORY's own folder is not there before something is fetched into it.
    assert [line.split() for line in done.stdout.splitlines()] == [["vae", "1", str(file.parent)]]
    document = json.loads(run("paths", "--volume", str(root / "volume"), "--json").stdout)
    assert [folder["is_own"] for folder in document["folders"]] == [True, False, False]
    (root / "ComfyUI" / "folder_paths.py").unlink()
    with pytest.raises(ConfigurationError, match="comfypod comfyui install"):
        run("paths")


def test_the_command_needs_nothing_that_a_client_lacks() -> None:
    program = "import sys, comfypod.cli.comfyui; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert not set(done.stdout.split()) & {"aiohttp", "runpod", "numpy", "obstore", "websockets"}
