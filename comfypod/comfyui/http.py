"""ComfyUI's HTTP interface: one method per call, every answer checked, every failure mapped in one place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from comfypod.comfyui.outputs import OutputFile
from comfypod.errors import (
    ComfyUIUnavailable,
    ComfyUIUnresponsive,
    InputFetchFailed,
    OutputVanished,
    ProtocolViolation,
)

BLOCK_BYTES = 1024 * 1024

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
        self._has_cancel = True

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def submit_prompt(self, body: Mapping[str, Any]) -> tuple[int, str]:
        """Queue a prompt; the answer's status and body, which `PromptSession.receive_answer` understands.

        It has no timeout of its own, since validation may look through large folders: call it under a deadline.
        """
        async with self._request("POST", "/prompt", "submit", json=body, timeout=_NO_TIMEOUT) as response:
            return response.status, await response.text(errors="replace")

    async def queue(self) -> Mapping[str, Any]:
        """What runs and what waits, which `QueueSnapshot` understands."""
        return await self._get_json("/queue", "queue")

    async def history(self, prompt_id: str) -> Mapping[str, Any]:
        """``{prompt_id: entry}``, or ``{}`` while the prompt has not ended."""
        return await self._get_json(f"/history/{prompt_id}", "history")

    async def system_stats(self) -> Mapping[str, Any]:
        """Version, arguments, memory."""
        return await self._get_json("/system_stats", "start")

    async def forget(self, prompt_id: str) -> None:
        """Delete a prompt's history entry: ComfyUI keeps 10,000 of them in memory, workflows included."""
        await self._post("/history", {"delete": [prompt_id]}, "forget")

    async def cancel(self, prompt_id: str) -> None:
        """Take the prompt off the queue, or ask it to stop at its next step; without effect on one that has ended.

        ComfyUI has one call for it since 0.26, which cannot hit another prompt. Before, and in 0.3.64 and 0.8, an
        interrupt that arrives between two nodes may be lost: see that the prompt is gone, else call this again.
        """
        if self._has_cancel and await self._cancel_at_once(prompt_id):
            return
        await self._post("/queue", {"delete": [prompt_id]}, "interrupt")
        await self._post("/interrupt", {"prompt_id": prompt_id}, "interrupt")

    async def _cancel_at_once(self, prompt_id: str) -> bool:
        async with self._request("POST", f"/api/jobs/{prompt_id}/cancel", "interrupt") as response:
            self._has_cancel = response.status not in {404, 405}  # how the different versions say no
            if self._has_cancel:
                await _check(response, "interrupt")
        return self._has_cancel

    async def free_memory(self) -> None:
        """Have all models unloaded and the results of earlier nodes dropped, before the next prompt."""
        await self._post("/free", {"unload_models": True, "free_memory": True}, "free")

    async def object_info(self) -> Mapping[str, Any]:
        """Every node class; half a megabyte and more, and ComfyUI looks through all model folders for it."""
        return await self._get_json("/object_info", "prepare")

    async def node_replacements(self) -> Mapping[str, Any]:
        """The classes that ComfyUI replaces by others when they are submitted; none before 0.33 or so."""
        async with self._request("GET", "/node_replacements", "prepare") as response:
            return await _json_object(response) if response.status == 200 else {}

    async def folder_paths(self) -> Mapping[str, Any]:
        """The folders of model files by kind (``folder_paths.py``); empty where ComfyUI does not tell."""
        async with self._request("GET", "/internal/folder_paths", "prepare") as response:
            return await _json_object(response) if response.status == 200 else {}

    async def upload_input(self, path: Path, name: str, subfolder: str) -> str:
        """Store a file as an input, streamed, and return the name by which nodes load it (``subfolder/name``).

        It has no timeout of its own: call it under a deadline.
        """
        # quote_fields=False: else the file name arrives percent-encoded and is stored that way.
        form = aiohttp.FormData(quote_fields=False)
        with path.open("rb") as content:
            form.add_field("image", content, filename=name, content_type="application/octet-stream")
            form.add_field("subfolder", subfolder)
            form.add_field("overwrite", "true")
            async with self._request("POST", "/upload/image", "upload", data=form, timeout=_NO_TIMEOUT) as response:
                if response.status == 413:
                    raise InputFetchFailed(name, "it is larger than ComfyUI accepts (--max-upload-size)")
                await _check(response, "upload")
                answer = await _json_object(response)
        if not isinstance(answer.get("name"), str):
            raise ProtocolViolation("ComfyUI (POST /upload/image)", str(answer)[:200])
        return f"{answer['subfolder']}/{answer['name']}" if answer.get("subfolder") else str(answer["name"])

    async def fetch(self, file: OutputFile, target: Path) -> None:
        """Write the content of an output file to ``target``, streamed; call it under a deadline.

        Raises:
            OutputVanished: ComfyUI no longer has it.
        """
        async with self._request("GET", "/view", "fetch", params=_view_query(file), timeout=_NO_TIMEOUT) as response:
            if response.status == 404:
                raise OutputVanished(file.node_id, file.filename)
            await _check(response, "fetch")
            with target.open("wb") as content:
                async for block in response.content.iter_chunked(BLOCK_BYTES):
                    content.write(block)

    async def read_all(self, file: OutputFile) -> bytes:
        """The content of a small file."""
        async with self._request("GET", "/view", "fetch", params=_view_query(file)) as response:
            await _check(response, "fetch")
            return await response.read()

    async def _get_json(self, path: str, phase: str) -> dict[str, Any]:
        async with self._request("GET", path, phase) as response:
            if response.status >= 500:  # asked again, it may know
                raise ComfyUIUnavailable(phase, f"GET {path} was answered with HTTP {response.status}")
            await _check(response, phase)
            return await _json_object(response)

    async def _post(self, path: str, body: Mapping[str, Any], phase: str) -> None:
        async with self._request("POST", path, phase, json=body) as response:
            await _check(response, phase)

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
            raise ComfyUIUnresponsive(phase, cause) from error
        except aiohttp.ClientError as error:
            raise ComfyUIUnavailable(phase, f"{method} {path} failed ({error})") from error


def _view_query(file: OutputFile) -> dict[str, str]:
    return {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}


async def _check(response: aiohttp.ClientResponse, phase: str) -> None:
    if response.status == 200:
        return
    text = (await response.text(errors="replace"))[:200]
    answer = f"HTTP {response.status} {text}".strip()
    if response.status in {502, 503, 504}:  # from a proxy in front of it
        raise ComfyUIUnavailable(phase, f"{response.method} {response.url.path} was answered with {answer}")
    raise ProtocolViolation(f"ComfyUI ({response.method} {response.url.path})", answer)


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
