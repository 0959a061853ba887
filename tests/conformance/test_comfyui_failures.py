"""How a ComfyUI dies and hangs: the built-in engine, or a real one if COMFYUI_COMMAND starts it.

Each test has a process of its own, which is made to fail from outside; see ``tests/worker/fault_pack``.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from supervised import REAL_COMMAND, comfyui_command
from worker_jobs import save_color

from comfypod.comfyui.process import ComfyUIProcess
from comfypod.errors import ComfyUIUnavailable

START_SECONDS = 60.0
SOON_SECONDS = 10.0


class Served:
    """A process that serves, and one websocket to it, read all the time."""

    def __init__(self, process: ComfyUIProcess, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.session = session
        self.client_id = uuid.uuid4().hex
        self.messages: list[dict[str, Any]] = []
        self.close_code: int | None = None

    async def listen(self) -> None:
        socket = await self.session.ws_connect(f"{self.process.url}/ws?clientId={self.client_id}", max_msg_size=0)
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                self.messages.append(frame.json())
        self.close_code = socket.close_code

    async def call(self, method: str, path: str, seconds: float = SOON_SECONDS, **options: Any) -> Any:
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self.session.request(method, self.process.url + path, timeout=timeout, **options) as response:
            assert response.status == 200, await response.text()
            return await response.json() if response.content_type == "application/json" else None

    async def plan(self, fault: str) -> None:
        await self.call("POST", "/emulator/faults", json={"faults": [fault]})

    async def submit(self, color: int, client_id: object = None) -> str:
        body = {"prompt": save_color(color), "prompt_id": str(uuid.uuid4()), "client_id": client_id or self.client_id}
        return str((await self.call("POST", "/prompt", json=body))["prompt_id"])

    async def queue(self) -> tuple[list[str], list[str]]:
        """Ids of what runs and what waits."""
        answer = await self.call("GET", "/queue")
        return [item[1] for item in answer["queue_running"]], [item[1] for item in answer["queue_pending"]]

    async def entry(self, prompt_id: str) -> dict[str, Any]:
        await until(lambda: self.ended(prompt_id), "the end of the prompt")
        return dict((await self.call("GET", f"/history/{prompt_id}"))[prompt_id])

    def ended(self, prompt_id: str) -> bool:
        end = {"node": None, "prompt_id": prompt_id}
        return any(message["type"] == "executing" and message["data"] == end for message in self.messages)

    def runs(self, node_id: str) -> bool:
        return any(m["type"] == "executing" and m["data"].get("node") == node_id for m in self.messages)


async def until(holds: Callable[[], bool], what: str, seconds: float = SOON_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    process = ComfyUIProcess(comfyui_command(tmp_path), tmp_path)
    await asyncio.to_thread(process.start)
    try:
        await asyncio.to_thread(process.wait_until_ready, START_SECONDS)
        async with aiohttp.ClientSession() as session:
            served = Served(process, session)
            reader = asyncio.create_task(served.listen())
            await until(lambda: bool(served.messages), "the greeting")
            yield served
            reader.cancel()
            await asyncio.wait([reader])
    finally:
        await asyncio.to_thread(process.stop)


@pytest.mark.parametrize(("ending", "exit_code"), [("code=139", 139), ("signal=9", -9), ("signal=11", -11)])
async def test_a_process_that_ends_in_a_node_closes_nothing(served: Served, ending: str, exit_code: int) -> None:
    await served.plan(f"exit:node=ImageInvert,{ending}")
    with suppress(aiohttp.ClientConnectionError):  # it may end before it has answered
        await served.submit(1)
    await until(lambda: served.process.exit_code is not None, "the exit")
    assert served.process.exit_code == exit_code
    await until(lambda: served.close_code is not None, "the end of the websocket")
    assert served.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    with pytest.raises(aiohttp.ClientConnectionError):
        await served.call("GET", "/queue")


async def test_a_thread_that_died_keeps_its_prompt_and_takes_no_other(served: Served) -> None:
    await served.plan("thread_death:node=ImageInvert")
    first = await served.submit(1)
    await until(lambda: served.runs("2"), "the node")
    second = await served.submit(2)
    await served.call("POST", "/interrupt", json={"prompt_id": first})
    await asyncio.sleep(1)  # long enough for a prompt of three small nodes
    assert await served.queue() == ([first], [second])
    assert await served.call("GET", f"/history/{first}") == {}
    assert not served.ended(first)
    assert served.process.exit_code is None


async def test_a_node_that_never_looks_is_not_interrupted_before_it_ends(served: Served) -> None:
    await served.plan("hang:node=ImageInvert,seconds=2")
    prompt_id = await served.submit(1)
    await until(lambda: served.runs("2"), "the node")
    await served.call("POST", "/interrupt", json={"prompt_id": prompt_id})
    await asyncio.sleep(0.5)
    assert (await served.queue())[0] == [prompt_id]
    entry = await served.entry(prompt_id)
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert entry["status"]["messages"][-1][1]["node_id"] == "3"  # at the start of the next node


async def test_a_node_that_looks_is_interrupted_at_once(served: Served) -> None:
    await served.plan("slow:node=ImageInvert,seconds=60")
    prompt_id = await served.submit(1)
    await until(lambda: served.runs("2"), "the node")
    await served.call("POST", "/interrupt", json={"prompt_id": prompt_id})
    entry = await served.entry(prompt_id)
    assert entry["status"]["messages"][-1][1]["node_id"] == "2"


async def test_a_server_that_is_held_up_answers_nothing_and_loses_nothing(served: Served) -> None:
    await served.plan("hang_server:node=ImageInvert,seconds=2")
    prompt_id = await served.submit(1)
    await asyncio.sleep(0.5)
    with pytest.raises(TimeoutError):
        await served.call("GET", "/queue", seconds=0.3)
    entry = await served.entry(prompt_id)
    assert entry["status"]["status_str"] == "success"
    assert served.runs("2")
    assert served.runs("3")


@pytest.mark.parametrize(
    ("fault", "exception_type", "message"),
    [
        ("out_of_memory:node=ImageInvert,form=torch", "torch.OutOfMemoryError", "CUDA out of memory"),
        ("out_of_memory:node=ImageInvert,form=cuda", "RuntimeError", "CUDA error: out of memory"),
        ("full_disk:node=SaveImage", "OSError", "No space left on device"),
    ],
)
async def test_a_node_that_fails_is_told_and_the_next_prompt_runs(
    served: Served, fault: str, exception_type: str, message: str
) -> None:
    await served.plan(fault)
    entry = await served.entry(await served.submit(1))
    kind, failure = entry["status"]["messages"][-1]
    assert (kind, failure["exception_type"]) == ("execution_error", exception_type)
    assert message in failure["exception_message"]
    assert ("TIPS" in failure["exception_message"]) == (exception_type == "torch.OutOfMemoryError")
    entry = await served.entry(await served.submit(2))
    assert entry["status"]["status_str"] == "success"


async def test_an_error_that_breaks_the_gpu_stays(served: Served) -> None:
    await served.plan("cuda_error:node=ImageInvert")
    for color in (1, 2):
        entry = await served.entry(await served.submit(color))
        assert "CUDA error: an illegal memory access" in entry["status"]["messages"][-1][1]["exception_message"]


async def test_nothing_is_known_after_a_restart_but_the_files(served: Served, tmp_path: Path) -> None:
    prompt_id = await served.submit(1)
    (file,) = (await served.entry(prompt_id))["outputs"]["3"]["images"]
    await asyncio.to_thread(served.process.stop)
    again = ComfyUIProcess(served.process.command, tmp_path)
    await asyncio.to_thread(again.start)
    try:
        await asyncio.to_thread(again.wait_until_ready, START_SECONDS)
        later = Served(again, served.session)
        assert await later.call("GET", f"/history/{prompt_id}") == {}
        assert await later.queue() == ([], [])
        async with served.session.get(f"{again.url}/view", params=file) as response:
            assert response.status == 200
    finally:
        await asyncio.to_thread(again.stop)


async def test_a_client_id_that_is_a_list_ends_the_process(served: Served) -> None:
    with suppress(aiohttp.ClientConnectionError):  # it may end before it has answered
        await served.submit(1, client_id=["a", "list"])
    await until(lambda: served.process.exit_code is not None, "the exit")
    assert served.process.exit_code == 1


def test_a_flag_that_it_does_not_know_ends_it_at_once(tmp_path: Path) -> None:
    process = ComfyUIProcess(comfyui_command(tmp_path, "--no-such-flag"), tmp_path)
    process.start()
    with pytest.raises(ComfyUIUnavailable) as caught:
        process.wait_until_ready(START_SECONDS)
    process.stop()
    assert caught.value.exit_code == 2
    assert "--no-such-flag" in " ".join(caught.value.log_tail)


async def test_a_signal_ends_it(served: Served) -> None:
    served.process._child.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
    await until(lambda: served.process.exit_code is not None, "the exit")
    # A real one is ended by the signal itself; the built-in engine stops cleanly, as it empties its temporary folder.
    assert served.process.exit_code == (-signal.SIGTERM if REAL_COMMAND else 0)
