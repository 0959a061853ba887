"""The prompt that shows that a ComfyUI works, and not only answers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from comfypod.comfyui.client import ComfyUI, Patience
from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.process import POLL_SECONDS, answers
from comfypod.comfyui.protocol import Event
from comfypod.comfyui.server import RemoteServer, Server
from comfypod.comfyui.websocket import ConnectionClosed, connect
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ComfyUIUnavailable
from comfypod.logs import event
from comfypod.schema.workflow import Workflow

PICTURES = 2
SELF_TEST = Workflow(
    {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 0}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
)
"""Nodes that every ComfyUI has, no model, and two pictures in the temporary folder.

ComfyUI collects garbage right after its first prompt, for a third of a second in which it tells nothing and answers
nothing (ComfyUI 0.33.0, main.py: prompt_worker). The second picture, and the size of both, give its server the few
milliseconds that it needs to tell of the first one before.
"""
LISTEN_SECONDS = 5.0


def run_self_test(
    server: Server,
    timeout_seconds: float,
    patience: Patience | None = None,
    on_passed: Callable[[], None] = lambda: None,
) -> None:
    """Run `SELF_TEST` to its end; in a thread without an event loop.

    ``on_passed`` is called, once, as soon as ComfyUI is known to work: when it tells of a picture that it has made.

    Raises:
        ComfyUIUnavailable: it did not make its pictures; ``cause`` says why.
    """
    try:
        asyncio.run(_run(server, Deadline.after(timeout_seconds), patience, on_passed))
    except ComfyPodError as error:
        if death := server.death("self_test"):
            raise death from error
        raise ComfyUIUnavailable("self_test", f"the self-test prompt failed ({str(error).rstrip('.')})") from error


def wait_for_remote(server: RemoteServer, timeout_seconds: float) -> None:
    """Return when a ComfyUI that somebody else runs answers, and has run the self-test.

    Raises:
        ComfyUIUnavailable: nothing answered in time, or the self-test failed.
    """
    deadline = Deadline.after(timeout_seconds)
    while not answers(server.url):
        if deadline.remaining_seconds <= 0:
            raise ComfyUIUnavailable("start", f"nothing answered at {server.url} within {timeout_seconds:g} s")
        time.sleep(POLL_SECONDS)
    run_self_test(server, timeout_seconds)


async def _run(server: Server, deadline: Deadline, patience: Patience | None, on_passed: Callable[[], None]) -> None:
    async with ComfyUI.at(server, patience) as comfyui:
        if await _is_heard(comfyui.http, deadline, on_passed):
            return
        # As a job is run, which bears lost connections and messages, and finds out what went wrong.
        files = (await comfyui.run(SELF_TEST, deadline, _ignore)).files
        if len(files) != PICTURES:
            raise ComfyUIUnavailable("self_test", f"it left {len(files)} files and not {PICTURES}")
        on_passed()


async def _is_heard(http: ComfyUIHTTP, deadline: Deadline, on_passed: Callable[[], None]) -> bool:
    """Run the test and listen: whether ComfyUI told of a picture.

    Nothing that happens after that counts against it: a job may run there by then.
    """
    prompt_id, client_id = str(uuid.uuid4()), uuid.uuid4().hex
    passed = False
    try:
        async with (
            asyncio.timeout(deadline.sooner(LISTEN_SECONDS)),
            connect(http.url, client_id) as socket,
        ):
            await http.submit_prompt({"prompt": SELF_TEST.nodes, "prompt_id": prompt_id, "client_id": client_id})
            async for message in socket:
                kind, data = _read(message, prompt_id)
                if kind == "executed" and not passed:  # only nodes that have made something are told of in this way
                    passed = True
                    on_passed()
                if kind == "executing" and data.get("node") is None:
                    break  # the one message that is sent after the history entry exists (main.py: prompt_worker)
        await http.forget(prompt_id)
    except (ComfyPodError, ConnectionClosed, TimeoutError) as error:
        event("self_test_cut_short", logging.WARNING, passed=passed, cause=repr(error))
    return passed


def _read(message: str | bytes, prompt_id: str) -> tuple[str, Mapping[str, Any]]:
    """The message's type and data, if it is about this prompt; a node pack may send anything to everybody."""
    nothing: tuple[str, Mapping[str, Any]] = ("", {})
    if isinstance(message, bytes) or prompt_id not in message:
        return nothing
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        return nothing
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or data.get("prompt_id") != prompt_id:
        return nothing
    return str(document.get("type")), data


def _ignore(_: Event) -> None:
    """Nobody follows the self-test."""
