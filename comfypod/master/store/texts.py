"""What may be written: sizes and characters, before anything is. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from comfypod.errors import InvalidRequest
from comfypod.master.documents import NewRequest, canonical
from comfypod.master.fairness import PRIORITIES

MAXIMUM_INPUT_BYTES: Final = 8 * 2**20  # RunPod takes 10 MB
MAXIMUM_ORIGIN_BYTES: Final = 64 * 2**10
MAXIMUM_NOTIFY_BYTES: Final = 64 * 2**10
MAXIMUM_LABELS: Final = 64
MAXIMUM_LABELS_BYTES: Final = 32 * 2**10
MAXIMUM_NAME: Final = 200
MAXIMUM_IDEMPOTENCY_KEY: Final = 300


def check(new: NewRequest) -> None:
    """Refuse what cannot be kept.

    Raises:
        InvalidRequest: something is too large, or is no text that a database takes.
    """
    check_name("tenant", new.tenant)
    check_name("user", new.user)
    check_name("idempotency key", new.idempotency_key, MAXIMUM_IDEMPOTENCY_KEY)
    if new.trace_id is not None:
        check_name("trace id", new.trace_id)
    if new.priority not in PRIORITIES:
        raise InvalidRequest(f"The priority must be one of {', '.join(PRIORITIES)}")
    if new.timeout_seconds is not None and not 0 < new.timeout_seconds < 10**9:
        raise InvalidRequest("The timeout must be a number of seconds above 0")
    if len(new.labels) > MAXIMUM_LABELS:
        raise InvalidRequest(f"A request may have at most {MAXIMUM_LABELS} labels")
    check_size("The job's input", new.job_input, MAXIMUM_INPUT_BYTES)
    check_size("The labels", new.labels, MAXIMUM_LABELS_BYTES)
    check_size("The origin", new.origin, MAXIMUM_ORIGIN_BYTES)
    check_size("The notifications", [item.to_json() for item in new.notify], MAXIMUM_NOTIFY_BYTES)


def check_name(what: str, text: str, limit: int = MAXIMUM_NAME) -> None:
    """Refuse a name that is empty, too long, or has what a database or a log does not bear.

    Raises:
        InvalidRequest: it does; ``what`` is a noun for the sentence.
    """
    if not 0 < len(text) <= limit or not text.isprintable():  # half surrogates and NUL are not printable
        raise InvalidRequest(f"The {what} must be 1 to {limit} printable characters")


def check_size(what: str, document: object, limit: int) -> None:
    """Refuse a document that is too large, or that JSON does not know.

    Raises:
        InvalidRequest: it is; ``what`` begins the sentence.
    """
    size = len(canonical(document))
    if size > limit:
        raise InvalidRequest(f"{what} may have at most {limit:,} bytes of JSON, and has {size:,}")


def storable(document: Any) -> Any:  # noqa: ANN401 (any JSON)
    """What a worker sent, as JSON: it may not keep a request from ending that something in it is no number."""
    return json.loads(json.dumps(document, default=str), parse_constant=lambda _: None)
