"""The command that starts the worker's ComfyUI: COMFYUI_COMMAND, else the checkout in ``ComfyUI/``, else the engine.

Only the standard library: it is put together before anything else is imported.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod.comfyui.checkout import checkout_python
from comfypod.comfyui.command_line import split_command
from comfypod.comfyui.model_paths import ModelPaths, find_model_paths, within_seconds
from comfypod.comfyui.pin import PIN_FILE, ComfyUIPin
from comfypod.errors import ConfigurationError
from comfypod.logs import event
from comfypod.storage.models.hub_cache import CachedModels, find_cached_models

CACHE_SECONDS = 5.0
"""How long the platform's cache of models may take to answer: it is on a volume."""


@dataclass(frozen=True, slots=True)
class ComfyUICommand:
    """A program and its arguments, without address and port.

    ``takes_flags``: it is the checkout in ``ComfyUI/``, which may be told about its machine; ``model_paths`` are where
    that one looks for models.
    """

    arguments: Sequence[str]
    takes_flags: bool = False
    model_paths: ModelPaths | None = None


def comfyui_command(root: Path, folder: Path, given: str | None, models_directory: str | None) -> ComfyUICommand:
    """The command for the repository at ``root``.

    Args:
        root: the repository.
        folder: an empty one, which goes with the worker.
        given: COMFYUI_COMMAND.
        models_directory: MODELS_DIRECTORY.

    Raises:
        ConfigurationError: COMFYUI_COMMAND, or a file that says how ComfyUI is started, is not valid.
        OSError: ``folder`` cannot be written to.
    """
    if given:
        return ComfyUICommand(split_command(given))
    if (root / "ComfyUI" / "main.py").is_file():
        return _checkout(root, folder, models_directory)
    event(
        "built_in_engine",
        logging.WARNING,
        message="No ComfyUI is configured: the built-in engine runs, which draws shapes and is not a model. "
        "Set COMFYUI_URL or COMFYUI_COMMAND, or place a checkout in ComfyUI/ (comfypod comfyui install).",
    )
    engine = [sys.executable, "-m", "comfypod", "emulate", "comfyui"]
    return ComfyUICommand([*engine, "--base-directory", str(folder), "--models", str(root / "models.toml")])


def _checkout(root: Path, folder: Path, models_directory: str | None) -> ComfyUICommand:
    checkout = root / "ComfyUI"
    pin = checkout / PIN_FILE
    command = [str(checkout_python(checkout) or sys.executable), str(checkout / "main.py")]
    if pin.is_file():  # a checkout that was put in this folder's place brings none
        command += ComfyUIPin.load(pin).flags
    # Of its own: a ComfyUI that shares its checkout with other workers' on this machine. Each empties its temp folder
    # when it starts, and the worker removes from both what jobs have left.
    output = folder / "output"
    output.mkdir(exist_ok=True)  # else ComfyUI makes it with its first file, and the worker does not see that it may
    command += ["--output-directory", str(output), "--temp-directory", str(folder)]
    paths = _model_paths(root, folder, models_directory)
    if paths is not None:
        file = folder / "model_paths.yaml"
        paths.write(file)
        command += ["--extra-model-paths-config", str(file)]
    return ComfyUICommand(command, takes_flags=True, model_paths=paths)


def _model_paths(root: Path, folder: Path, models_directory: str | None) -> ModelPaths | None:
    """Where the checkout is to look for models; None if its own list is not in the form that is known."""
    cached = _cached_models(root / "models.toml")
    for note in cached.notes:
        event("cached_models", logging.WARNING, message=note)
    for model in cached.models:
        event("cached_model", folder=model.folder, file=model.name, repository=model.repository, commit=model.commit)
    extra = cached.link(folder / "cached_models")
    directories = [Path(models_directory)] if models_directory else []
    try:
        return find_model_paths(root / "ComfyUI", extra=extra, directories=directories)
    except ConfigurationError as error:
        event("model_paths_not_found", logging.WARNING, cause=error, effect="only ComfyUI's own folders are used")
        return None


def _cached_models(models_toml: Path) -> CachedModels:
    """The platform's cached models; none where its cache cannot be read in time, so that they are fetched instead."""
    try:
        return within_seconds(CACHE_SECONDS, lambda: find_cached_models(models_toml))
    except (OSError, ConfigurationError) as error:  # what is wrong with models.toml is told by who fetches from it
        return CachedModels(notes=(f"The platform's cached models are not used: {error}.",))
