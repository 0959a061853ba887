"""HTTP to one endpoint: one call, once, and what its failure means for what was asked.

What can be known is the point here. Requests' exceptions are mapped in this one place to: it was never sent, or it may
have arrived.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import requests
from requests.auth import AuthBase
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, SSLError
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, ProtocolError, ProxyError, ReadTimeoutError

from comfypod.cloud.answers import Answer, AnswerLost, NotSent
from comfypod.cloud.arriving import arriving_blocks

CONNECT_SECONDS = 10.0
"""The longest wait for a connection, to each of the addresses that the host's name has."""
SILENCE_SECONDS = 30.0
"""The longest wait for each next piece of an answer."""
ANSWER_SECONDS = 300.0
"""The longest wait for a whole answer: 20 MB over a slow line."""
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
"""Three times the largest result that RunPod keeps."""
_UNUSABLE_ADDRESS = (InvalidURL, InvalidSchema, MissingSchema)
"""What Requests raises before it connects. Not all of its ``ValueError``s: `InvalidHeader` is about an answer, too."""


class Address(Protocol):
    """Where calls go, and the key that goes with them."""

    @property
    def url(self) -> str:
        """What the path of each call is appended to."""

    @property
    def api_key(self) -> str:
        """The key."""


class Transport:
    """The connections of one client to its endpoint; may be used by many threads.

    A `requests.Session` is not made for several threads at once, and one per thread would outlive the thread. So
    sessions are lent: each call takes one that is idle, or a new one, and gives it back. There are never more of them
    than calls at once.
    """

    def __init__(self, address: Address, *, user_agent: str | None = None) -> None:
        """Connect nothing yet. ``user_agent``: what to call ourselves; None: as Requests does."""
        self.url = address.url
        self._authorization = _Bearer(address.api_key)
        self._headers = {} if user_agent is None else {"User-Agent": user_agent}
        self._lock = threading.Lock()
        self._idle: list[requests.Session] = []

    def close(self) -> None:
        """Close the connections that are idle; another call opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def send(self, method: str, path: str, body: bytes | None = None, *, on_new_connection: bool = False) -> Answer:
        """Call, once.

        With ``on_new_connection`` none that is idle is used: one that the other side has closed meanwhile, or that a
        sleeping laptop has forgotten, would make it uncertain whether the request arrived, without need.

        Raises:
            NotSent, AnswerLost: there is no answer.
        """
        session = self._new_session if on_new_connection else self._lent_session
        try:
            with session() as http, self._request(http, method, path, body) as response:
                return Answer(response.status_code, _content(response))
        except (requests.RequestException, HTTPError) as error:
            if _is_unsent(error):
                raise NotSent(_cause(error)) from error
            raise AnswerLost(_cause(error)) from error

    def _request(self, http: requests.Session, method: str, path: str, body: bytes | None) -> requests.Response:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        return http.request(
            method,
            self.url + path,
            data=body,
            headers=headers,
            timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
            allow_redirects=False,
            stream=True,
        )

    @contextmanager
    def _new_session(self) -> Iterator[requests.Session]:
        with _Session() as session:
            session.auth = self._authorization
            yield session

    @contextmanager
    def _lent_session(self) -> Iterator[requests.Session]:
        with self._lock:
            session = self._idle.pop() if self._idle else _Session()
        session.auth = self._authorization
        try:
            yield session
        finally:
            with self._lock:
                self._idle.append(session)


class _Session(requests.Session):
    """Takes a redirection as an answer like any other: to follow it would repeat a POST elsewhere.

    That it must not be followed (``allow_redirects``) does not keep Requests from reading where it leads, and from
    failing on what is no address.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""


class _Bearer(AuthBase):
    """The key, as the platform wants it. Given as a header, it would lose against a ``~/.netrc``."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def _content(response: requests.Response) -> bytes:
    """The whole body, unless it is endless."""
    content = bytearray()
    for block in arriving_blocks(response, ANSWER_SECONDS):
        content += block
        if len(content) > LARGEST_ANSWER_BYTES:
            raise requests.RequestException(f"the answer is larger than {LARGEST_ANSWER_BYTES:,} bytes")
    return bytes(content)


def _is_unsent(error: Exception) -> bool:
    """Whether there was no connection to send anything over: refused, no such host, no answer, not to be trusted."""
    if isinstance(error, (requests.ConnectTimeout, *_UNUSABLE_ADDRESS)):
        return True
    inner = error.args[0] if error.args else None
    reason = inner.reason if isinstance(inner, MaxRetryError) else None
    if isinstance(reason, ProxyError):
        reason = reason.original_error
    return isinstance(reason, NewConnectionError) or (isinstance(error, SSLError) and _is_untrusted(reason))


def _is_untrusted(reason: BaseException | None) -> bool:
    """Whether the other side's certificate was refused, which ends the handshake before anything is sent."""
    return reason is not None and any(isinstance(item, ssl.SSLCertVerificationError) for item in reason.args)


_NOT_SECURED = (
    "the connection could not be secured (TLS); does the server speak http only, is a proxy's certificate to be "
    "trusted, or the clock wrong"
)
_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (requests.ConnectTimeout, f"no connection within {CONNECT_SECONDS:g} s"),
    (requests.ReadTimeout, f"no answer within {SILENCE_SECONDS:g} s"),
    (ReadTimeoutError, f"the answer stopped for {SILENCE_SECONDS:g} s"),
    (SSLError, _NOT_SECURED),
    *((kind, "the address cannot be used") for kind in _UNUSABLE_ADDRESS),
    (ValueError, "the answer is malformed"),
)


def _cause(error: Exception) -> str:
    """What happened, as a clause."""
    for kind, clause in _CAUSES:
        if isinstance(error, kind):
            return clause
    if _is_unsent(error):
        return "no connection (refused, or no such host)"
    if isinstance(error, requests.ConnectionError | ProtocolError):
        return "the connection broke off"
    return "the answer cannot be read" if isinstance(error, HTTPError) else str(error)
