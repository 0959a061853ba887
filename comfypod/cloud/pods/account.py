"""Whose pods: the key, and where RunPod's API of pods is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from comfypod.cloud.configuration import find_key, url_problems
from comfypod.errors import ConfigurationError

RUNPOD_API_URL = "https://api.runpod.io"
"""Of REST v2 (below ``/v2``) and of GraphQL (at ``/graphql``)."""
URL_VARIABLE = "RUNPOD_API_BASE_URL"
"""runpod-python 1.12.0 reads it for GraphQL (``api/graphql.py``)."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where, and with which key."""

    url: str
    api_key: str = field(repr=False)


def find_account(
    api_key: str | None = None, url: str | None = None, environment: Mapping[str, str] = os.environ
) -> Account:
    """What is given, else what the environment has, else (the key) what RunPod's configuration file has.

    Raises:
        ConfigurationError: there is no key, or the address is none.
    """
    key, problems = find_key(api_key, environment)
    address = (url or environment.get(URL_VARIABLE) or RUNPOD_API_URL).rstrip("/")
    problems = [*problems, *url_problems(address, URL_VARIABLE, RUNPOD_API_URL)]
    if problems:
        raise ConfigurationError(problems)
    return Account(address, key)
