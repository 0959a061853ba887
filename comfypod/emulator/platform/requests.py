"""What may be sent to an emulated RunPod endpoint: the limits, the body of /run and /runsync, and strict JSON. Pure.

Facts come from RunPod's documentation (docs.runpod.io, "Send API requests" and "Operation reference").
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

_DAY_SECONDS = 86_400.0
# Python reads JSON a little deeper than it writes it, and what cannot be written again could be given to no worker.
_DEEPEST = 500
_LONGEST_QUOTE = 40


class InvalidRequest(Exception):
    """The platform answers HTTP 400; the message says what is wrong and what is allowed."""


class NotEmulated(Exception):
    """The real platform has this, the emulator has not: HTTP 501."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the platform allows, in bytes and seconds; the defaults are RunPod's.

    A megabyte is read as 1,000,000 bytes: the documentation does not say which it means, and this is the stricter.
    """

    run_bytes: int = 10_000_000
    runsync_bytes: int = 20_000_000
    run_retention_seconds: float = 30 * 60.0
    runsync_retention_seconds: float = 60.0
    execution_seconds: float = 600.0
    minimum_execution_seconds: float = 5.0
    ttl_seconds: float = _DAY_SECONDS
    minimum_ttl_seconds: float = 10.0
    maximum_policy_seconds: float = 7 * _DAY_SECONDS
    # A job that no ping names for this long is lost. Not documented; 40 s were seen in a live capture.
    lost_job_seconds: float = 40.0
    # A worker that neither polls nor pings for this long is forgotten.
    silent_worker_seconds: float = 30.0
    # The largest chunk of a stream; larger text is split.
    stream_chunk_bytes: int = 1_000_000
    # How long a /stream without a chunk is held, unless ?wait= says otherwise.
    stream_wait_seconds: float = 10.0
    # A queue of more jobs than the first, and than the second for each worker there may be, refuses jobs: HTTP 429.
    queue_jobs: int = 50
    queue_jobs_per_worker: int = 500
    # The deadline of one try to deliver a webhook (not documented), and a factor that shortens the pauses between them.
    webhook_seconds: float = 10.0
    webhook_pause_factor: float = 1.0

    def bytes_of(self, *, sync: bool) -> int:
        """The largest body of a request, and of a result."""
        return self.runsync_bytes if sync else self.run_bytes

    def retention_of(self, *, sync: bool) -> float:
        """For how many seconds a job that has ended can be asked for."""
        return self.runsync_retention_seconds if sync else self.run_retention_seconds

    def ttl(self, milliseconds: object) -> float:
        """A valid time to live in seconds.

        Raises:
            InvalidRequest: it is no number, or outside the documented range.
        """
        return _seconds("ttl", milliseconds, self.minimum_ttl_seconds, self.maximum_policy_seconds)

    def execution(self, milliseconds: object) -> float:
        """A valid executionTimeout in seconds.

        Raises:
            InvalidRequest: it is no number, or outside the documented range.
        """
        shortest, longest = self.minimum_execution_seconds, self.maximum_policy_seconds
        return _seconds("policy.executionTimeout", milliseconds, shortest, longest)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The body of /run and /runsync."""

    input: Any
    execution_seconds: float
    ttl_seconds: float
    is_low_priority: bool = False
    webhook: str | None = None
    s3_config: Any = None
    # As it was sent.
    policy: dict[str, Any] | None = None

    @classmethod
    def parse(cls, document: dict[str, Any], limits: Limits) -> Self:
        """Read a decoded body. What the platform does not know either is ignored, ``webhookV2`` among it.

        Raises:
            InvalidRequest: there is no input, a policy is outside its documented range, or the webhook is no URL.
        """
        if document.get("input") is None:
            raise InvalidRequest('The body has no "input".')
        policy = document.get("policy")
        if policy is not None and not isinstance(policy, dict):
            raise InvalidRequest('"policy" must be an object.')
        wanted = policy or {}
        execution, ttl = wanted.get("executionTimeout"), wanted.get("ttl")
        is_low_priority = wanted.get("lowPriority") or False
        if not isinstance(is_low_priority, bool):
            raise InvalidRequest('"policy.lowPriority" must be true or false.')
        return cls(
            input=document["input"],
            execution_seconds=limits.execution_seconds if execution is None else limits.execution(execution),
            ttl_seconds=limits.ttl_seconds if ttl is None else limits.ttl(ttl),
            is_low_priority=is_low_priority,
            webhook=_webhook(document.get("webhook")),
            s3_config=document.get("s3Config"),
            policy=policy,
        )


def parse_object(raw: bytes) -> dict[str, Any]:
    """Decode a JSON object, strictly: no NaN, no Infinity, no number that becomes infinite.

    Raises:
        InvalidRequest: it is not that, or nested too deeply.
    """
    try:
        document = json.loads(raw, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if raw.count(b"[") + raw.count(b"{") > _DEEPEST and _is_deeper(document, _DEEPEST):
        raise InvalidRequest(f"The body is nested more than {_DEEPEST} deep.")
    return document


def _is_deeper(document: dict[str, Any], limit: int) -> bool:
    """Whether there is a list or an object within so many others."""
    level: list[Any] = [document]
    for _ in range(limit):
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return False
    return True


def _webhook(address: object) -> str | None:
    if address is None or address == "":
        return None
    if not isinstance(address, str):
        raise InvalidRequest('"webhook" must be a URL.')
    try:
        parts = urlsplit(address)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a host with an unclosed bracket
        is_url = False
    if not is_url:
        raise InvalidRequest('"webhook" must be a URL that begins with http:// or https://.')
    return address


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:_LONGEST_QUOTE]} is too large")
    return value


def _seconds(name: str, milliseconds: object, shortest: float, longest: float) -> float:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        raise InvalidRequest(f'"{name}" must be a number of milliseconds.')
    # Whole numbers of any size are compared; only then is one divided, which a very large one cannot be.
    if not shortest * 1000 <= milliseconds <= longest * 1000:
        raise InvalidRequest(f'"{name}" must be from {shortest * 1000:.0f} to {longest * 1000:.0f} ms.')
    return milliseconds / 1000
