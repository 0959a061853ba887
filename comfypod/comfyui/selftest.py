"""The prompt that shows that a ComfyUI works, and not only answers."""

from __future__ import annotations

import asyncio
import time

from comfypod.comfyui.client import ComfyUI, Patience
from comfypod.comfyui.process import POLL_SECONDS, answers
from comfypod.comfyui.protocol import Event
from comfypod.comfyui.server import RemoteServer, Server
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ComfyUIUnavailable
from comfypod.schema.workflow import Workflow

SELF_TEST = Workflow(
    {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
)
"""Nodes that every ComfyUI has, no model, and a picture in the temporary folder."""


def run_self_test(server: Server, timeout_seconds: float, patience: Patience | None = None) -> None:
    """Run `SELF_TEST` to its end; in a thread without an event loop.

    Raises:
        ComfyUIUnavailable: it did not leave its picture; ``cause`` says why.
    """
    try:
        files = asyncio.run(_run(server, Deadline.after(timeout_seconds), patience))
    except ComfyPodError as error:
        if death := server.death("self_test"):
            raise death from error
        raise ComfyUIUnavailable("self_test", f"the self-test prompt failed ({str(error).rstrip('.')})") from error
    if files != 1:
        raise ComfyUIUnavailable("self_test", f"the self-test prompt left {files} files and not one")


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


async def _run(server: Server, deadline: Deadline, patience: Patience | None) -> int:
    async with ComfyUI.at(server, patience) as comfyui:
        return len((await comfyui.run(SELF_TEST, deadline, _ignore)).files)


def _ignore(_: Event) -> None:
    """Nobody follows the self-test."""
