"""What stands in a bucket under a request's key: ``lease.json`` and ``result.json``. Pure.

::

    once/KEY/lease.json             who is at it
    once/KEY/result.json            what came of it; written once, and never again
    once/KEY/files/SHA256-NAME      the files that it names
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from comfypod.errors import ProtocolViolation
from comfypod.schema.job import PLAIN_KEY

ROOT = "once"
CLOCK_KEY = f"{ROOT}/clock"
"""Written to see what time it is at the store."""
VERSION = 1
_KINDS = ("images", "files")
Document = TypeVar("Document")


def folder_of(key: str) -> str:
    """Where all that belongs to a request's key is; ``key`` has the form of an ``idempotency_key``.

    Raises:
        ValueError: it has not, and might lead elsewhere.
    """
    if not re.fullmatch(PLAIN_KEY, key) or key in {".", ".."}:
        msg = f"{key[:100]!r} cannot be the key of a request"
        raise ValueError(msg)
    return f"{ROOT}/{key}"


def lease_key(key: str) -> str:
    """The lease's place."""
    return f"{folder_of(key)}/lease.json"


def result_key(key: str) -> str:
    """The result's place."""
    return f"{folder_of(key)}/result.json"


def files_folder(key: str) -> str:
    """Where the files of all runs lie: under names that their content makes, so that none replaces another's."""
    return f"{folder_of(key)}/files"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs a job. ``token`` is this one run's own: a job that is delivered twice has two runs of one job id."""

    job_id: str
    worker_id: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class LeaseDocument:
    """``lease.json``. It is worth something for ``seconds`` after the store has taken it.

    ``renewals`` makes each version another one: with many stores an ETag is a hash of the content.
    """

    job_id: str
    worker_id: str
    token: str
    seconds: float
    renewals: int = 0
    is_released: bool = False

    def to_bytes(self) -> bytes:
        """The document as JSON."""
        return _encoded({"version": VERSION, **asdict(self)})

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> LeaseDocument:
        """Read it. Raises `ProtocolViolation`."""
        return _decoded(content, source, _lease)


@dataclass(frozen=True, slots=True)
class Committed:
    """``result.json``: the one result of a request.

    ``output`` is the job's output; its files have ``bucket_key`` and no ``data``. See `Commits.outputs`.
    """

    key: str
    job_id: str
    worker_id: str
    token: str
    committed_at: datetime
    output: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The document as JSON."""
        moment = self.committed_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        names = {"key": self.key, "job_id": self.job_id, "worker_id": self.worker_id, "token": self.token}
        return _encoded({"version": VERSION, **names, "committed_at": moment, "output": self.output})

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> Committed:
        """Read it. Raises `ProtocolViolation`."""
        return _decoded(content, source, _committed)


def without_addresses(output: Mapping[str, Any]) -> dict[str, Any]:
    """A job's output as it is kept: addresses expire, and let everybody in who has one."""

    def kept(artifact: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in artifact.items() if name not in {"data", "url_expires_at"}}

    return _with_artifacts(output, kept)


def with_addresses(output: Mapping[str, Any], url: Callable[[str], tuple[str, datetime | None]]) -> dict[str, Any]:
    """A kept output as it is told: with an address for every file, as ``url`` makes one of its key."""

    def told(artifact: Mapping[str, Any]) -> dict[str, Any]:
        address, expires_at = url(artifact["bucket_key"])
        moment = expires_at.isoformat(timespec="seconds").replace("+00:00", "Z") if expires_at else None
        return {**artifact, "type": "s3_url", "data": address} | ({"url_expires_at": moment} if moment else {})

    return _with_artifacts(output, told)


def _with_artifacts(output: Mapping[str, Any], change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    return {
        **output,
        **{kind: [change(artifact) for artifact in output[kind]] for kind in _KINDS if output.get(kind)},
    }


def _lease(document: Mapping[str, Any]) -> LeaseDocument:
    return LeaseDocument(
        job_id=str(document["job_id"]),
        worker_id=str(document["worker_id"]),
        token=str(document["token"]),
        seconds=float(document["seconds"]),
        renewals=int(document["renewals"]),
        is_released=document["is_released"] is True,
    )


def _committed(document: Mapping[str, Any]) -> Committed:
    output = document["output"]
    artifacts = [artifact for kind in _KINDS for artifact in output.get(kind) or ()]
    if not all(isinstance(artifact["bucket_key"], str) for artifact in artifacts):
        raise TypeError
    return Committed(
        key=str(document["key"]),
        job_id=str(document["job_id"]),
        worker_id=str(document["worker_id"]),
        token=str(document["token"]),
        committed_at=datetime.fromisoformat(document["committed_at"]),
        output=output,
    )


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def _decoded(content: bytes, source: str, understand: Callable[[Mapping[str, Any]], Document]) -> Document:
    try:
        return understand(_of_this_version(json.loads(content)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolViolation(source, content[:100].decode("utf-8", "replace")) from error


def _of_this_version(document: Mapping[str, Any]) -> Mapping[str, Any]:
    if document["version"] != VERSION:
        msg = "it was written by another version"
        raise ValueError(msg)
    return document
