"""Where the client gets its endpoint, its key and its address from, if a program does not name them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from comfypod.errors import ConfigurationError

RUNPOD_URL = "https://api.runpod.ai/v2"
ENDPOINT_VARIABLE = "RUNPOD_ENDPOINT_ID"
KEY_VARIABLE = "RUNPOD_API_KEY"
URL_VARIABLE = "RUNPOD_ENDPOINT_BASE_URL"
KEY_FILE = Path(".runpod", "config.toml")
"""Below the home folder. ``runpod config`` writes it (runpod-python 1.12.0, cli/groups/config/functions.py)."""

_PLAIN_ENDPOINT = re.compile(r"[A-Za-z0-9_-]{1,200}")
_PLAIN_KEY = re.compile(r"[!-~]+")
"""What a header can carry; the HTTP library's own complaint about another key would show it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One endpoint, and the key to it."""

    endpoint_id: str
    api_key: str = field(repr=False)
    base_url: str

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return f"{self.base_url.rstrip('/')}/{self.endpoint_id}"


def find_connection(
    endpoint_id: str | None, api_key: str | None, base_url: str | None, environment: Mapping[str, str] = os.environ
) -> Connection:
    """What is given, else what the environment has, else (the key) what RunPod's configuration file has.

    Raises:
        ConfigurationError: something is missing or malformed; every problem at once, and never the key itself.
    """
    key, key_problems = find_key(api_key, environment)
    connection = Connection(
        endpoint_id or environment.get(ENDPOINT_VARIABLE) or "",
        key,
        base_url or environment.get(URL_VARIABLE) or RUNPOD_URL,
    )
    problems = [*_endpoint_problems(connection), *key_problems, *url_problems(connection.base_url, URL_VARIABLE)]
    if problems:
        raise ConfigurationError(problems)
    return connection


def find_key(given: str | None, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """The key that is given, else the environment's, else the file's; and why there is none that can be used."""
    key = (given or environment.get(KEY_VARIABLE) or "").strip()
    try:
        key = key or _key_of_file()
    except ConfigurationError as error:
        return "", list(error.problems)
    if not _PLAIN_KEY.fullmatch(key):
        return key, [f"The API key ({KEY_VARIABLE}) has characters that no key has; copy it again."]
    return key, []


def _key_of_file() -> str:
    """The key of the profile ``default``.

    Raises:
        ConfigurationError: there is none.
    """
    import tomllib  # noqa: PLC0415 (most have the key in the environment)

    path = Path.home() / KEY_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = {}
    except (OSError, ValueError) as error:  # its own words may quote the line with the key
        raise ConfigurationError([f"{path} cannot be read as TOML; write it anew with: runpod config"]) from error
    profile = document.get("default")
    key = profile.get("api_key") if isinstance(profile, dict) else None
    if not isinstance(key, str) or not key.strip():
        raise ConfigurationError(
            [f"There is no API key: set {KEY_VARIABLE}, or run: runpod config (it writes ~/{KEY_FILE})."]
        )
    return key.strip()


def _endpoint_problems(connection: Connection) -> list[str]:
    if not connection.endpoint_id:
        return [f"There is no endpoint: set {ENDPOINT_VARIABLE}, or name one."]
    if not _PLAIN_ENDPOINT.fullmatch(connection.endpoint_id):
        return [f"The endpoint id {connection.endpoint_id[:100]!r} is none: it has letters, digits, - and _ only."]
    return []


def url_problems(base_url: str, variable: str, example: str = RUNPOD_URL) -> list[str]:
    """Why an address, which ``variable`` may hold, cannot be one to send the key to."""
    try:
        parts = urlsplit(base_url)
        is_sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound:
        return [f"The base URL {base_url[:200]!r} is not an http or https address such as {example}."]
    if parts.username or parts.password or parts.query or parts.fragment:
        return [f"The base URL ({variable}) must have no user, password or query; the key goes to {KEY_VARIABLE}."]
    return []
