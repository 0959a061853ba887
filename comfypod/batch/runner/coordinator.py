"""The coordinator of the batch, as a pod speaks to it: see ``docs/reference/batch-protocol.md``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, ValidationError

from comfypod.batch.documents import Condition, Orders, Pulse, Record, Welcome, Work
from comfypod.batch.runner.environment import PodEnvironment
from comfypod.errors import CoordinatorRefused, CoordinatorUnavailable

ANSWER_SECONDS: Final = 20.0
ANSWER_LIMIT_BYTES: Final = 64 * 1024**2
_FINAL: Final = frozenset({401, 403, 404, 410})
"""A wrong token, an unknown pod, one that has ended or whose batch is over."""

Answer = TypeVar("Answer", bound=BaseModel)


class Taken(BaseModel):
    """What became of records, by identifier; ``already``: another pod's came first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    accepted: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Coordinator:
    """Asks once per call: who calls decides whether to ask again. Use it as an async context manager.

    All methods raise `CoordinatorUnavailable` where it does not answer as it should, and `CoordinatorRefused` where it
    will not have this pod (any more).
    """

    def __init__(self, pod: PodEnvironment) -> None:
        self._base = f"{pod.url}/v1/pods/{pod.pod}"
        self._headers = {"Authorization": f"Bearer {pod.token}", "User-Agent": "comfypod"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def hello(self, condition: Condition) -> Welcome:
        """Say how this pod is; may be said again."""
        return await self._post("hello", condition.model_dump(mode="json"), Welcome)

    async def lease(self, items: int, present: Collection[str], made: int) -> Work:
        """Ask for what to make next; ``made`` of what is leased are made, and only to be sent or told."""
        return await self._post("lease", {"items": items, "present": sorted(present), "made": made}, Work)

    async def records(self, records: Sequence[Record]) -> Taken:
        """Tell how items ended; telling one again changes nothing."""
        return await self._post("records", {"records": [record.model_dump(mode="json") for record in records]}, Taken)

    async def pulse(self, pulse: Pulse) -> Orders:
        """Say how far this pod is, which renews its leases."""
        return await self._post("pulse", pulse.model_dump(mode="json"), Orders)

    async def bye(self, reason: str, spool_items: int) -> None:
        """Say that this pod ends, and how many results it leaves unsent."""
        await self._post("bye", {"reason": reason, "spool_items": spool_items}, Taken)

    async def _post(self, name: str, body: dict[str, Any], kind: type[Answer]) -> Answer:
        status, content = await self._send(name, body)
        if status in _FINAL:
            raise CoordinatorRefused(f"HTTP {status} for {name}: {_message(content)}")
        if status != 200:
            raise CoordinatorUnavailable(f"HTTP {status} for {name}: {_message(content)}")
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, problem["loc"]))
            raise CoordinatorUnavailable(f"its answer to {name} is not valid ({place}: {problem['msg']})") from error

    async def _send(self, name: str, body: dict[str, Any]) -> tuple[int, bytes]:
        if self._session is None:
            msg = "use Coordinator as an async context manager"
            raise RuntimeError(msg)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with self._session.post(
                f"{self._base}/{name}", json=body, timeout=timeout, allow_redirects=False
            ) as response:
                return response.status, await _body(response)
        except TimeoutError as error:
            raise CoordinatorUnavailable(f"no answer to {name} within {ANSWER_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CoordinatorUnavailable(f"it cannot be reached for {name} ({type(error).__name__})") from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for block in response.content.iter_any():
        content += block
        if len(content) > ANSWER_LIMIT_BYTES:
            raise CoordinatorUnavailable("its answer is too long")
    return bytes(content)


class _Problem(BaseModel):
    code: str = ""
    message: str = ""


class _Refusal(BaseModel):
    error: _Problem = _Problem()


def _message(content: bytes) -> str:
    """The sentence of ``{"error": {"code", "message", "retryable"}}``, as far as there is one."""
    try:
        return _Refusal.model_validate_json(content).error.message[:300] or "it says no more"
    except ValidationError:
        return "it says no more"
