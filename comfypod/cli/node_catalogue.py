"""Which node classes there are, for commands that look at things: a running ComfyUI's, else the built-in engine's."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.emulator.engine.catalog import FileCatalog
from comfypod.emulator.engine.files import Folders
from comfypod.emulator.engine.information import COMFYUI_VERSION, describe_class
from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.errors import ConfigurationError
from comfypod.schema.wire import as_object
from comfypod.storage.addresses import show_address

ANSWER_SECONDS = 60.0
"""ComfyUI looks through all model folders for ``/object_info``, which takes a while on a network volume."""


@dataclass(frozen=True, slots=True)
class NodeSource:
    """Whose node classes ``catalogue`` holds; ``url`` is None for the built-in engine in this process."""

    catalogue: Catalogue
    url: str | None
    version: str
    is_engine: bool

    @property
    def name(self) -> str:
        """The source in a few words."""
        if self.url is None:
            return "the built-in engine"
        kind = "the built-in engine" if self.is_engine else f"ComfyUI {self.version}"
        return f"{kind} at {show_address(self.url)}"

    @property
    def sentence(self) -> str:
        """What was checked against, and what that is worth."""
        count = f"{len(self.catalogue.object_info):,} classes"
        if self.is_engine:
            return f"checked against {self.name}, which knows {count}; a real ComfyUI knows more (--comfyui URL)"
        return f"checked against {self.name}, which knows {count}"

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        count = len(self.catalogue.object_info)
        return {"name": self.name, "version": self.version, "engine": self.is_engine, "classes": count}


def find_node_source(url: str | None, models_toml: Path) -> NodeSource:
    """The classes of the ComfyUI at ``url``; without one those of the built-in engine.

    Args:
        url: base address of a running ComfyUI, or None.
        models_toml: the models that the engine pretends to have, as it does when a local worker starts it.

    Raises:
        ConfigurationError: ``url`` is no address, or ``models_toml`` is not valid.
        ComfyUIUnavailable: nothing answers there in time.
        ProtocolViolation: what answers is not a ComfyUI.
    """
    if url is None:
        return _built_in(models_toml)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigurationError([f"{url!r} is not the address of a ComfyUI; write, say, http://127.0.0.1:8188."])
    return asyncio.run(_running(url))


async def _running(url: str) -> NodeSource:
    async with ComfyUIHTTP(url, ANSWER_SECONDS) as http:
        system = as_object((await http.system_stats()).get("system"))
        catalogue = Catalogue(await http.object_info(), tuple(await http.node_replacements()))
    version = str(system.get("comfyui_version", "of unknown version"))
    return NodeSource(catalogue, url, version, bool(system.get("comfypod_emulator")))


def _built_in(models_toml: Path) -> NodeSource:
    with tempfile.TemporaryDirectory(prefix="comfypod-catalogue-") as folder:
        try:
            files = FileCatalog(Folders.below(Path(folder)), models_toml if models_toml.exists() else None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError([f"{models_toml} cannot be used: {error}."]) from error
        described = {name: describe_class(node_class, files) for name, node_class in NODE_CLASSES.items()}
    return NodeSource(Catalogue(described), None, COMFYUI_VERSION, is_engine=True)
