"""What REST v2 answers in place of success: ``application/problem+json`` (`ErrorResponse` of its openapi.json)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
"""Word for word (docs.runpod.io); REST v2 answers it with 400 and no code of its own."""
HOST_FULL = "There are not enough free GPUs on the host machine to start this pod."


class Problem(Exception):
    """A request is refused."""

    def __init__(self, status: int, detail: str, errors: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


def problem_response(status: int, detail: str, errors: Sequence[str] = ()) -> web.Response:
    """The answer to a refused request."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    document = {"title": title, "status": status, "detail": detail, **({"errors": list(errors)} if errors else {})}
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.Response(
        status=status, text=json.dumps(document), content_type="application/problem+json", headers=headers
    )
