"""Files at the addresses that a job's output names."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from comfypod.cloud.arriving import arriving_blocks
from comfypod.errors import CloudUnavailable, ProtocolViolation

SILENCE_SECONDS = 30.0
"""A bucket that says nothing for so long is given up."""
LONGEST_FETCH_SECONDS = 3600.0
"""The longest wait for a whole file."""


def fetched_blocks(url: str) -> Iterator[bytes]:
    """The content at an address, which may hold a signature and so is not shown whole.

    Raises:
        CloudUnavailable: it is not to be had.
        ProtocolViolation: this is no address.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ProtocolViolation("The worker", "a file's address that is none") from error
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    try:
        with requests.get(url, stream=True, timeout=SILENCE_SECONDS) as answer:
            if answer.status_code != 200:
                raise CloudUnavailable(shown, f"HTTP {answer.status_code}; the address may have expired")
            yield from arriving_blocks(answer, LONGEST_FETCH_SECONDS)
    except (requests.RequestException, HTTPError) as error:
        raise CloudUnavailable(shown, f"the connection failed ({type(error).__name__})") from error
