"""The routes about files: view and upload. All file access happens in threads."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from PIL import Image

from comfypod.emulator.engine.files import (
    BadPathError,
    Folders,
    Upload,
    find_viewed,
    join_inside,
    reencode_channel,
    reencode_preview,
    store_mask,
    store_upload,
)
from comfypod.emulator.engine.validation import RequestCrashError

# Content types that a browser would run as a page or script of this server are hidden from it.
ACTIVE_TYPES = frozenset(
    {
        "text/html",
        "text/html-sandboxed",
        "application/xhtml+xml",
        "text/javascript",
        "application/javascript",
        "text/css",
    }
)
_Encoded = TypeVar("_Encoded")

TRUE_WORDS = ("true", "1")


class FileRoutes:
    """Handlers of one server; `routes` lists them without the ``/api`` prefix."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/view", self.view),
            web.post("/upload/image", self.upload_image),
            web.post("/upload/mask", self.upload_mask),
        ]

    async def view(self, request: web.Request) -> web.StreamResponse:
        """Send a file, or an image encoded anew if ``preview`` or ``channel`` asks for it."""
        query = request.rel_url.query
        folder_type = query.get("type", "output")
        path = find_viewed(self._folders, query.get("filename"), folder_type, query.get("subfolder"))
        headers = {"Content-Disposition": f'filename="{_header_safe(path.name)}"'}
        if "preview" in query:
            body, content_type = await _encode(reencode_preview, path, query["preview"])
            return web.Response(body=body, content_type=content_type, headers=headers)
        if query.get("channel") in {"rgb", "a"}:
            body = await _encode(reencode_channel, path, query["channel"])
            return web.Response(body=body, content_type="image/png", headers=headers)
        return web.FileResponse(path, headers={**headers, "Content-Type": _content_type(path)})

    async def upload_image(self, request: web.Request) -> web.Response:
        """Store an uploaded file of any kind."""
        form = await _read_form(request)
        upload = _upload(form)
        stored_name = await _store(partial(store_upload, self._folders, upload))
        return web.json_response(upload.answer(stored_name))

    async def upload_mask(self, request: web.Request) -> web.Response:
        """Store an image that was there before with the alpha channel of the uploaded one."""
        form = await _read_form(request)
        upload = _upload(form)
        original = self._original(form)
        stored_name = await _store(partial(store_mask, self._folders, upload, original))
        return web.json_response(upload.answer(stored_name))

    def _original(self, form: dict[str, Any]) -> Path:
        """Return the path that ``original_ref`` names; whether there is such a file is another matter."""
        try:
            reference = json.loads(form["original_ref"])
            filename, subfolder = str(reference["filename"]), str(reference.get("subfolder", ""))
            folder_type = str(reference.get("type", "output"))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RequestCrashError(f"original_ref: {error}") from error
        root = self._folders.of_type(folder_type)
        path = None if root is None or ".." in filename or not filename else join_inside(root, subfolder, filename)
        if path is None:
            raise BadPathError(400)
        return path


async def _read_form(request: web.Request) -> dict[str, Any]:
    """Return the fields of a multipart form; empty for any other body, as aiohttp does."""
    try:
        return dict(await request.post())
    except ValueError as error:
        raise RequestCrashError(f"the form is broken: {error}") from error


def _upload(form: dict[str, Any]) -> Upload:
    """Return the upload that a form describes."""
    if "image" not in form:
        raise BadPathError(400)
    image = form["image"]
    if not isinstance(image, web.FileField):
        raise RequestCrashError("the image field is not a file")
    return Upload(
        filename=image.filename,
        content=image.file,
        folder_type=_text(form, "type", "input"),
        subfolder=_text(form, "subfolder", ""),
        overwrite=form.get("overwrite") in TRUE_WORDS,
    )


def _text(form: dict[str, Any], name: str, default: str) -> str:
    value = form.get(name, default)
    if not isinstance(value, str):
        raise RequestCrashError(f"{name} is a file")
    return value


async def _store(store: Callable[[], str]) -> str:
    """Run a function of `comfypod.emulator.engine.files` in a thread; what it cannot store is a crash."""
    try:
        return await asyncio.to_thread(store)
    except (LookupError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise RequestCrashError(str(error)) from error


async def _encode(encode: Callable[[Path, str], _Encoded], path: Path, wish: str) -> _Encoded:
    """Encode an image anew in a thread; a file that is no image is a crash."""
    try:
        return await asyncio.to_thread(encode, path, wish)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RequestCrashError(str(error)) from error


def _content_type(path: Path) -> str:
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return "application/octet-stream" if guessed in ACTIVE_TYPES else guessed


def _header_safe(name: str) -> str:
    """Return a file name that cannot end the header or its quotes."""
    return "".join("_" if character in '"\\' or ord(character) < 32 else character for character in name)
