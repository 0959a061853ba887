"""The HTTP side of the RunPod emulator that is the same for every route: bodies, answers, refusals, waiting."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable

from aiohttp import web

from comfypod.emulator.platform.job import Document, UnknownJob
from comfypod.emulator.platform.rates import TooManyRequests
from comfypod.emulator.platform.requests import InvalidRequest, NotEmulated

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BODY_SECONDS = 60.0
_LOST_ANSWER = web.RequestKey("answer_is_lost", bool)


class UnknownEndpoint(Exception):
    """The address names another endpoint: HTTP 404."""


class BrokenBody(Exception):
    """The body did not arrive as it was announced: HTTP 400."""


class Bell:
    """Wakes everybody who waits, in the order in which they came."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Return at the next `ring`."""
        await self._event.wait()


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every refusal with ``{"error": sentence}``; the shape of the platform's error bodies is not documented."""
    try:
        return await handler(request)
    except (BrokenBody, InvalidRequest) as error:
        return refusal(400, str(error))
    except (UnknownEndpoint, UnknownJob) as error:
        return refusal(404, str(error))
    except TooManyRequests as error:
        return refusal(429, str(error))  # no Retry-After: none is documented
    except NotEmulated as error:
        return refusal(501, str(error))
    except web.HTTPClientError as error:
        return refusal(error.status, f"{request.method} {request.path}: {error.reason}.")


async def not_emulated(request: web.Request) -> web.StreamResponse:
    """The handler of every route that only the real platform has."""
    raise NotEmulated(f"{request.path} is not emulated; on RunPod it exists.")


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The body, decompressed; nothing beyond the limit is kept.

    Raises:
        InvalidRequest: it is too large.
        BrokenBody: it breaks off, does not arrive in time, or is not compressed as its header says.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise InvalidRequest(f"The body is larger than {limit_bytes} bytes.")
    except TimeoutError as error:
        raise BrokenBody(f"The body did not arrive within {_BODY_SECONDS:.0f} s.") from error
    except web.RequestPayloadError as error:
        raise BrokenBody(f"The body cannot be read: {error}") from error
    return bytes(body)


def whole_number(request: web.Request, name: str, default: int) -> int:
    """A number from the query.

    Raises:
        InvalidRequest: it is given and is none.
    """
    try:
        return int(request.query.get(name, default))
    except ValueError as error:
        raise InvalidRequest(f'"{name}" must be a whole number.') from error


def answer(document: Document | list[Document]) -> web.Response:
    """A success. JavaScript clients take every status but 200 for an error, so there is no 201 or 202."""
    return web.json_response(document)


def refusal(status: int, sentence: str) -> web.Response:
    """An error that says what is wrong."""
    return web.json_response({"error": sentence}, status=status)


def is_connected(request: web.Request) -> bool:
    """Whether the other side is still there, as far as anybody knows."""
    return request.transport is not None and not request.transport.is_closing()


def lose_answer(request: web.Request) -> None:
    """Say that the request's answer will not reach its client: a planned fault puts something else in its place."""
    request[_LOST_ANSWER] = True


def is_answer_lost(request: web.Request) -> bool:
    """Whether `lose_answer` was said: a handler that sends its answer itself must leave it."""
    return bool(request.get(_LOST_ANSWER, False))


def is_same_key(given: str, expected: str) -> bool:
    """Compare keys in constant time; a header may hold bytes that are no text."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def reachable_url(host: str, port: int) -> str:
    """An address that reaches the server from this machine, also if it listens on every interface."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}/v2"
