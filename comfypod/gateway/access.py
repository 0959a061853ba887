"""Who asks: the tenant whose key a request brings, and the trace that it belongs to."""

from __future__ import annotations

from aiohttp import hdrs, web

from comfypod.errors import Unauthorized
from comfypod.gateway.desk import Desk
from comfypod.master.records import Tenant

_TENANT = web.RequestKey("tenant", Tenant)
TRACE_ID = web.RequestKey("trace_id", str)
DESK = web.AppKey("desk", Desk)
LONGEST_SECRET = 200
_PROTECTED = ("/api/", "/v2/")
OPEN_PATHS = frozenset({"/api/v2/openapi.json"})


async def admit(request: web.Request) -> None:
    """See that whoever asks for what belongs to a tenant has one of the tenant's keys.

    Raises:
        Unauthorized: there is no key, or it is nobody's.
    """
    if not request.path.startswith(_PROTECTED) or request.path in OPEN_PATHS:
        return
    secret = _secret(request)
    # The store knows hashes of keys only, and looks one up by its hash: how long that takes tells nothing of any key.
    desk = request.app[DESK]
    tenant = await desk.ask(desk.store.tenant_of, secret) if secret else None
    if tenant is None:
        raise Unauthorized
    request[_TENANT] = tenant


def tenant_of(request: web.Request) -> Tenant:
    """Who asks."""
    return request[_TENANT]


def is_admitted(request: web.Request) -> bool:
    """Whether it is known who asks."""
    return _TENANT in request


def _secret(request: web.Request) -> str | None:
    """RunPod takes its keys with and without ``Bearer`` before them, and so do we."""
    header = request.headers.get(hdrs.AUTHORIZATION, "")
    scheme, _, secret = header.partition(" ")
    given = (secret if scheme.lower() == "bearer" else header).strip()
    return given if given.isascii() and 0 < len(given) <= LONGEST_SECRET else None
