"""Where results go: an HTTP endpoint that takes each file once, or the worker's bucket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from yarl import URL

from comfypod.batch.documents import File, Welcome
from comfypod.batch.runner.environment import PodEnvironment
from comfypod.deadline import Deadline
from comfypod.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DownloadFailed,
    DownloadInterrupted,
    UploadFailed,
    UploadRefused,
)
from comfypod.files.content import FileContent
from comfypod.settings import Settings
from comfypod.storage.addresses import AddressPolicy, show_address
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.safe_http import PutAnswer, SafeHTTP

ASK_SECONDS: Final = 20.0
_STORED: Final = range(200, 300)
_THERE_ALREADY: Final = 412
_SHA256: Final = re.compile(r'(?:W/)?"?([0-9a-f]{64})"?')


class Results(Protocol):
    """Takes files, each under its name, which is the same for whoever makes the item."""

    async def store(self, path: Path, file: File, deadline: Deadline) -> File:
        """Send the file once, and return it as it is there now: another pod's may have come first, and then stays.

        Raises:
            UploadFailed: it did not get there.
            DeadlineExceeded: the deadline passed.
        """


@asynccontextmanager
async def open_results(welcome: Welcome, pod: PodEnvironment, settings: Settings) -> AsyncIterator[Results]:
    """The place that the coordinator tells of; in a bucket a folder of the batch's own.

    Raises:
        ConfigurationError: there is no such place, or this pod lacks what it takes.
    """
    told = welcome.results
    kind, url = told.get("kind"), str(told.get("url", "")).rstrip("/")
    if kind == "bucket":
        bucket = Bucket.from_settings(settings)
        if bucket is None:
            raise ConfigurationError(["Results go to a bucket, and this pod was told of none: BUCKET_ENDPOINT_URL."])
        yield BucketResults(bucket, str(told.get("prefix", welcome.batch)))
        return
    host = _place(url)
    if kind != "http" or host is None:
        raise ConfigurationError([f"Results go to {kind!r}, {show_address(url)}: no place that this pod knows."])
    is_coordinators = URL(url).origin() == URL(pod.url).origin()
    token = pod.token if is_coordinators else pod.results_token
    # Its operator named it: it may be in a private network, which no address from elsewhere may.
    async with SafeHTTP(AddressPolicy.from_lists(host, "")) as http:
        yield HTTPResults(http, url, token)


class HTTPResults:
    """``PUT URL/NAME/FILE``, on the condition that nothing is there (RFC 9110, section 13.1.2)."""

    def __init__(self, http: SafeHTTP, url: str, token: str | None) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def store(self, path: Path, file: File, deadline: Deadline) -> File:
        """As `Results.store`; an upload that broke off is looked for before it is told to have failed."""
        url = f"{self._url}/{quote(file.name, safe='/')}"
        headers = {"If-None-Match": "*", "X-Content-SHA256": file.sha256, "Content-Type": file.media_type}
        async with deadline.enforce("deliver"):
            try:
                answer = await self._http.put_once(url, FileContent(path), {**self._headers, **headers})
            except DownloadInterrupted as error:
                # A server need not read to its end what it does not want.
                there = await self._look(url, file)
                if there is None:
                    raise UploadFailed(error.address, error.cause) from error
                return there
            except DownloadFailed as error:
                raise UploadRefused(error.address, error.cause) from error
            return await self._judge(url, file, answer)

    async def _judge(self, url: str, file: File, answer: PutAnswer) -> File:
        if answer.status in _STORED:
            if answer.sha256 != file.sha256:
                raise UploadRefused(show_address(url), "the file changed while it was sent")
            return file
        if answer.status == _THERE_ALREADY:
            there = _sha256(answer.headers)
            return file if there in {None, file.sha256} else await self._look(url, file, there) or file
        raise UploadFailed(show_address(url), f"HTTP {answer.status}")

    async def _look(self, url: str, file: File, told_sha256: str | None = None) -> File | None:
        """The file as it is there, None if that cannot be learned; ``told_sha256`` is what was told before."""
        try:
            async with Deadline.after(ASK_SECONDS).enforce("deliver"):
                status, headers = await self._http.head(url, self._headers)
        except (DownloadFailed, DeadlineExceeded):
            return None
        sha256, size = _sha256(headers) or told_sha256, headers.get("Content-Length", "")
        if status != 200 or sha256 is None or not size.isdecimal():
            return None
        return file.model_copy(update={"sha256": sha256, "size_bytes": int(size)})


class BucketResults:
    """The bucket of the settings: of two uploads of one item the later one stays, under the same name."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")

    async def store(self, path: Path, file: File, deadline: Deadline) -> File:
        """As `Results.store`."""
        key = "/".join(part for part in (self._prefix, file.name) if part)
        sha256 = await self._bucket.upload(FileContent(path), key, file.media_type, deadline)
        if sha256 != file.sha256:
            raise UploadRefused(key, "the file changed while it was sent")
        return file


def _place(url: str) -> str | None:
    """``host:port`` of an http(s) address, as `AddressPolicy` lists it; None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    host = parts.hostname
    if not host or parts.query or parts.fragment or parts.username:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sha256(headers: Mapping[str, str]) -> str | None:
    """The ETag, where it is the content's SHA-256, as the coordinator's own endpoint has it."""
    match = _SHA256.fullmatch(headers.get("ETag", "").strip().lower())
    return match[1] if match else None
