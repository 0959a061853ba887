"""The page itself: the files of ``static/``, as they are, compressed, and asked for again only when they changed."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from comfypod.errors import NothingThere

STATIC_FOLDER = Path(__file__).parents[1] / "static"
_AT_THE_ROOT = ("service_worker.js", "manifest.webmanifest", "favicon.ico")
"""A service worker serves what lies beside or below it; browsers look for the icon there."""
_PLAIN_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
}
"""What of ``static/`` is served."""
_COMPRESSED = frozenset({".css", ".html", ".js", ".json", ".svg", ".txt", ".webmanifest"})


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int]
    content: bytes
    compressed: bytes | None
    tag: str


class Pages:
    """Serves the files of a folder; nothing of it lies in memory before somebody wants it."""

    def __init__(self, folder: Path = STATIC_FOLDER) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}

    def routes(self, base_path: str) -> Iterable[web.RouteDef]:
        """All that a browser gets without being signed in."""
        yield web.get(base_path, self._front_page)
        for name in _AT_THE_ROOT:
            yield web.get(f"{base_path}{name}", self._at_the_root)
        yield web.get(f"{base_path}static/{{path:.+}}", self._static)

    async def _front_page(self, request: web.Request) -> web.Response:
        return self._answer(request, "index.html")

    async def _at_the_root(self, request: web.Request) -> web.Response:
        return self._answer(request, request.path.rpartition("/")[2])

    async def _static(self, request: web.Request) -> web.Response:
        return self._answer(request, request.match_info["path"])

    def _answer(self, request: web.Request, name: str) -> web.Response:
        file = self._file(name)
        headers = {"Cache-Control": "no-cache", "ETag": f'W/"{file.tag}"', "Vary": "Accept-Encoding"}
        if any(tag.value in {file.tag, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = _TYPES[Path(name).suffix]
        if file.compressed is not None and "gzip" in request.headers.get("Accept-Encoding", "").lower():
            return web.Response(body=file.compressed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=file.content, headers=headers)

    def _file(self, name: str) -> _File:
        """The file as it is now; small, and on a local disk.

        Raises:
            NothingThere: no such file is served.
        """
        path = self._folder / name
        if path.suffix not in _TYPES or not all(_PLAIN_PART.fullmatch(part) for part in name.split("/")):
            raise NothingThere("There is nothing at this address")
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._files.get(name)
            if known is None or known.stamp != stamp:
                known = self._files[name] = _read(path, stamp)
        except OSError as error:
            raise NothingThere("There is nothing at this address") from error
        return known


def _read(path: Path, stamp: tuple[int, int]) -> _File:
    content = path.read_bytes()
    compressed = gzip.compress(content, mtime=0) if path.suffix in _COMPRESSED else None
    is_smaller = compressed is not None and len(compressed) < len(content)
    return _File(stamp, content, compressed if is_smaller else None, hashlib.sha256(content).hexdigest()[:32])
