"""What a generator handler has yielded and no client has fetched yet. Pure.

docs.runpod.io, "Operation reference": a chunk holds at most 1 MB, and larger output is split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfypod.emulator.platform.requests import InvalidRequest


@dataclass(slots=True)
class StreamBuffer:
    """The chunks of one job, each handed out once; ``first`` is the number of the oldest that is still here."""

    first: int = 0
    chunks: list[Any] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The number of the next chunk that arrives."""
        return self.first + len(self.chunks)

    def drain(self) -> list[Any]:
        """Take every chunk out. If they do not reach the client, call `put_back`."""
        drained, self.chunks = self.chunks, []
        self.first += len(drained)
        return drained

    def put_back(self, chunks: Sequence[Any]) -> None:
        """Chunks that nobody received are the next to be handed out."""
        self.chunks[:0] = chunks
        self.first -= len(chunks)


def chunks_of(output: object, limit_bytes: int) -> list[Any]:
    """One yielded value as chunks of at most ``limit_bytes``: text is split, between characters.

    How the platform splits what is no text is not documented; such a value is refused.

    Raises:
        InvalidRequest: it is no text, and too large.
    """
    if isinstance(output, str):
        return list(_split(output, limit_bytes)) or [output]
    size = len(json.dumps(output, ensure_ascii=False).encode(errors="surrogatepass"))
    if size > limit_bytes:
        raise InvalidRequest(f"A chunk of {size} bytes is larger than {limit_bytes} bytes, and only text is split.")
    return [output]


def _split(text: str, limit_bytes: int) -> Iterator[str]:
    encoded = text.encode(errors="surrogatepass")
    start = 0
    while start < len(encoded):
        end = min(start + limit_bytes, len(encoded))
        # A byte 0b10xxxxxx continues a character: step back to its first byte.
        while start < end < len(encoded) and encoded[end] & 0xC0 == 0x80:
            end -= 1
        if end == start:  # the limit is below one character: a whole one all the same
            end += 1
            while end < len(encoded) and encoded[end] & 0xC0 == 0x80:
                end += 1
        yield encoded[start:end].decode(errors="surrogatepass")
        start = end
