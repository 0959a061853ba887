"""What pods send, checked, and in which form they are answered. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfypod.batch.documents import Record
from comfypod.errors import (
    BatchNotFound,
    ComfyPodError,
    InvalidRequest,
    PodEnded,
    PodNotFound,
    StoreUnavailable,
)

MOST_LEASED: Final = 1000
MOST_RECORDS: Final = 500
MOST_KEYS: Final = 20_000
POD_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")

Key = Annotated[str, Field(max_length=500)]


class Call(BaseModel):
    """A body; what is in it and is not known is left alone, so that newer pods are understood."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LeaseCall(Call):
    """``POST pods/NAME/lease``."""

    items: int = Field(ge=0, le=MOST_LEASED)
    present: tuple[Key, ...] = Field(default=(), max_length=MOST_KEYS)
    made: int = Field(default=0, ge=0)
    """Of what the pod has leased: made, and not recorded yet."""


class RecordsCall(Call):
    """``POST pods/NAME/records``."""

    records: tuple[Record, ...] = Field(max_length=MOST_RECORDS)


class ByeCall(Call):
    """``POST pods/NAME/bye``."""

    reason: str = Field(default="", max_length=2000)
    spool_items: int = Field(default=0, ge=0)


Body = TypeVar("Body", bound=BaseModel)


def parsed(kind: type[Body], body: bytes) -> Body:
    """A body as the document that it is to be.

    Raises:
        InvalidRequest: it is none; the first problem is named with its place.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the body"
        raise InvalidRequest(f"{place[:200]}: {problem['msg']}") from error


_STATUSES: Final[tuple[tuple[type[ComfyPodError], int], ...]] = (
    (PodNotFound, 404),
    (PodEnded, 410),
    (BatchNotFound, 410),
    (InvalidRequest, 400),
    (StoreUnavailable, 503),
)


def status_of(error: ComfyPodError) -> int:
    """The status that an error is answered with."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def refusal(code: str, message: str, *, retryable: bool = False) -> Mapping[str, Any]:
    """The body of every answer that is an error."""
    return {"error": {"code": code, "message": message, "retryable": retryable}}
