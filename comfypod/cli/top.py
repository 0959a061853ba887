"""``comfypod top``: an endpoint's queue, workers, jobs and spend, live."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from rich.console import Console
from rich.live import Live

from comfypod.cli.printing import write_json
from comfypod.cli.top_view import picture
from comfypod.cloud.answers import AnswerLost, NotSent
from comfypod.cloud.client import Client
from comfypod.cloud.configuration import (
    ENDPOINT_VARIABLE,
    KEY_VARIABLE,
    RUNPOD_URL,
    URL_VARIABLE,
    Connection,
    find_connection,
)
from comfypod.cloud.transport import Transport
from comfypod.errors import AuthenticationFailed, CloudUnavailable, EndpointNotFound

LOCAL_KEY_VARIABLE = "COMFYPOD_LOCAL_API_KEY"
LOCAL_URL, LOCAL_ENDPOINT, LOCAL_KEY = "http://127.0.0.1:8000/v2", "local", "local"
"""What ``comfypod emulate runpod`` has if it is not told otherwise."""
_REFRESH_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0
# Where there is no terminal nothing is cut off at its width.
_WIDTH_WITHOUT_TERMINAL = 180
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Observer:
    """Asks an endpoint how it is; a context manager, to close its connections."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._client = Client(
            connection.endpoint_id, connection.api_key, connection.base_url, patience_seconds=_PATIENCE_SECONDS
        )
        root = connection.base_url.rstrip("/").removesuffix("/v2")
        self._emulator = Transport(Connection("emulator", connection.api_key, root))
        self._is_emulator = connection.base_url.rstrip("/") != RUNPOD_URL  # until it turns out not to be one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._emulator.close()
        self._client.close()

    def look(self) -> Mapping[str, Any]:
        """What the emulator tells of itself, or ``{"endpoint_id", "url", "health"}`` of RunPod.

        Raises:
            CloudError: it does not answer, or refuses the key; or there is no such endpoint.
            ProtocolViolation: the answer is none.
        """
        connection = self._connection
        if self._is_emulator and (state := self._state()):
            if state.get("endpoint_id") != connection.endpoint_id:  # it has one, and would show that
                raise EndpointNotFound(connection.url)
            return state
        self._is_emulator = False
        return {"endpoint_id": connection.endpoint_id, "url": connection.url, "health": dict(self._client.health())}

    def _state(self) -> dict[str, Any] | None:
        """The answer of GET /emulator/state; None where something else than our emulator answers."""
        url = f"{self._emulator.url}/state"
        try:
            answer = self._emulator.send("GET", "/state")
        except (NotSent, AnswerLost) as error:
            raise CloudUnavailable(url, str(error)) from error
        if answer.status == 401:
            raise AuthenticationFailed(url)
        if answer.status >= 500:
            raise CloudUnavailable(url, f"HTTP {answer.status}")
        document = answer.document() if answer.status == 200 else None
        return document if isinstance(document, dict) and document.get("emulated") is True else None


def observed_connection(
    endpoint_id: str | None, api_key: str | None, base_url: str | None, environment: Mapping[str, str] = os.environ
) -> Connection:
    """Where to look: what is given, else the environment's endpoint, else the local RunPod of this machine.

    Raises:
        ConfigurationError: something is malformed, or RunPod's key is missing.
    """
    endpoint_id = endpoint_id or environment.get(ENDPOINT_VARIABLE)
    base_url = base_url or environment.get(URL_VARIABLE) or (RUNPOD_URL if endpoint_id else LOCAL_URL)
    if _is_here(base_url):
        endpoint_id = endpoint_id or LOCAL_ENDPOINT
        api_key = api_key or environment.get(LOCAL_KEY_VARIABLE) or environment.get(KEY_VARIABLE) or LOCAL_KEY
    return find_connection(endpoint_id, api_key, base_url, environment)


def _is_here(base_url: str) -> bool:
    try:
        return urlsplit(base_url).hostname in _LOOPBACK
    except ValueError:
        return False


def show_top(connection: Connection, *, once: bool, as_json: bool) -> None:
    """Show the endpoint until Ctrl-C; once where that is asked for, or where nobody is at a terminal.

    Raises:
        CloudError: it cannot be asked. While it is being shown, one that is away is waited for.
    """
    console = Console()
    with Observer(connection) as observer:
        if as_json:
            write_json(observer.look())
        elif once or not console.is_terminal or console.is_dumb_terminal:
            if not console.is_terminal:
                console = Console(width=_WIDTH_WITHOUT_TERMINAL)
            console.print(picture(observer.look()))
        else:
            _show_live(observer, console)


def _show_live(observer: Observer, console: Console) -> None:
    document, problem = observer.look(), None
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(picture(document, lines=console.height, problem=problem), refresh=True)
                time.sleep(_REFRESH_SECONDS)
                try:
                    document, problem = observer.look(), None
                except CloudUnavailable as error:
                    problem = f"Not up to date: {error}"
    except KeyboardInterrupt:
        return
