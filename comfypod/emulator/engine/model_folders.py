"""Where model files lie and how their names end: the table of ``folder_paths.py`` and ``main.py`` of ComfyUI 0.8.2."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_WEIGHTS = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})

# In the order of /models. Folders that are not named like their kind, below ``models``.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "checkpoints": (),
    "configs": (),
    "loras": (),
    "vae": (),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("unet", "diffusion_models"),
    "clip_vision": (),
    "style_models": (),
    "embeddings": (),
    "diffusers": (),
    "vae_approx": (),
    "controlnet": ("controlnet", "t2i_adapter"),
    "gligen": (),
    "upscale_models": (),
    "latent_upscale_models": (),
    "custom_nodes": (),
    "hypernetworks": (),
    "photomaker": (),
    "classifiers": (),
    "model_patches": (),
    "audio_encoders": (),
}
# Kinds whose names end in another way; an empty set lets every file through. "folder" is no ending of a file.
_SUFFIXES: Mapping[str, frozenset[str]] = {
    "configs": frozenset({".yaml"}),
    "diffusers": frozenset({"folder"}),
    "custom_nodes": frozenset(),
    "classifiers": frozenset({""}),
}
# Kinds that saving nodes write, below the output folder.
_SAVED: Mapping[str, str] = {
    "checkpoints": "checkpoints",
    "text_encoders": "clip",
    "vae": "vae",
    "diffusion_models": "diffusion_models",
    "loras": "loras",
}
_LEGACY_KINDS: Mapping[str, str] = {"unet": "diffusion_models", "clip": "text_encoders"}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One kind of model: the folders that are searched for it, and the suffixes that count; if there are none, all."""

    paths: tuple[Path, ...]
    suffixes: frozenset[str]

    def names(self) -> Iterator[str]:
        """Yield the path of every model file below its folder, with slashes, as the loaders' lists show it."""
        for root in self.paths:
            for folder, subfolders, names in os.walk(root, followlinks=True):
                subfolders[:] = [name for name in subfolders if name != ".git"]
                files = (Path(folder, name) for name in names if self._counts(name))
                yield from (path.relative_to(root).as_posix() for path in files if path.is_file())

    def _counts(self, name: str) -> bool:
        return not self.suffixes or os.path.splitext(name)[1].lower() in self.suffixes  # noqa: PTH122 - no path yet


def current_kind(kind: str) -> str:
    """Return the present name of a kind of model, which may be given by its former one."""
    return _LEGACY_KINDS.get(kind, kind)


def model_folders(base: Path, output: Path) -> dict[str, ModelFolder]:
    """Return every kind of model that ComfyUI knows without extensions, in its order."""
    return {kind: ModelFolder(_paths(kind, base, output), _SUFFIXES.get(kind, _WEIGHTS)) for kind in _KINDS}


def added_folder(base: Path, kind: str) -> ModelFolder:
    """Return what an extension's own kind of model gets: a folder of its name, in which every file counts."""
    return ModelFolder((base / "models" / kind,), frozenset())


def _paths(kind: str, base: Path, output: Path) -> tuple[Path, ...]:
    if kind == "custom_nodes":
        return (base / kind,)
    own = [base / "models" / name for name in _KINDS[kind] or (kind,)]
    return (*own, output / _SAVED[kind]) if kind in _SAVED else tuple(own)
