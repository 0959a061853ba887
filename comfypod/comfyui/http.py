"""ComfyUI's HTTP interface: one method per call, every answer checked, every failure mapped in one place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from comfypod.comfyui.protocol import OutputFile
from comfypod.errors import ComfyUIUnavailable, PromptRejected, ProtocolViolation

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


class ComfyUIHTTP:
    """The calls of one ComfyUI at ``url``; ``timeout_seconds`` bounds each of them, but `submit_prompt`.

    Use it as an async context manager. All methods raise `ComfyUIUnavailable` when ComfyUI does not answer in time, and
    `ProtocolViolation` when it answers something else than its protocol allows.
    """

    def __init__(self, url: str, timeout_seconds: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def submit_prompt(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Queue a prompt and return the ``node_errors`` of outputs that ComfyUI will leave out.

        It has no timeout of its own, since validation may look through large folders: call it under a deadline.

        Raises:
            PromptRejected: ComfyUI refused all of it.
        """
        async with self._request("POST", "/prompt", "submit", json=body, timeout=_NO_TIMEOUT) as response:
            if response.status >= 500:
                # What its validation did not expect, for example a node that is null: its answer says nothing more.
                error = {"message": "ComfyUI's validation failed on it", "details": f"HTTP {response.status}"}
                raise PromptRejected(error, {})
            if response.status == 413:
                raise PromptRejected({"message": "it is too large", "details": await response.text()}, {})
            answer = await _json_object(response)
        if response.status != 200:
            raise PromptRejected(_mapping(answer.get("error")), _mapping(answer.get("node_errors")))
        return _mapping(answer.get("node_errors"))

    async def queued_ids(self) -> set[str]:
        """Ids of all prompts that run or wait."""
        answer = await self._get_json("/queue", "queue")
        try:  # [number, prompt_id, prompt, extra_data, output ids]
            return {str(item[1]) for item in [*answer["queue_running"], *answer["queue_pending"]]}
        except (KeyError, TypeError, IndexError) as error:
            raise ProtocolViolation("ComfyUI (GET /queue)", str(answer)[:200]) from error

    async def history(self, prompt_id: str) -> Mapping[str, Any]:
        """``{prompt_id: entry}``, or ``{}`` while the prompt has not ended."""
        return await self._get_json(f"/history/{prompt_id}", "history")

    async def system_stats(self) -> Mapping[str, Any]:
        """Version, arguments, memory."""
        return await self._get_json("/system_stats", "start")

    async def forget(self, prompt_id: str) -> None:
        """Delete a prompt's history entry: ComfyUI keeps 10,000 of them in memory, workflows included."""
        await self._post("/history", {"delete": [prompt_id]}, "forget")

    async def interrupt(self, prompt_id: str) -> None:
        """Ask the prompt to stop at its next step, if it is the one that runs."""
        await self._post("/interrupt", {"prompt_id": prompt_id}, "interrupt")

    async def delete_queued(self, prompt_id: str) -> None:
        """Remove the prompt from the queue, if it still waits there."""
        await self._post("/queue", {"delete": [prompt_id]}, "interrupt")

    async def upload_input(self, name: str, subfolder: str, content: bytes) -> str:
        """Store an input file and return the name by which nodes load it (``subfolder/name``)."""
        # quote_fields=False: else the file name arrives percent-encoded and is stored that way.
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("image", content, filename=name, content_type="application/octet-stream")
        form.add_field("subfolder", subfolder)
        form.add_field("overwrite", "true")
        async with self._request("POST", "/upload/image", "upload", data=form) as response:
            await _check(response)
            answer = await _json_object(response)
        if not isinstance(answer.get("name"), str):
            raise ProtocolViolation("ComfyUI (POST /upload/image)", str(answer)[:200])
        return f"{answer['subfolder']}/{answer['name']}" if answer.get("subfolder") else str(answer["name"])

    async def file_size(self, file: OutputFile) -> int:
        """Size of an output file in bytes, without fetching it."""
        async with self._request("HEAD", "/view", "fetch", params=_view_query(file)) as response:
            await _check(response)
            return response.content_length or 0

    async def fetch(self, file: OutputFile) -> bytes:
        """The content of an output file."""
        async with self._request("GET", "/view", "fetch", params=_view_query(file)) as response:
            await _check(response)
            return await response.read()

    async def _get_json(self, path: str, phase: str) -> dict[str, Any]:
        async with self._request("GET", path, phase) as response:
            await _check(response)
            return await _json_object(response)

    async def _post(self, path: str, body: Mapping[str, Any], phase: str) -> None:
        async with self._request("POST", path, phase, json=body) as response:
            await _check(response)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        phase: str,
        **options: Any,  # noqa: ANN401 (aiohttp's own)
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The one place where aiohttp's failures become ours."""
        if self._session is None:
            msg = "use ComfyUIHTTP as an async context manager"
            raise RuntimeError(msg)
        try:
            async with self._session.request(method, self.url + path, **options) as response:
                yield response
        except TimeoutError as error:
            cause = f"{method} {path} was not answered within {self._timeout.total:g} s"
            raise ComfyUIUnavailable(phase, cause) from error
        except aiohttp.ClientError as error:
            raise ComfyUIUnavailable(phase, f"{method} {path} failed ({error})") from error


def _view_query(file: OutputFile) -> dict[str, str]:
    return {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        text = (await response.text(errors="replace"))[:200]
        source = f"ComfyUI ({response.method} {response.url.path})"
        raise ProtocolViolation(source, f"HTTP {response.status} {text}".strip())


async def _json_object(response: aiohttp.ClientResponse) -> dict[str, Any]:
    raw = await response.read()
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        received = f"HTTP {response.status} {raw[:200].decode(errors='replace')}"
        raise ProtocolViolation(f"ComfyUI ({response.method} {response.url.path})", received)
    return answer


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 (foreign JSON)
    return value if isinstance(value, dict) else {}
