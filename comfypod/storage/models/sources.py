"""Where a model file really comes from: the address, size and SHA-256 behind an entry of ``models.toml``."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from comfypod.deadline import Deadline
from comfypod.errors import (
    ConfigurationError,
    DownloadFailed,
    DownloadInterrupted,
    ModelFetchFailed,
    ModelSourceUnavailable,
)
from comfypod.storage.addresses import show_address
from comfypod.storage.models.hub import Hub, HubFile
from comfypod.storage.models.manifest import ModelEntry
from comfypod.storage.safe_http import SafeHTTP, check_status
from comfypod.storage.tries import Tries

CIVITAI_URL = "https://civitai.com"
ANSWER_LIMIT_BYTES = 4_000_000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """What to download. ``headers`` may hold a token, and are no part of the text of this object."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sha256: str | None = None
    size_bytes: int | None = None
    hub_file: HubFile | None = None
    """Set for a file on Hugging Face."""


@dataclass(frozen=True, slots=True)
class CivitaiFile:
    """The primary file of a version: Civitai's names, its word for the kind (``Checkpoint``, ``LORA`` …)."""

    name: str
    kind: str
    sha256: str | None
    size_bytes: int | None


class ModelSources:
    """Asks Hugging Face and Civitai; ``environment`` holds the tokens, and addresses other than the usual ones.

    HF_ENDPOINT is huggingface_hub's own variable for a mirror; CIVITAI_ENDPOINT is the same for Civitai.
    """

    def __init__(self, http: SafeHTTP, environment: Mapping[str, str]) -> None:
        self._http = http
        self._environment = environment
        self.hub = Hub(environment)
        self._civitai_url = environment.get("CIVITAI_ENDPOINT", "").strip().rstrip("/") or CIVITAI_URL

    def token(self, entry: ModelEntry) -> str | None:
        """The entry's token, from the environment.

        Raises:
            ConfigurationError: the entry names a variable that is not set, or its value cannot be a token.
        """
        variable = entry.token_variable
        value = self._environment.get(variable, "").strip() if variable else ""
        if not value and entry.token_env is not None:
            raise ConfigurationError([f"The model {entry.name!r} needs a token in {variable}, which is not set."])
        if not value.isascii() or not value.isprintable():
            raise ConfigurationError([f"What is in {variable} cannot be a token: it has characters that none has."])
        return value or None

    async def resolve(self, entry: ModelEntry, deadline: Deadline) -> ResolvedSource:
        """Ask the source; what it says about size and SHA-256 must agree with the manifest.

        Raises:
            ModelFetchFailed: there is no such file, the token does not suffice, or it is another file by now.
            ModelSourceUnavailable: the source does not answer.
            ConfigurationError: a token is missing.
        """
        headers = self._headers(entry)
        if entry.url is not None:
            return ResolvedSource(entry.url, headers, entry.sha256, entry.size_bytes)
        if entry.repository is not None:
            file = await self.hub.look_up(entry, self.token(entry), deadline)
            return _agreed(entry, ResolvedSource(file.url, headers, file.sha256, file.size_bytes, file))
        url = f"{self._civitai_url}/api/download/models/{entry.civitai}"
        if entry.sha256 is not None and entry.size_bytes is not None:
            return ResolvedSource(url, headers, entry.sha256, entry.size_bytes)
        version = await self.civitai_file(entry, deadline)
        return _agreed(entry, ResolvedSource(url, headers, version.sha256, version.size_bytes))

    async def civitai_file(self, entry: ModelEntry, deadline: Deadline) -> CivitaiFile:
        """What Civitai says about the primary file of the version that the entry names; raises as `resolve` does.

        API: https://developer.civitai.com/docs/api/public-rest, "GET /api/v1/model-versions/:id".
        """
        url = f"{self._civitai_url}/api/v1/model-versions/{entry.civitai}"
        file = _primary_file(await self._ask(entry, url, _read_json, deadline))
        if file is None:
            raise ModelFetchFailed(entry.name, f"Civitai's version {entry.civitai} has no file")
        return file

    async def size_of_url(self, entry: ModelEntry, deadline: Deadline) -> int | None:
        """The size that the server of a plain ``url`` announces, if it does; raises as `resolve` does."""

        async def read_length(response: aiohttp.ClientResponse) -> int | None:
            return response.content_length

        return await self._ask(entry, str(entry.url), read_length, deadline)

    def _headers(self, entry: ModelEntry) -> dict[str, str]:
        token = self.token(entry)
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def _ask(
        self,
        entry: ModelEntry,
        url: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Answer]],
        deadline: Deadline,
    ) -> Answer:
        headers, tries = self._headers(entry), Tries(deadline)
        try:
            async with deadline.enforce("looking a model up"):
                while True:
                    try:
                        async with self._http.get(url, headers) as response:
                            check_status(response, 200)
                            return await read(response)
                    except DownloadInterrupted as error:
                        await tries.pause(error)
        except DownloadFailed as error:
            raise model_error(entry, error, has_token=bool(headers)) from error


def model_error(entry: ModelEntry, error: DownloadFailed, *, has_token: bool) -> ModelFetchFailed:
    """What a failed download means for the model; a refusal says which token to set."""
    kind = ModelSourceUnavailable if isinstance(error, DownloadInterrupted) else ModelFetchFailed
    return kind(entry.name, str(error) + token_hint(entry, error.cause, has_token=has_token))


def token_hint(entry: ModelEntry, cause: str, *, has_token: bool) -> str:
    """What to do about HTTP 401 and 403; empty for any other cause."""
    if not re.search(r"\bHTTP 40[13]\b", cause):
        return ""
    variable = entry.token_variable
    if variable is None:
        return "; if it wants a token, name the variable that holds one in token_env"
    return (
        f"; the token in {variable} may not read it" if has_token else f"; put a token that may read it in {variable}"
    )


def _agreed(entry: ModelEntry, source: ResolvedSource) -> ResolvedSource:
    """The source, with what the manifest knows in place of what it did not tell."""
    for name, wanted, told in (
        ("sha256", entry.sha256, source.sha256),
        ("size_bytes", entry.size_bytes, source.size_bytes),
    ):
        if wanted is not None and told is not None and wanted != told:
            raise ModelFetchFailed(
                entry.name, f"the source has another file by now: {name} is {told} there, {wanted} in models.toml"
            )
    sha256, size_bytes = entry.sha256 or source.sha256, entry.size_bytes or source.size_bytes
    return ResolvedSource(source.url, source.headers, sha256, size_bytes, source.hub_file)


def _primary_file(document: Any) -> CivitaiFile | None:  # noqa: ANN401
    files = document.get("files") if isinstance(document, dict) else None
    known = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    if not known:
        return None
    file = next((file for file in known if file.get("primary") is True), known[0])
    model = document.get("model")
    kind = model.get("type") if isinstance(model, dict) else ""
    hashes = file.get("hashes")
    sha256 = hashes.get("SHA256") if isinstance(hashes, dict) else None
    size = file.get("sizeKB")
    return CivitaiFile(
        name=str(file.get("name", "")),
        kind=str(kind),
        sha256=sha256.lower() if isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256) else None,
        # A rounded number of kilobytes is no size to hold a download to; Civitai's are exact as a rule.
        size_bytes=int(size * 1024) if isinstance(size, int | float) and size > 0 and size * 1024 % 1 == 0 else None,
    )


async def _read_json(response: aiohttp.ClientResponse) -> Any:  # noqa: ANN401
    shown, body = show_address(str(response.url)), b""
    async for block in response.content.iter_any():
        body += block
        if len(body) > ANSWER_LIMIT_BYTES:
            raise DownloadFailed(shown, "its answer is too long")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DownloadFailed(shown, "its answer is not JSON") from error
