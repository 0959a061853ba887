"""Which model files and input files the engine offers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from comfypod.emulator.engine.files import Folders, is_file, join_inside, split_annotation
from comfypod.emulator.engine.model_folders import ModelFolder, added_folder, current_kind, model_folders


class FileCatalog:
    """Models named in a ``models.toml`` and those that lie in the models' folders; inputs that lie in the input folder.

    Everything is looked up anew at each question, so that a file is offered as soon as it lies there. The engine needs
    no model file, only its name: a declared model is offered whether it was downloaded or not, unless
    ``only_present_models`` is set.
    """

    def __init__(self, folders: Folders, models_file: Path | None, *, only_present_models: bool = False) -> None:
        """Read ``models_file`` (an array of tables ``[[model]]`` with ``name`` and ``folder``).

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not TOML, or a model's folder leads out of the models' folder.
            TypeError: a model has no name or folder.
        """
        self._folders = folders
        self._only_present_models = only_present_models
        self._declared = [] if models_file is None else _declared_models(models_file)
        self._kinds = model_folders(folders.base, folders.output)
        for _, kind in self._declared:
            self._kinds.setdefault(kind, added_folder(folders.base, kind))

    def prepare(self) -> None:
        """Make the models' folders that lie below the base directory.

        Raises:
            OSError: one cannot be made.
        """
        for folder in self._kinds.values():
            for path in folder.paths:
                if path.is_relative_to(self._folders.base):
                    path.mkdir(parents=True, exist_ok=True)

    def models(self, folder: str) -> Sequence[str]:
        """Return the sorted names of the models of a folder, with their path below it."""
        kind = current_kind(folder)
        declared = () if self._only_present_models else (name for name, its_kind in self._declared if its_kind == kind)
        present = self._kinds[kind].names() if kind in self._kinds else ()
        return sorted({*declared, *present})

    def model_folders(self) -> Mapping[str, ModelFolder]:
        """Return the known kinds of models: ComfyUI's, and those that only the declared models have."""
        return self._kinds

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
    if join_inside(Path("/models"), folder) in {None, Path("/models")}:
        raise ValueError(f"{models_file}: the folder {folder!r} of {name!r} must be a name below models/.")
    return name, current_kind(folder)
