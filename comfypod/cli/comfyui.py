"""``comfypod comfyui …``: the pinned version, putting it here, and where models are found."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.printing import write_error
from comfypod.cli.reports import print_json, print_text
from comfypod.comfyui.model_paths import VOLUME_SECONDS, ModelPaths, find_model_paths, within_seconds
from comfypod.comfyui.pin import PIN_FILE, ComfyUIPin
from comfypod.image.comfyui_checkout import install_checkout
from comfypod.image.comfyui_packages import PackagePlan, install_packages
from comfypod.image.comfyui_releases import Release, find_release, newest_release, version_number
from comfypod.storage.models.hub_cache import CachedModels, find_cached_models

CHECKOUT = Path("ComfyUI")
NEWER_EXISTS = 100
"""Exit code of ``update --check``, as that of ``dnf check-update``: no other outcome has it."""


def update_pin(wanted: str | None, repository: str | None, *, only_check: bool) -> int:
    """Move the pin to a version, or to the newest release; with ``only_check`` say whether there is a newer one.

    Raises:
        ConfigurationError: ``comfyui.toml`` is not valid, or cannot be changed.
        SourceFetchFailed: the repository cannot be reached, or has no such version.
    """
    path = CHECKOUT / PIN_FILE
    pin = ComfyUIPin.load(path)
    source = repository or pin.repository
    if wanted is None:
        release = newest_release(source)
        if version_number(release.version) <= version_number(pin.version):
            print_text(f"ComfyUI {_shown(pin)} is the newest release.")
            return ExitCode.SUCCESS
    else:
        release = find_release(source, wanted)
    if (release.version, release.commit) == (pin.version, pin.commit):
        print_text(f"ComfyUI {_shown(pin)} is pinned already.")
        return ExitCode.SUCCESS
    print_text(f"ComfyUI {_shown(pin)} → {_shown(release)}")
    if only_check:
        return NEWER_EXISTS
    pin.moved(path, release.version, release.commit)
    write_error("What must follow: comfypod nodes lock (its requirements are others), and comfypod comfyui install.")
    return ExitCode.SUCCESS


def _shown(item: ComfyUIPin | Release) -> str:
    return f"{item.version} ({item.commit[:10]})"


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """How the pinned version is installed; ``cuda`` is None where the machine is to decide."""

    repository: str | None = None
    cuda: bool | None = None
    torch_index: str | None = None
    packages: bool = True


def install(options: InstallOptions) -> int:
    """Put the pinned version into ``ComfyUI/``, and its packages into ``ComfyUI/.venv``.

    Raises:
        ConfigurationError: ``comfyui.toml`` is not valid, or a developer's own ComfyUI or environment lies there.
        SourceFetchFailed: the repository cannot be reached, pip failed, or the disk does not take it.
    """
    pin = ComfyUIPin.load(CHECKOUT / PIN_FILE)
    is_new = install_checkout(options.repository or pin.repository, pin.commit, CHECKOUT)
    print_text(f"ComfyUI {_shown(pin)} {'is now' if is_new else 'was already'} in {CHECKOUT}/.")
    if options.packages:
        cuda = shutil.which("nvidia-smi") is not None if options.cuda is None else options.cuda
        plan = PackagePlan(CHECKOUT, Path("image/torch"), cuda, options.torch_index)
        is_new = install_packages(plan)
        kind = "CUDA" if cuda else "the CPU"
        print_text(f"Its packages, for {kind}, {'are now' if is_new else 'were already'} in {plan.environment}/.")
    write_error("Node packs are not part of it: comfypod nodes install --directory ComfyUI/custom_nodes")
    return ExitCode.SUCCESS


def show_paths(volumes: Sequence[Path], models_directory: str | None, *, as_json: bool) -> int:
    """Print where a worker on this machine would have ComfyUI look for models; nothing is written.

    Raises:
        ConfigurationError: there is no ComfyUI, or ``models.toml`` is not valid.
    """
    directories = [Path(models_directory)] if models_directory else []
    paths = find_model_paths(CHECKOUT, volumes, directories=directories)
    try:
        cached = within_seconds(VOLUME_SECONDS, lambda: find_cached_models(Path("models.toml")))
    except OSError as error:
        cached = CachedModels(notes=(f"The platform's cached models: {error.strerror or error}.",))
    if as_json:
        print_json(_to_json(paths, cached))
        return ExitCode.SUCCESS
    lines = [*paths.table(), *(f"{item.folder}/{item.name} is cached: {item.path}" for item in cached.models)]
    for line in (*lines, *cached.notes):
        print_text(line)
    return ExitCode.SUCCESS


def _to_json(paths: ModelPaths, cached: CachedModels) -> dict[str, object]:
    folders = [
        {"kind": item.kind, "path": str(item.path), "is_own": item.is_own, "is_known": item.is_known}
        for item in paths.folders
    ]
    models = [
        {"kind": item.folder, "name": item.name, "path": str(item.path), "repository": item.repository}
        for item in cached.models
    ]
    return {"folders": folders, "cached": models, "notes": [*paths.notes, *cached.notes]}
