"""Which headers a proxy passes on. Pure."""

from __future__ import annotations

from collections.abc import Collection

from multidict import CIMultiDict, CIMultiDictProxy

# RFC 9110, section 7.6.1: they speak of one connection, not of the message. "Expect" has been answered already.
_OF_THE_CONNECTION = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def passed_on(headers: CIMultiDictProxy[str], without: Collection[str] = ()) -> CIMultiDict[str]:
    """The headers of the message; without those of the connection, those it names itself, and those in ``without``."""
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    dropped = _OF_THE_CONNECTION | named | {name.lower() for name in without}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)
