"""The body of an answer as it arrives, however slowly, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests

BLOCK_BYTES = 64 * 1024


def arriving_blocks(response: requests.Response, seconds: float) -> Iterator[bytes]:
    """What has arrived, piece by piece; the response must be a stream.

    ``Response.iter_content`` waits until a whole block is there, so a server that sends a byte now and then could not
    be given up: no read of it takes long enough for the socket's timeout.

    Raises:
        requests.Timeout: the whole body takes longer than ``seconds``.
        urllib3.exceptions.HTTPError: the connection broke off, or what came cannot be decoded.
    """
    ends_at = time.monotonic() + seconds
    while block := response.raw.read1(BLOCK_BYTES, decode_content=True):
        yield block
        if time.monotonic() > ends_at:
            raise requests.Timeout(f"the answer took longer than {seconds:g} s")
