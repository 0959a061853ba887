"""A new entry for ``models.toml``: from what a person has (an address, a name) to everything pinned."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError
from comfypod.storage.models.manifest import ModelEntry
from comfypod.storage.models.sources import CivitaiFile, ModelSources

# Folders of ComfyUI (folder_paths.py), and the older names that repositories still use for two of them.
_FOLDERS = {
    **{
        folder: folder
        for folder in (
            *("audio_encoders", "checkpoints", "clip_vision", "controlnet", "diffusion_models", "embeddings", "gligen"),
            *("hypernetworks", "loras", "model_patches", "photomaker", "style_models", "text_encoders"),
            *("upscale_models", "vae", "vae_approx"),
        )
    },
    "clip": "text_encoders",
    "unet": "diffusion_models",
}
# Civitai's "ModelType" (https://developer.civitai.com/docs/api/public-rest).
_CIVITAI_FOLDERS = {
    "Checkpoint": "checkpoints",
    "Controlnet": "controlnet",
    "DoRA": "loras",
    "Hypernetwork": "hypernetworks",
    "LORA": "loras",
    "LoCon": "loras",
    "TextualInversion": "embeddings",
    "Upscaler": "upscale_models",
    "VAE": "vae",
}
_HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com"})

_FORMS = (
    "write OWNER/REPOSITORY/FILE or hf://OWNER/REPOSITORY@REVISION/FILE for Hugging Face, "
    "civitai:VERSION for Civitai, or an http or https address"
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person said besides the source; None: as the source suggests."""

    name: str | None = None
    folder: str | None = None
    token_env: str | None = None
    more: Mapping[str, Any] | None = None
    """Further fields as they are: ``when``, ``pinned``, ``allow_pickle``, ``license``."""


def parse_source(text: str) -> dict[str, Any]:
    """The fields of an entry that say where it comes from.

    Raises:
        ConfigurationError: it is none of the forms.
    """
    if match := re.fullmatch(r"civitai:(\d+)", text):
        return {"civitai": int(match[1])}
    if text.startswith("hf://"):
        return _repository(unquote(text.removeprefix("hf://")), text)
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
        return _repository(text, text)
    parts = urlsplit(text)
    if parts.hostname in _HUB_HOSTS:
        return _hub_page(unquote(parts.path), text)
    if parts.hostname in _CIVITAI_HOSTS:
        return {"civitai": _civitai_version(parts.path, parse_qs(parts.query), text)}
    if parts.scheme not in {"http", "https"}:
        raise ConfigurationError([f"{text!r} is no source of a model: {_FORMS}."])
    return {"url": text}


def _repository(path: str, text: str) -> dict[str, Any]:
    match = re.fullmatch(r"([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", path)
    if match is None:
        raise ConfigurationError([f"{text!r} is no source of a model: {_FORMS}."])
    return {"repository": match[1], "file": match[3], **({"revision": match[2]} if match[2] else {})}


def _hub_page(path: str, text: str) -> dict[str, Any]:
    match = re.fullmatch(r"/([^/]+/[^/]+)/(?:resolve|blob|raw)/([^/]+)/(.+)", path)
    if match is None:
        raise ConfigurationError([f"{text!r} is not the page of a file on Hugging Face; open the file and copy that."])
    return {"repository": match[1], "revision": match[2], "file": match[3]}


def _civitai_version(path: str, query: Mapping[str, list[str]], text: str) -> int:
    match = re.fullmatch(r"/api/download/models/(\d+)", path)
    number = match[1] if match else query.get("modelVersionId", [""])[0]
    if not number.isdecimal():
        problem = "does not say which version; choose one on the page, so that the address has modelVersionId"
        raise ConfigurationError([f"{text!r} {problem}."])
    return int(number)


async def describe(text: str, wishes: Wishes, sources: ModelSources, deadline: Deadline) -> ModelEntry:
    """Ask the source for what pins the file (commit, size, SHA-256), and make an entry of it.

    Raises:
        ConfigurationError: the source cannot be understood, or leaves open what has to be said.
        ModelFetchFailed: it does not have such a file.
        ModelSourceUnavailable: it does not answer.
    """
    found = parse_source(text)
    if wishes.token_env is not None:
        found["token_env"] = wishes.token_env
    draft = _entry({"name": "new", "folder": "new", **found})
    if draft.repository is not None:
        suggested = await _from_hub(draft, sources, deadline)
    elif draft.civitai is not None:
        suggested = _from_civitai(await sources.civitai_file(draft, deadline))
    else:
        path = PurePosixPath(unquote(urlsplit(str(draft.url)).path))
        size_bytes = await sources.size_of_url(draft, deadline)
        suggested = {"name": path.name, "folder": _folder_in(path), "size_bytes": size_bytes}
    fields = {**suggested, **found, **(wishes.more or {})}
    fields.update({key: value for key in ("name", "folder") if (value := getattr(wishes, key)) is not None})
    if "repository" in fields:
        fields["revision"] = suggested["revision"]
        fields["file"] = None if fields["file"] == fields["name"] else fields["file"]
    if fields.get("folder") is None:
        raise ConfigurationError(["The source does not say what kind of model it is: name it with --folder."])
    return _entry({key: value for key, value in fields.items() if value is not None})


async def _from_hub(draft: ModelEntry, sources: ModelSources, deadline: Deadline) -> dict[str, Any]:
    file = await sources.hub.look_up(draft, sources.token(draft), deadline)
    path = PurePosixPath(file.file)
    return {
        "name": path.name,
        "folder": _folder_in(path),
        "revision": file.commit,
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
    }


def _from_civitai(file: CivitaiFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "folder": _CIVITAI_FOLDERS.get(file.kind),
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
    }


def _folder_in(path: PurePosixPath) -> str | None:
    """The kind that a part of the path names, as in ``split_files/text_encoders/x.safetensors``."""
    return next((_FOLDERS[part] for part in reversed(path.parts[:-1]) if part in _FOLDERS), None)


def _entry(fields: Mapping[str, Any]) -> ModelEntry:
    try:
        return ModelEntry.model_validate(fields)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or 'The source'}: {item['msg']}."
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigurationError(problems) from error


def to_toml(entry: ModelEntry) -> str:
    """The entry as it stands in ``models.toml``: what differs from the defaults, and always when it is fetched."""
    fields = {**entry.model_dump(exclude_defaults=True), "when": entry.when}
    # JSON's texts, numbers and booleans are TOML's too: no entry holds the one character (DEL) that differs.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["[[model]]", *lines]) + "\n"
