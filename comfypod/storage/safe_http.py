"""HTTP to addresses that somebody else chose: requests that cannot be led into private networks.

The address that the policy looked at is the one that is connected to: names are resolved once per connection, by a
resolver that checks every address and hands over exactly these. Redirects are followed here, and checked anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from comfypod.deadline import Deadline
from comfypod.errors import DownloadFailed, DownloadInterrupted
from comfypod.files.content import FileContent
from comfypod.files.opening import opened
from comfypod.storage.addresses import AddressPolicy, show_address
from comfypod.storage.tries import SourceBusy, Tries, insist

MOST_REDIRECTS = 5
UPLOAD_BLOCK_BYTES = 256 * 1024
KEPT_SECONDS = 60.0
"""So long a connection stays open without a request: the next job may want it."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_BUSY = frozenset({408, 425, 429})  # and all from 500
_NO_SUCH_HOST = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
# Of a caller's headers only these go to another origin: any other may be a credential, whatever its name.
_HARMLESS_HEADERS = frozenset({"accept", "if-range", "range", "user-agent"})


@dataclass(frozen=True, slots=True)
class PutAnswer:
    """What a server said to an upload, and the SHA-256 of what was sent to it."""

    status: int
    headers: Mapping[str, str]
    sha256: str


class SafeHTTP:
    """An HTTP session that connects only to addresses that the policy allows.

    Use it as an async context manager. It takes no proxy from the environment, keeps no cookies and never decompresses.
    Its methods raise `DownloadFailed` for what is final (an address that is refused, HTTP 4xx, a certificate that is
    not valid), and `DownloadInterrupted` for what may go better later. Their messages hold neither user info nor query.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        resolver: AbstractResolver | None = None,
        *,
        connect_timeout_seconds: float = 10.0,
        idle_timeout_seconds: float = 30.0,
    ) -> None:
        """``resolver`` looks names up in place of the system; ``idle_timeout_seconds``: so long without a byte."""
        self._policy = policy
        self._resolver = resolver
        self._idle_timeout_seconds = idle_timeout_seconds
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_seconds, sock_read=idle_timeout_seconds
        )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        resolver = _CheckingResolver(self._policy, self._resolver or aiohttp.ThreadedResolver())
        self._session = aiohttp.ClientSession(
            # Without a cache, each connection goes to addresses that were checked for it.
            connector=aiohttp.TCPConnector(
                resolver=resolver, use_dns_cache=False, limit=0, keepalive_timeout=KEPT_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # no bomb can go off
            trust_env=False,
            timeout=self._timeout,
            headers={"Accept-Encoding": "identity", "User-Agent": "comfypod"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request ``url`` and yield the answer, whatever its status is, with its body still to be read.

        At most 5 redirects are followed, each checked as ``url`` was. Another origin (scheme, host, port) receives
        none of ``headers`` but Accept, If-Range, Range and User-Agent; and where others were given, a redirect from
        https to http is refused. Nothing here ends a slow answer: call it within `Deadline.enforce`.

        Raises:
            DownloadFailed: also if the body is compressed, although it was asked for as it is.
            DownloadInterrupted: also while the body is read in the ``async with`` block.
        """
        address, sent = self._policy.check_url(url), dict(headers or {})
        confidential = any(name.lower() not in _HARMLESS_HEADERS for name in sent)
        for _ in range(MOST_REDIRECTS + 1):
            async with self._request("GET", address, headers=sent) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    _check_encoding(response)
                    yield response
                    return
            target = self._redirected(address, location)
            if confidential and (address.scheme, target.scheme) == ("https", "http"):
                raise DownloadFailed(show_address(url), "it redirects from https to http, and credentials were sent")
            if target.origin() != address.origin():
                sent = {name: value for name, value in sent.items() if name.lower() in _HARMLESS_HEADERS}
            address = target
        raise DownloadFailed(show_address(url), f"it redirects more than {MOST_REDIRECTS} times")

    async def head(self, url: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str]]:
        """Ask what is at ``url``: status and headers. Nothing is followed; raises as `post` does."""
        async with self._request("HEAD", self._policy.check_url(url), headers=dict(headers)) as response:
            return response.status, response.headers

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post ``body`` once, and return the HTTP status; the answer's own body is not read, and nothing is followed.

        Nothing here ends a slow answer: call it within a timeout.

        Raises:
            DownloadFailed: the address is refused, or does not answer as HTTP asks.
            DownloadInterrupted: it cannot be reached, or broke off.
        """
        async with self._request("POST", self._policy.check_url(url), data=body, headers=dict(headers)) as response:
            return response.status

    async def put_file(self, url: str, content: FileContent, content_type: str, deadline: Deadline) -> str:
        """Upload the file to a presigned ``url``, from disk, again if the connection breaks or the target is busy.

        Redirects are not followed. Returns the SHA-256 of what was sent.

        Raises:
            DownloadFailed: the target is refused, or refuses; or the file cannot be read.
            DownloadInterrupted: the target did not take it in several tries.
            DeadlineExceeded: the deadline passed.
        """
        address, tries = self._policy.check_url(url), Tries(deadline)
        async with deadline.enforce("upload"):
            return await insist(lambda: self._put_once(address, content, content_type), tries)

    async def _put_once(self, address: URL, content: FileContent, content_type: str) -> str:
        answer = await self._send(address, content, {"Content-Type": content_type})
        check_answer(answer.status, answer.headers, str(address), 200, 201, 204)
        return answer.sha256

    async def put_once(self, url: str, content: FileContent, headers: Mapping[str, str]) -> PutAnswer:
        """Upload the file once, from disk, with these headers; whatever the status is, it is the caller's to judge.

        It ends when nothing was taken, or no answer came, for the idle timeout. Redirects are not followed, and of the
        answer's body nothing is read.

        Raises:
            DownloadFailed: the target is refused, does not answer as HTTP asks, or the file cannot be read.
            DownloadInterrupted: it cannot be reached, or broke off.
        """
        return await self._send(self._policy.check_url(url), content, headers)

    async def _send(self, address: URL, content: FileContent, given: Mapping[str, str]) -> PutAnswer:
        """Send the file once; it ends when nothing was taken, or no answer came, for the idle timeout."""
        shown, digest = show_address(str(address)), hashlib.sha256()
        try:
            size_bytes = await asyncio.to_thread(content.size_bytes)
            headers = {**given, "Content-Length": str(size_bytes)}
            async with asyncio.timeout(self._idle_timeout_seconds) as idle:
                body = self._file_blocks(content, digest, idle) if size_bytes else b""
                timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout.connect)
                async with self._request("PUT", address, headers=headers, data=body, timeout=timeout) as response:
                    return PutAnswer(response.status, response.headers, digest.hexdigest())
        except TimeoutError as error:
            raise DownloadInterrupted(shown, f"nothing moved for {self._idle_timeout_seconds:g} s") from error
        except OSError as error:
            raise DownloadFailed(shown, f"the file to send could not be read ({error.strerror})") from error

    async def _file_blocks(
        self, content: FileContent, digest: hashlib._Hash, idle: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()

        def read_next() -> bytes:
            block = file.read(UPLOAD_BLOCK_BYTES) or b""
            digest.update(block)
            return block

        async with opened(content.open) as file:
            while block := await asyncio.to_thread(read_next):
                idle.reschedule(loop.time() + self._idle_timeout_seconds)
                yield block

    def _redirected(self, address: URL, location: str) -> URL:
        try:
            target = urljoin(str(address), location)
        except ValueError:
            raise DownloadFailed(show_address(str(address)), "it redirects to what is not a valid URL") from None
        return self._policy.check_url(target)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        address: URL,
        **options: Any,  # noqa: ANN401 (aiohttp's own)
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The one place where aiohttp's failures become ours; also those of reading the body."""
        if self._session is None:
            msg = "use SafeHTTP as an async context manager"
            raise RuntimeError(msg)
        try:
            async with self._session.request(method, address, allow_redirects=False, **options) as response:
                yield response
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL):
            # Their texts quote the whole URL: not even a traceback may show them.
            raise DownloadFailed(show_address(str(address)), "it does not answer as HTTP asks") from None
        except aiohttp.ClientError as error:
            raise _failure(error, show_address(str(address))) from error


class ContentChanged(Exception):
    """The content is not what it was, or the source no longer gives parts of it: begin anew."""


class RemoteFile:
    """What lies at an address, which can be read from any byte on where the source gives parts.

    ``size_bytes``, ``validator`` (for If-Range) and ``content_type`` are what the source said, None if it did not.
    """

    def __init__(self, http: SafeHTTP, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.shown = show_address(url)
        self.size_bytes: int | None = None
        self.validator: str | None = None
        self.content_type: str | None = None
        self._http = http
        self._url = url
        self._headers = dict(headers or {})

    async def gives_parts(self) -> bool:
        """Ask for one byte, which tells the size, and whether the parts that are read later belong together."""
        async with self._http.get(self._url, {**self._headers, "Range": "bytes=0-0"}) as response:
            check_status(response, 200, 206, 416)  # 416: it is empty
            first, size_bytes = _content_range(response)
            validator = _validator(response)
            if response.status != 206 or first != 0 or size_bytes is None or validator is None:
                return False
            self.size_bytes, self.validator = size_bytes, validator
            return True

    @asynccontextmanager
    async def read(self, first: int, end: int | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request the bytes from ``first`` up to ``end`` (None: all).

        The answer's status is 206, or 200 if it is the whole file from its first byte: then no part was asked for, the
        source gives none, or the content is another one than before.

        Raises:
            ContentChanged: the part that came is not one of the content that was there before.
        """
        headers, whole = dict(self._headers), (first, end) in {(0, None), (0, self.size_bytes)}
        if self.validator is not None and not whole:
            headers |= {"Range": f"bytes={first}-{'' if end is None else end - 1}", "If-Range": self.validator}
        async with self._http.get(self._url, headers) as response:
            if "If-Range" in headers and response.status in {206, 416}:
                self._check_part(first, response)
            else:
                check_status(response, 200)
                chunked = "Transfer-Encoding" in response.headers
                self.size_bytes = None if chunked else response.content_length
                self.validator = _validator(response)
            self.content_type = response.headers.get("Content-Type")
            yield response

    def _check_part(self, first: int, response: aiohttp.ClientResponse) -> None:
        begin, size_bytes = _content_range(response)
        same = _validator(response) in {None, self.validator} and size_bytes in {None, self.size_bytes}
        if response.status != 206 or begin != first or not (same or self.size_bytes is None):
            raise ContentChanged


async def blocks(response: aiohttp.ClientResponse, block_bytes: int) -> AsyncGenerator[bytearray, None]:
    """The body in blocks of about ``block_bytes``; what came before the connection broke precedes the failure."""
    block = bytearray()
    try:
        async for chunk in response.content.iter_any():
            block += chunk
            if len(block) >= block_bytes:
                yield block
                block = bytearray()
    except aiohttp.ClientError:
        if block:
            yield block
        raise
    if block:
        yield block


class _CheckingResolver(AbstractResolver):
    """Looks names up and hands over their addresses, if the policy allows every one of them."""

    def __init__(self, policy: AddressPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            self._policy.check_address(host, result["host"], port)
        return results

    async def close(self) -> None:
        """The resolver belongs to who gave it."""


def check_status(response: aiohttp.ClientResponse, *expected: int) -> None:
    """See that the answer's status is one of ``expected``.

    Raises:
        SourceBusy: 408, 425, 429 or 5xx.
        DownloadFailed: any other.
    """
    check_answer(response.status, response.headers, str(response.url), *expected)


def check_answer(status: int, headers: Mapping[str, str], url: str, *expected: int) -> None:
    """The same of an answer that was read, from ``url``."""
    if status in expected:
        return
    shown, cause = show_address(url), f"HTTP {status}"
    if status in _BUSY or status >= 500:
        raise SourceBusy(shown, cause, _retry_after_seconds(headers.get("Retry-After", "")))
    raise DownloadFailed(shown, cause)


def _check_encoding(response: aiohttp.ClientResponse) -> None:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if response.status < 300 and encoding not in {"", "identity"}:
        raise DownloadFailed(show_address(str(response.url)), "its answer is compressed, which was not asked for")


def _content_range(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    """First byte and total of ``Content-Range: bytes 0-99/1000``; None for what it does not tell."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return (int(match[1]), None if match[2] == "*" else int(match[2])) if match else (None, None)


def _validator(response: aiohttp.ClientResponse) -> str | None:
    """What If-Range may hold: a strong ETag, else the date of the last change (RFC 9110, section 13.1.5)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _retry_after_seconds(value: str) -> float:
    """Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3); 0 if it is neither, or past."""
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _failure(error: aiohttp.ClientError, shown: str) -> DownloadFailed:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return DownloadFailed(shown, "its TLS certificate is not valid for it")
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno in _NO_SUCH_HOST:
        return DownloadFailed(shown, "there is no host of this name")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return DownloadInterrupted(shown, "it could not be connected to in time")
    if isinstance(error, aiohttp.ServerTimeoutError):
        return DownloadInterrupted(shown, "it sent nothing for too long")
    if isinstance(error, aiohttp.ClientConnectorError):
        return DownloadInterrupted(shown, f"it could not be connected to ({error.os_error.strerror})")
    return DownloadInterrupted(shown, "the connection broke off")
