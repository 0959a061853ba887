"""`find_model_paths`: models lie on volumes in many layouts; ComfyUI is told of each folder once, by its word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from comfypod.comfyui.model_paths import ModelPaths, find_model_paths, folder_kinds, within_seconds
from comfypod.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def assignment(kind: str, *folders: str, base: str = "models_dir") -> str:
    """As ComfyUI 0.3.64, 0.8.2 and 0.33.0 write it (folder_paths.py)."""
    joined = ", ".join(f'os.path.join({base}, "{folder}")' for folder in folders)
    return f'folder_names_and_paths["{kind}"] = ([{joined}], supported_pt_extensions)'


FOLDER_PATHS = f"""
import os
from comfy.cli_args import args
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {{}}
base_path = os.path.dirname(os.path.realpath(__file__))
models_dir = os.path.join(base_path, "models")
{assignment("checkpoints", "checkpoints")}
{assignment("text_encoders", "text_encoders", "clip")}
{assignment("diffusion_models", "unet", "diffusion_models")}
{assignment("controlnet", "controlnet", "t2i_adapter")}
{assignment("vae", "vae")}
{assignment("custom_nodes", "custom_nodes", base="base_path")}
folder_names_and_paths["classifiers"] = ([os.path.join(models_dir, "classifiers")], {{""}})
output_directory = os.path.join(base_path, "output")
def add_model_folder_path(folder_name, path):
    folder_names_and_paths[folder_name] = ([path], set())
"""
KINDS = ["checkpoints", "text_encoders", "diffusion_models", "controlnet", "vae", "classifiers"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "folder_paths.py").write_text(FOLDER_PATHS)
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def put(path: Path) -> Path:
    """A model file; returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path.parent


def told(paths: ModelPaths, file: Path) -> dict[str, list[str]]:
    """What ComfyUI reads in the file (ComfyUI 0.33.0, utils/extra_config.py)."""
    paths.write(file)
    sections = json.loads(file.read_text(encoding="utf-8"))
    return {kind: value.split("\n") for section in sections.values() for kind, value in section.items()}


def test_the_kinds_are_those_of_the_checkout_and_code_is_none(checkout: Path) -> None:
    kinds = folder_kinds(checkout)
    assert list(kinds) == KINDS
    assert kinds["text_encoders"] == ("text_encoders", "clip")
    assert kinds["diffusion_models"] == ("unet", "diffusion_models")


@pytest.mark.parametrize("text", [None, "folder_names_and_paths = Folders()", "def broken(:"])
def test_a_list_that_cannot_be_read_is_told(checkout: Path, text: str | None) -> None:
    path = checkout / "folder_paths.py"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"folder_paths\.py"):
        find_model_paths(checkout, volumes=())


def test_every_layout_of_a_volume_is_found_in_comfyuis_order(checkout: Path, volume: Path, tmp_path: Path) -> None:
    first = put(volume / "models" / "checkpoints" / "sdxl" / "a.safetensors").parent
    second = put(volume / "ComfyUI" / "models" / "checkpoints" / "b.safetensors")
    third = put(volume / "checkpoints" / "c.safetensors")
    encoders = [put(volume / "models" / name / "t5.safetensors") for name in ("text_encoders", "clip")]
    paths = find_model_paths(checkout, [volume])
    assert told(paths, tmp_path / "paths.yaml") == {
        "checkpoints": [str(first), str(second), str(third)],
        "text_encoders": [str(folder) for folder in encoders],
    }
    assert list(paths.by_kind["checkpoints"]) == [checkout / "models" / "checkpoints", first, second, third]
    assert list(paths.by_kind["vae"]) == [checkout / "models" / "vae"]


def test_kinds_of_custom_nodes_count_by_their_folders_name(checkout: Path, volume: Path, tmp_path: Path) -> None:
    adapters = put(volume / "models" / "ipadapter" / "a.bin")
    boxes = put(volume / "models" / "ultralytics" / "bbox" / "face.pt")
    put(volume / "projects" / "mine.txt")
    found = told(find_model_paths(checkout, [volume]), tmp_path / "paths.yaml")
    assert found == {
        "ipadapter": [str(adapters)],
        "ultralytics": [str(boxes.parent)],
        "ultralytics_bbox": [str(boxes)],
    }


def test_code_on_a_volume_and_names_that_mean_something_else_are_left_out(checkout: Path, volume: Path) -> None:
    for name in ("custom_nodes", "base_path", "is_default", ".cache", "lost+found", "two\nlines", "\x85", "\udcff"):
        put(volume / "models" / name / "x.py")
    put(volume / "custom_nodes" / "pack" / "__init__.py")
    put(volume / "ComfyUI" / "custom_nodes" / "pack" / "__init__.py")
    (volume / "models" / "a.safetensors").touch()
    paths = find_model_paths(checkout, [volume])
    assert all(folder.is_own for folder in paths.folders)
    assert sum("is left out" in note for note in paths.notes) == 3


def test_names_in_any_script_reach_comfyui_as_they_are(checkout: Path, volume: Path, tmp_path: Path) -> None:
    folder = put(volume / "models" / "модели 😀" / "a.safetensors")
    paths = find_model_paths(checkout, [volume])
    assert told(paths, tmp_path / "paths.yaml") == {folder.name: [str(folder)]}
    assert folder.name in (tmp_path / "paths.yaml").read_text(encoding="utf-8"), "YAML has no surrogates"


def test_a_folder_with_two_paths_is_told_once(checkout: Path, volume: Path, tmp_path: Path) -> None:
    put(volume / "models" / "vae" / "a.safetensors")
    (volume / "vae").symlink_to(volume / "models" / "vae")
    (tmp_path / "workspace").symlink_to(volume)
    (volume / "models" / "checkpoints").symlink_to(checkout / "models" / "checkpoints")
    put(checkout / "models" / "checkpoints" / "mine.safetensors")
    paths = find_model_paths(checkout, [volume, tmp_path / "workspace"], directories=[volume / "models"])
    found = told(paths, tmp_path / "paths.yaml")
    assert found["vae"] == [str(volume / "models" / "vae")]
    assert "checkpoints" not in found
    assert paths.notes == ()


def test_a_directory_for_downloads_counts_before_its_folders_are_there(
    checkout: Path, volume: Path, tmp_path: Path
) -> None:
    paths = find_model_paths(checkout, [volume], directories=[volume / "models"])
    assert told(paths, tmp_path / "paths.yaml")["vae"] == [str(volume / "models" / "vae")]
    assert not (volume / "models").exists()
    assert paths.table() == list(paths.notes)
    put(volume / "models" / "vae" / "a.safetensors")
    assert paths.table()[0].split()[:2] == ["vae", "1"]


class Silent(type(Path())):  # type: ignore[misc]
    """A path on a volume whose server is gone: who asks for it waits."""

    gone = threading.Event()

    def stat(self, **_: object) -> os.stat_result:  # type: ignore[override]
        self.gone.wait()
        raise OSError


def test_neither_a_volume_nor_a_directory_that_does_not_answer_is_waited_for(
    checkout: Path, volume: Path, tmp_path: Path
) -> None:
    put(volume / "models" / "vae" / "a.safetensors")
    silent = [Silent(tmp_path / name) for name in ("one", "two")]
    try:
        paths = find_model_paths(checkout, [silent[0], volume], directories=[silent[1]], volume_seconds=0.2)
    finally:
        Silent.gone.set()
    assert list(told(paths, tmp_path / "paths.yaml")) == ["vae"]
    assert [note.partition(":")[0] for note in paths.notes] == [str(silent[1]), str(silent[0])]
    assert all("did not answer within 0.2 s; its models are left out" in note for note in paths.notes)


def test_further_folders_come_last_and_old_names_of_kinds_are_understood(
    checkout: Path, volume: Path, tmp_path: Path
) -> None:
    mine = put(volume / "models" / "unet" / "flux.safetensors")
    cached = tmp_path / "cached" / "unet"
    paths = find_model_paths(checkout, [volume], [("unet", cached)])
    assert list(paths.by_kind["diffusion_models"])[-2:] == [mine, cached]


def test_the_table_shows_what_was_found_and_what_is_empty(checkout: Path, volume: Path) -> None:
    put(checkout / "models" / "checkpoints" / "put_checkpoints_here")
    put(checkout / "models" / "vae" / "own.safetensors")
    folder = put(volume / "models" / "ipadapter" / "a.bin")
    put(folder / "sub" / "b.bin")
    (volume / "models" / "controlnet").mkdir()
    rows = [line.split(maxsplit=2) for line in find_model_paths(checkout, [volume]).table()]
    assert [row[:2] for row in rows] == [["controlnet", "0"], ["ipadapter", "2"], ["vae", "1"]]
    assert rows[1][2] == f"{folder} (no kind of ComfyUI's own: for custom nodes)"


def test_the_table_counts_no_further_than_it_must(checkout: Path, volume: Path) -> None:
    folder = put(volume / "models" / "vae" / "a.safetensors")
    (folder / "round").symlink_to(folder)
    for number in range(1000):
        (folder / f"{number}.safetensors").touch()
    (row,) = find_model_paths(checkout, [volume]).table()
    assert row.split()[1] == "1000+"


def test_a_volume_without_models_is_told_and_one_that_is_not_there_is_not(checkout: Path, volume: Path) -> None:
    assert find_model_paths(checkout, [volume / "nothing"]).table() == []
    (note,) = find_model_paths(checkout, [volume]).table()
    assert note.startswith(f"{volume} has no folder of models")


def test_a_volume_that_cannot_be_read_is_told(checkout: Path, volume: Path) -> None:
    put(volume / "vae" / "a.safetensors")
    (volume / "models").symlink_to(volume / "models")
    paths = find_model_paths(checkout, [volume])
    assert paths.notes == (f"{volume}: Too many levels of symbolic links; its models are left out.",)
    assert paths.table() == list(paths.notes)


def test_what_does_not_answer_is_not_waited_for() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        within_seconds(0.05, threading.Event().wait)
    assert time.monotonic() - started < 5
    with pytest.raises(PermissionError):
        within_seconds(60, lambda: (_ for _ in ()).throw(PermissionError()))
    assert within_seconds(60, lambda: 7) == 7


def test_it_needs_nothing_that_is_slow_to_import(checkout: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from comfypod.comfyui.model_paths import find_model_paths\n"
        "from comfypod.comfyui.pin import ComfyUIPin\n"
        "import comfypod.storage.models.hub_cache\n"
        f"find_model_paths(Path({str(checkout)!r}))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=60)
    loaded = set(done.stdout.split())
    assert not loaded & {"pydantic", "yaml", "asyncio", "aiohttp", "shutil", "subprocess", "tempfile"}
