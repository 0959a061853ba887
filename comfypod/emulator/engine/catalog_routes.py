"""The routes that say what the engine has: node classes, models, and where its files lie."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from comfypod.emulator.engine.catalog import FileCatalog
from comfypod.emulator.engine.files import Folders
from comfypod.emulator.engine.information import describe_class
from comfypod.emulator.nodes.base import NodeClass


class CatalogRoutes:
    """Handlers of one server. `routes` lists them without the ``/api`` prefix, `internal_routes` those that have none.

    Every handler reads folders, and does so in a thread.
    """

    def __init__(self, node_classes: Mapping[str, NodeClass], catalog: FileCatalog, folders: Folders) -> None:
        self._node_classes = node_classes
        self._catalog = catalog
        self._folders = folders

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that also exist under ``/api``."""
        return [
            web.get("/object_info", self.describe_all),
            web.get("/object_info/{node_class}", self.describe_one),
            web.get("/embeddings", self.list_embeddings),
            web.get("/models", self.list_model_folders),
            web.get("/models/{folder}", self.list_models),
        ]

    def internal_routes(self) -> list[web.RouteDef]:
        """Return the routes of ``api_server/routes/internal``, which do not exist under ``/api``."""
        return [
            web.get("/internal/folder_paths", self.show_folder_paths),
            web.get("/internal/files/{directory_type}", self.list_files),
        ]

    async def describe_all(self, _request: web.Request) -> web.Response:
        """Describe every node class."""
        described = await asyncio.to_thread(
            lambda: {name: describe_class(each, self._catalog) for name, each in self._node_classes.items()}
        )
        return web.json_response(described)

    async def describe_one(self, request: web.Request) -> web.Response:
        """Describe one node class; nothing if there is no such class."""
        name = request.match_info["node_class"]
        node_class = self._node_classes.get(name)
        if node_class is None:
            return web.json_response({})
        return web.json_response({name: await asyncio.to_thread(describe_class, node_class, self._catalog)})

    async def list_embeddings(self, _request: web.Request) -> web.Response:
        """List the embeddings without their suffixes."""
        names = await asyncio.to_thread(self._catalog.models, "embeddings")
        return web.json_response([Path(name).with_suffix("").as_posix() for name in names])

    async def list_model_folders(self, _request: web.Request) -> web.Response:
        """List the kinds of models."""
        return web.json_response(list(self._catalog.model_folders()))

    async def list_models(self, request: web.Request) -> web.Response:
        """List the models of a kind; 404 if there is no such kind, former names included."""
        folder = request.match_info["folder"]
        if folder not in self._catalog.model_folders():
            return web.Response(status=404)
        return web.json_response(await asyncio.to_thread(self._catalog.models, folder))

    async def show_folder_paths(self, _request: web.Request) -> web.Response:
        """Tell which folders are searched for each kind of model."""
        folders = self._catalog.model_folders().items()
        return web.json_response({kind: [str(path) for path in folder.paths] for kind, folder in folders})

    async def list_files(self, request: web.Request) -> web.Response:
        """List the files directly in the input, output or temporary folder, the newest first."""
        root = self._folders.of_type(request.match_info["directory_type"])
        if root is None:
            return web.json_response({"error": "Invalid directory type"}, status=400)
        return web.json_response(await asyncio.to_thread(_newest_first, root))


def _newest_first(folder: Path) -> list[str]:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return [path.name for path in sorted(files, key=lambda path: -path.stat().st_mtime)]
