"""Which model files and input files the engine offers."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from comfypod.emulator.engine.files import Folders, is_file, join_inside, split_annotation

# The folders of ComfyUI 0.8.0, in the order of its /models.
MODEL_FOLDERS = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "custom_nodes",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
)
MODEL_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft", ".gguf"})


class FileCatalog:
    """Models named in a ``models.toml`` and those that lie under ``models/``; inputs that lie in the input folder.

    The engine needs no model file, only its name: a declared model is offered whether it was downloaded or not.
    """

    def __init__(self, folders: Folders, models_folder: Path, models_file: Path | None) -> None:
        """Read ``models_file`` (an array of tables ``[[model]]`` with ``name`` and ``folder``).

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not TOML.
            TypeError: a model has no name or folder.
        """
        self._folders = folders
        self._models_folder = models_folder
        self._declared = [] if models_file is None else _declared_models(models_file)

    def models(self, folder: str) -> Sequence[str]:
        """Return the sorted names of the models of a folder, with their path below it."""
        declared = {name for name, declared_folder in self._declared if declared_folder == folder}
        root = self._models_folder / folder
        found = (path for path in root.rglob("*") if path.suffix.lower() in MODEL_SUFFIXES and path.is_file())
        return sorted(declared | {path.relative_to(root).as_posix() for path in found})

    def model_folders(self) -> Sequence[str]:
        """Return the known folders: ComfyUI's, and those that only the declared models have."""
        return list(dict.fromkeys([*MODEL_FOLDERS, *(folder for _, folder in self._declared)]))

    def input_files(self) -> Sequence[str]:
        """Return the sorted names of the files directly in the input folder."""
        if not self._folders.input.is_dir():
            return []
        return sorted(path.name for path in self._folders.input.iterdir() if path.is_file())

    def resolve_input(self, name: str) -> Path | None:
        """Return the file called ``x.png``, ``sub/x.png`` or ``x.png [output]``; None outside the folder."""
        plain_name, folder_type = split_annotation(name)
        root = self._folders.of_type(folder_type or "input")
        path = None if root is None else join_inside(root, plain_name)
        return path if path is not None and is_file(path) else None


def _declared_models(models_file: Path) -> list[tuple[str, str]]:
    with models_file.open("rb") as file:
        document = tomllib.load(file)
    models = document.get("model", [])
    if not isinstance(models, list):
        raise TypeError(f"{models_file}: 'model' must be an array of tables ([[model]]).")
    return [_declared_model(model, models_file) for model in models]


def _declared_model(model: object, models_file: Path) -> tuple[str, str]:
    name, folder = (model.get("name"), model.get("folder")) if isinstance(model, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(folder, str):
        raise TypeError(f"{models_file}: every [[model]] needs a 'name' and a 'folder', both text.")
    return name, folder
