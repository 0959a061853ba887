"""Hugging Face, through huggingface_hub in a child process: metadata of a file, and the Hub's fast path (Xet)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ModelFetchFailed, ModelSourceUnavailable
from comfypod.retry import backoff_seconds
from comfypod.storage.models.files import discard_folder
from comfypod.storage.models.manifest import ModelEntry

HUB_URL = "https://huggingface.co"
METADATA_SECONDS = 10.0
METADATA_ATTEMPTS = 4
STALL_SECONDS = 120.0
"""So long may the fast path go without a byte on the disk."""

_CHILD = Path(__file__).with_name("hub_child.py")
_DEFAULTS = {"HF_XET_HIGH_PERFORMANCE": "1"}
"""What the operator may set otherwise: this one takes much memory and all cores."""
_SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_XET_TELEMETRY_ENABLED": "0",
    "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",  # a second copy of every model, on the container's own disk
    "PYTHONUNBUFFERED": "1",
}
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


class FastPathFailed(ComfyPodError):
    """The Xet download did not end well; the file can still be had by plain HTTP."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file at one commit; ``sha256`` is None for the small files that git holds itself."""

    repository: str
    file: str
    commit: str
    url: str
    sha256: str | None
    size_bytes: int | None
    xet: bool


class Hub:
    """A Hub: the public one, or HF_ENDPOINT's. HF_HUB_DISABLE_XET turns its fast path off."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.endpoint = environment.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB_URL
        self._xet_allowed = environment.get("HF_HUB_DISABLE_XET", "").upper() not in _TRUE

    def has_fast_path(self, file: HubFile) -> bool:
        """Whether the file can come by Xet."""
        return self._xet_allowed and file.xet and importlib.util.find_spec("hf_xet") is not None

    async def look_up(self, entry: ModelEntry, token: str | None, deadline: Deadline) -> HubFile:
        """Ask for the file's commit, size and SHA-256.

        Raises:
            ModelFetchFailed: there is no such file, or the token does not suffice; the message says what to do.
            ModelSourceUnavailable: the Hub does not answer.
        """
        file = entry.file or entry.name
        request = self._request(entry, token, entry.revision or "main") | {"timeout": METADATA_SECONDS}
        pauses = backoff_seconds()
        for attempt in range(1, METADATA_ATTEMPTS + 1):
            try:
                answer = await self._ask(request, deadline, deadline.sooner(METADATA_SECONDS * 3))
            except _HubError as error:
                problem = _explain(entry, error, self.endpoint, has_token=token is not None)
                if not problem.retryable or attempt == METADATA_ATTEMPTS:
                    raise problem from error
                await asyncio.sleep(deadline.sooner(next(pauses)))
                continue
            return HubFile(str(entry.repository), file, **answer)
        raise AssertionError

    async def download(
        self,
        file: HubFile,
        token: str | None,
        target: Path,
        folder: Path,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Fetch the file by Xet to ``target``; ``folder``, on the same disk, is for the work and gone afterwards.

        The child is killed when this is cancelled. What it had is lost then: huggingface_hub does not go on from a
        broken-off Xet download.

        Raises:
            FastPathFailed: the child failed, or stood still for `STALL_SECONDS`.
        """
        request = {
            "repository": file.repository,
            "file": file.file,
            "revision": file.commit,
            "token": token,
            "endpoint": self.endpoint,
            "folder": str(folder),
        }
        try:
            async with self._child(request) as answers:
                answer = await _last_answer(answers, STALL_SECONDS, on_bytes)
            await asyncio.to_thread(Path(answer["path"]).replace, target)
        except (_HubError, OSError) as error:
            raise FastPathFailed(str(error)) from error
        finally:
            await asyncio.to_thread(discard_folder, folder)

    def _request(self, entry: ModelEntry, token: str | None, revision: str) -> dict[str, Any]:
        return {
            "repository": entry.repository,
            "file": entry.file or entry.name,
            "revision": revision,
            "token": token,
            "endpoint": self.endpoint,
        }

    async def _ask(self, request: Mapping[str, Any], deadline: Deadline, seconds: float) -> dict[str, Any]:
        async with deadline.enforce("looking a model up"), self._child(request) as answers:
            return await _last_answer(answers, seconds, lambda _: None)

    @asynccontextmanager
    async def _child(self, request: Mapping[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
        """A child with its request; it is killed at the end, whatever state it is in."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # its folder must not be where it imports from
            str(_CHILD),
            env={**_DEFAULTS, **self._environment, **_SWITCHES, **_work_folder(request)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # its messages may quote signed addresses
        )
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 (both were asked for)
        try:
            # The token goes through the pipe: arguments can be read by every process of the machine.
            child.stdin.write(json.dumps(request).encode() + b"\n")
            await child.stdin.drain()
            yield child.stdout
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _HubError("ChildDied", None) from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


def _work_folder(request: Mapping[str, Any]) -> dict[str, str]:
    """Where the fast path keeps its logs and whatever else: not in ``~/.cache``, where they would stay in an image."""
    return {"HF_XET_CACHE": f"{request['folder']}/.cache/xet"} if "folder" in request else {}


@dataclass(eq=False)
class _HubError(ComfyPodError):
    """``kind`` is the name of huggingface_hub's or httpx2's exception; ``status`` the answer's, if there was one."""

    kind: str
    status: int | None

    def __str__(self) -> str:
        return self.kind if self.status is None else f"{self.kind} (HTTP {self.status})"


async def _last_answer(
    answers: asyncio.StreamReader, silence_seconds: float, on_bytes: Callable[[int], None]
) -> dict[str, Any]:
    while True:
        try:
            async with asyncio.timeout(silence_seconds):
                line = await answers.readline()
        except TimeoutError as error:
            raise _HubError("Timeout", None) from error
        answer = _parsed(line)
        if "error" in answer:
            raise _HubError(str(answer["error"]["kind"]), answer["error"]["status"])
        if "result" in answer:
            result: dict[str, Any] = answer["result"]
            return result
        on_bytes(int(answer["received"]))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(line)
    except ValueError as error:  # nothing, or half a line: it is gone
        raise _HubError("ChildDied", None) from error
    return answer


def _explain(entry: ModelEntry, error: _HubError, endpoint: str, *, has_token: bool) -> ModelFetchFailed:
    """The Hub's refusals, which say 401 for what is not there as well as for what is not allowed."""
    where, variable = f"{endpoint}/{entry.repository}", entry.token_variable
    token = f"the token in {variable} may not read it" if has_token else f"put a token that may read it in {variable}"
    explanations = {
        "GatedRepoError": f"{where} is gated: accept its conditions there with your account; {token}",
        "RepositoryNotFoundError": f"there is no {where}, or it is private: {token}",
        "RevisionNotFoundError": f"{where} has no revision {entry.revision!r}",
        "RemoteEntryNotFoundError": f"{where} has no file {entry.file or entry.name!r} at {entry.revision or 'main'!r}",
        "DisabledRepoError": f"{where} has been disabled",
        "NotInstalled": "huggingface_hub is not installed: pip install 'comfypod[worker]'",
        "HFValidationError": f"{entry.repository!r} is no name that a repository can have",
    }
    if error.kind in explanations:
        return ModelFetchFailed(entry.name, explanations[error.kind])
    if error.status in {401, 403}:
        return ModelFetchFailed(entry.name, f"{where} refuses to answer (HTTP {error.status}); {token}")
    if error.status is None or error.status == 429 or error.status >= 500:
        return ModelSourceUnavailable(entry.name, f"{endpoint} does not answer ({error})")
    return ModelFetchFailed(entry.name, f"{where} answered HTTP {error.status}")
