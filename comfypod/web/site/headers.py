"""What browsers are told to allow a page of ours, and a file that a workflow made. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

# Scripts, styles and everything else come from this server alone; pictures and sounds also from what the page itself
# holds (uploads before they are sent, a mask as it is painted).
_PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# A file that is opened by itself may show itself, and do nothing: it is nobody's page. Browsers put a picture or a film
# into a document of their own making, which has its looks from a style element.
_FILE_POLICY = (
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
)
_DENIED = (
    "accelerometer",
    "display-capture",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "payment",
    "usb",
)

ON_EVERYTHING: Mapping[str, str] = {
    "Content-Security-Policy": _PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": ", ".join(["camera=(self)", *(f"{name}=()" for name in _DENIED)]),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Each answer may have another value of one of them, and lacks none."""

SHOWN_TYPES = frozenset(
    {
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/opus",
        "audio/wav",
        "audio/webm",
        "audio/x-wav",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/plain",
        "video/mp4",
        "video/quicktime",
        "video/webm",
        "video/x-matroska",
    }
)
"""What a browser shows and never runs. Anything else is only saved."""
_UNKNOWN_TYPE = "application/octet-stream"
_NOT_IN_A_QUOTED_NAME = re.compile(r"[^A-Za-z0-9 ._()-]")


def of_file(filename: str, content_type: str, *, as_download: bool) -> dict[str, str]:
    """For a file that a workflow made or a visitor sent: shown where it is harmless, else saved.

    The name stands there twice: for all, and with its own letters (RFC 6266, section 4.3; RFC 8187).
    """
    known = content_type.partition(";")[0].strip().lower()
    is_shown = known in SHOWN_TYPES
    kind = "inline" if is_shown and not as_download else "attachment"
    plain = _NOT_IN_A_QUOTED_NAME.sub("_", filename)
    own = quote(filename, safe="", errors="replace")
    charset = "; charset=utf-8" if known == "text/plain" else ""
    return {
        "Content-Security-Policy": _FILE_POLICY,
        "Content-Type": f"{known}{charset}" if is_shown else _UNKNOWN_TYPE,
        "Content-Disposition": f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{own}",
        "Cache-Control": "private, no-cache",
    }
