"""Files at the addresses that a job's output names."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from comfypod.errors import CloudUnavailable

BLOCK_BYTES = 1024 * 1024
SILENCE_SECONDS = 30.0
"""A bucket that says nothing for so long is given up."""


def fetched_blocks(url: str) -> Iterator[bytes]:
    """The content at an address, which may hold a signature and so is not shown whole.

    Raises:
        CloudUnavailable: it is not to be had.
    """
    shown = urlsplit(url)._replace(query="").geturl()
    try:
        with requests.get(url, stream=True, timeout=SILENCE_SECONDS) as answer:
            if answer.status_code != 200:
                raise CloudUnavailable(shown, f"HTTP {answer.status_code}; the address may have expired")
            yield from answer.iter_content(BLOCK_BYTES)
    except requests.RequestException as error:
        raise CloudUnavailable(shown, f"the connection failed ({type(error).__name__})") from error
