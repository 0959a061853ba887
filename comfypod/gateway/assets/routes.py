"""``/api/v2/assets``: upload files, and fetch them and what jobs made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from aiohttp import web

from comfypod.errors import BlobNotFound, MalformedCall, QuotaExceeded, RangeNotSatisfiable
from comfypod.gateway.access import tenant_of
from comfypod.gateway.answers import json_answer
from comfypod.gateway.assets.documents import AssetWishes, asset_document, is_hash, output_asset_document
from comfypod.gateway.assets.receiving import received_upload
from comfypod.gateway.assets.service import Assets
from comfypod.gateway.bodies import LIMITS, read_json
from comfypod.gateway.links import API
from comfypod.gateway.origins import Origins
from comfypod.gateway.places import Places

UPLOADS_AT_ONCE = 8
"""Of one tenant: each takes room on this machine's disk while it comes."""
RETRY_SECONDS = 5.0
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class AssetRoutes:
    """All of ``/assets``; ``retention`` is how long a file is kept whose program does not say."""

    def __init__(self, assets: Assets, origins: Origins, retention: timedelta) -> None:
        self._assets = assets
        self._origins = origins
        self._retention = retention
        self._places = Places(UPLOADS_AT_ONCE, QuotaExceeded(f"{UPLOADS_AT_ONCE} uploads at once", RETRY_SECONDS))

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes."""
        yield web.post(f"{API}/assets", self._upload)
        yield web.post(f"{API}/assets/from-hash", self._from_hash)
        yield web.head(f"{API}/assets/by-hash/{{hash}}", self._by_hash)
        yield web.get(f"{API}/assets/{{id}}", self._asset)
        yield web.delete(f"{API}/assets/{{id}}", self._delete)
        yield web.get(f"{API}/assets/{{id}}/content", self._content)

    async def _upload(self, request: web.Request) -> web.Response:
        tenant = tenant_of(request).name
        with self._places.one(tenant):
            return await self._receive(request, tenant)

    async def _receive(self, request: web.Request, tenant: str) -> web.Response:
        async with received_upload(request, request.app[LIMITS]) as received:
            wishes = AssetWishes.parse(
                received.fields, received.tags, self._retention, received.content_type, received.file_path
            )
            minted = await self._assets.keep(tenant, received, wishes)
        document = asset_document(minted.asset, self._origins.links(request), created_new=minted.is_new)
        return json_answer(document, 201 if minted.is_new else 200)

    async def _from_hash(self, request: web.Request) -> web.Response:
        body = await read_json(request)
        if not is_hash(body.get("hash")):
            raise BlobNotFound(str(body.get("hash")))
        tenant = tenant_of(request).name
        known = await self._assets.known(tenant, body["hash"])
        file_path = _text(body, "file_path") or known.file_path or known.identifier
        wishes = AssetWishes.parse(body, body.get("tags"), self._retention, known.content_type, file_path)
        minted = await self._assets.mint(tenant, known, wishes)
        document = asset_document(minted.asset, self._origins.links(request), created_new=False)
        return json_answer(document, 200 if minted.is_old else 201)

    async def _by_hash(self, request: web.Request) -> web.Response:
        if not is_hash(request.match_info["hash"]):
            raise BlobNotFound(request.match_info["hash"])
        await self._assets.known(tenant_of(request).name, request.match_info["hash"])
        return web.Response()

    async def _asset(self, request: web.Request) -> web.Response:
        tenant, asset_id, links = tenant_of(request).name, request.match_info["id"], self._origins.links(request)
        if found := await self._assets.output(tenant, asset_id):
            return json_answer(output_asset_document(found[1], found[0], links))
        return json_answer(asset_document(await self._assets.asset(tenant, asset_id), links))

    async def _delete(self, request: web.Request) -> web.Response:
        await self._assets.delete(tenant_of(request).name, request.match_info["id"])
        return web.Response(status=204)

    async def _content(self, request: web.Request) -> web.Response:
        """Bytes of files come from the bucket itself, which knows ranges; texts are here."""
        tenant, asset_id = tenant_of(request).name, request.match_info["id"]
        found = await self._assets.output(tenant, asset_id)
        if found is None:
            return _elsewhere(self._assets.address(await self._assets.asset(tenant, asset_id)))
        output = found[1]
        if output.text is not None:
            return _part(output.text, request.headers.get("Range"))
        return _elsewhere(self._assets.address(output))


def _elsewhere(address: str) -> web.Response:
    return web.Response(status=302, headers={"Location": address})


def _part(text: bytes, wanted: str | None) -> web.Response:
    """A text, or the part of it that is asked for (RFC 9110, section 14); several parts at once are not."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "Accept-Ranges": "bytes"}
    match = _RANGE.fullmatch(wanted) if wanted else None
    if match is None or match.groups() == ("", ""):
        return web.Response(body=text, headers=headers)
    first, last = match.groups()
    start = int(first) if first else max(0, len(text) - int(last))
    end = min(int(last), len(text) - 1) if first and last else len(text) - 1
    if start > end:
        raise RangeNotSatisfiable(len(text))
    headers["Content-Range"] = f"bytes {start}-{end}/{len(text)}"
    return web.Response(status=206, body=text[start : end + 1], headers=headers)


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedCall(f"{name} must be a text")
    return value
