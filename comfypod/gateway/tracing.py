"""One name for everything that is done for one call: W3C Trace Context. Pure.

A caller's trace goes on (https://www.w3.org/TR/trace-context/#traceparent-header); without one, a new one begins.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE = "0" * 32


def trace_id_of(headers: Mapping[str, str]) -> str:
    """The 32 hexadecimal digits of the caller's trace, or of a new one."""
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip())
    if match and match.group(1) != _NO_TRACE:
        return match.group(1)
    return secrets.token_hex(16)
