"""Each kind of fault as its victim sees it, over HTTP and websocket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfypod.emulator.comfyui import ComfyUIEmulator
from comfypod.emulator.faults import Fault
from comfypod.emulator.nodes.base import Input, NodeClass, NodeContext, NodeResult

EngineFactory = Callable[..., Awaitable[ComfyUIEmulator]]
DEADLINE_SECONDS = 10.0
STEPS = 5


def take_steps(context: NodeContext, value: str) -> NodeResult:
    for step in range(1, STEPS + 1):
        context.report_progress(step, STEPS)
    return NodeResult((value,))


CLASSES = {
    "Steps": NodeClass("Steps", take_steps, required={"value": Input("STRING")}, outputs=("STRING",)),
    "Show": NodeClass(
        "Show",
        lambda _, value: NodeResult(ui={"text": [value]}),
        required={"value": Input("STRING")},
        output_node=True,
    ),
}
_numbers = itertools.count()


def workflow() -> dict[str, Any]:
    """Two nodes, never the same twice, so that nothing is cached."""
    return {
        "1": {"class_type": "Steps", "inputs": {"value": f"run {next(_numbers)}"}},
        "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}},
    }


class Client:
    """Who talks to one engine; a connection of its own for every request, so that a reset is not hidden by a retry."""

    def __init__(self, engine: ComfyUIEmulator, session: aiohttp.ClientSession) -> None:
        self.engine = engine
        self.session = session
        self.frames: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.reader: asyncio.Task[None] | None = None

    async def call(self, method: str, path: str, *, timeout: float = DEADLINE_SECONDS, **options: Any) -> Any:
        """Return the status of the answer, and its JSON or its bytes."""
        limit = aiohttp.ClientTimeout(timeout)
        async with self.session.request(method, self.engine.url + path, timeout=limit, **options) as response:
            content = await response.read()
            return response.status, json.loads(content) if response.content_type == "application/json" else content

    async def get(self, path: str) -> Any:
        status, answer = await self.call("GET", path)
        assert status == 200
        return answer

    async def submit(self) -> str:
        status, answer = await self.call("POST", "/prompt", json={"prompt": workflow(), "client_id": "me"})
        assert status == 200
        return str(answer["prompt_id"])

    async def run(self) -> dict[str, Any]:
        return await self.entry(await self.submit())

    async def entry(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of a prompt, waited for."""
        history: dict[str, Any] = {}

        async def is_there() -> bool:
            history.update(await self.get(f"/history/{prompt_id}"))
            return bool(history)

        await until(is_there)
        return dict(history[prompt_id])

    async def listen(self) -> None:
        websocket = await self.session.ws_connect(self.engine.url + "/ws?clientId=me")
        self.reader = asyncio.create_task(self._read(websocket))
        await self.told("status")

    async def _read(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in websocket:
            self.frames.append({**json.loads(frame.data), "at": time.monotonic()})
        self.close_code = websocket.close_code

    async def told(self, kind: str, **data: Any) -> dict[str, Any]:
        """The first message of this type with this data, waited for."""
        found: list[dict[str, Any]] = []

        async def has_come() -> bool:
            found.extend(
                frame for frame in self.frames if frame["type"] == kind and data.items() <= frame["data"].items()
            )
            return bool(found)

        await until(has_come)
        return found[0]

    async def ended(self) -> list[str]:
        """All messages of a prompt that has ended, in short."""
        await self.told("executing", node=None)
        return [short(frame) for frame in self.frames]


def short(frame: dict[str, Any]) -> str:
    data = frame["data"]
    return f"progress {data['value']}" if frame["type"] == "progress" else str(frame["type"])


async def until(good: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await good():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect(start_engine: EngineFactory) -> AsyncIterator[Connect]:
    """Start an engine with faults, and listen to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*specs: str, **options: Any) -> Client:
            engine = await start_engine(node_classes=CLASSES, faults=[Fault.parse(spec) for spec in specs], **options)
            connector = aiohttp.TCPConnector(force_close=True)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            client = Client(engine, session)
            await client.listen()
            return client

        yield start


def error_of(entry: dict[str, Any]) -> dict[str, Any]:
    kind, data = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    return dict(data)


# --- boot


async def test_slow_boot_opens_the_port_later(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    engine = ComfyUIEmulator(tmp_path, faults=[Fault.parse("slow_boot:seconds=0.3")])
    begun = time.monotonic()
    starting = asyncio.create_task(engine.start(port=address[1]))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    await asyncio.wait_for(starting, DEADLINE_SECONDS)
    assert time.monotonic() - begun >= 0.3
    _, writer = await asyncio.open_connection(*address)
    writer.close()
    await writer.wait_closed()
    await engine.stop()


async def test_broken_nodes_are_told_in_comfyuis_words(
    connect: Connect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await connect("broken_nodes:pack=ComfyUI-Thing,reason=No module named 'thing'")
    lines = capsys.readouterr().err.splitlines()
    pack = tmp_path / "engine" / "custom_nodes" / "ComfyUI-Thing"
    assert f"Cannot import {pack} module for custom nodes: No module named 'thing'" in lines
    assert f"   0.0 seconds (IMPORT FAILED): {pack}" in lines
    assert (await client.run())["status"]["completed"] is True


# --- connections


async def test_a_refused_request_is_reset_and_not_carried_out(connect: Connect) -> None:
    client = await connect("refuse:path=/prompt")
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await client.submit()
    assert (await client.get("/prompt"))["exec_info"]["queue_remaining"] == 0
    assert await client.get("/history") == {}
    assert (await client.run())["status"]["completed"] is True


async def test_without_a_path_everything_is_refused_also_websockets(connect: Connect) -> None:
    client = await connect("refuse:after=1,times=0")  # The first is the client's own websocket.
    for path in ("/", "/queue", "/api/system_stats"):
        with pytest.raises(aiohttp.ClientOSError):
            await client.get(path)
    with pytest.raises(aiohttp.ClientOSError):
        await client.session.ws_connect(client.engine.url + "/ws?clientId=other")


async def test_a_status_is_answered_in_place_of_the_queue(connect: Connect) -> None:
    client = await connect("respond:path=/queue,status=503,after=1,times=2")
    answers = [await client.call("GET", path) for path in ("/queue", "/api/queue", "/queue", "/queue")]
    assert [status for status, _ in answers] == [200, 503, 503, 200]
    assert answers[1][1] == b""


async def test_a_slow_response_is_right_and_holds_up_nobody_else(connect: Connect) -> None:
    client = await connect("slow_response:path=/queue,seconds=0.5")
    begun = time.monotonic()
    slow = asyncio.create_task(client.get("/queue"))
    await asyncio.sleep(0)
    await client.get("/prompt")
    assert not slow.done()
    assert await slow == {"queue_running": [], "queue_pending": []}
    assert time.monotonic() - begun >= 0.5


async def test_a_request_whose_response_is_lost_is_carried_out(connect: Connect) -> None:
    client = await connect("lost_response:path=/prompt")
    body = {"prompt": workflow(), "prompt_id": "mine"}
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await client.call("POST", "/prompt", json=body)
    assert (await client.entry("mine"))["status"]["completed"] is True


async def test_a_cut_ends_the_websockets_before_the_message_and_the_prompt_goes_on(connect: Connect) -> None:
    client = await connect("cut:message=progress,after=2")
    prompt_id = await client.submit()
    assert client.reader is not None
    await asyncio.wait_for(client.reader, DEADLINE_SECONDS)
    assert client.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    assert [short(frame) for frame in client.frames if frame["type"] == "progress"] == ["progress 1", "progress 2"]
    assert (await client.entry(prompt_id))["status"]["completed"] is True
    client.frames.clear()
    await client.listen()
    await client.submit()
    assert "progress 5" in await client.ended()


async def test_a_dropped_message_is_missing_and_no_other(connect: Connect) -> None:
    client = await connect("drop:message=executed")
    await client.submit()
    whole = await client.ended()
    assert "executed" not in whole
    assert "execution_success" in whole
    assert (await client.run())["outputs"]["2"]["text"][0].startswith("run")


async def test_a_message_that_nobody_receives_is_no_occasion(connect: Connect) -> None:
    client = await connect("drop:message=executed")
    await client.entry(
        (await client.call("POST", "/prompt", json={"prompt": workflow(), "client_id": "x"}))[1]["prompt_id"]
    )
    assert client.engine.faults.to_json()[0]["occasions"] == 0


async def test_a_delayed_message_holds_up_all_behind_it(connect: Connect) -> None:
    client = await connect("delay:message=execution_success,seconds=0.3")
    prompt_id = await client.submit()
    await client.entry(prompt_id)
    assert not [frame for frame in client.frames if frame["type"] == "execution_success"]
    whole = await client.ended()
    assert whole[-3:] == ["execution_success", "status", "executing"]
    at = {frame["type"]: frame["at"] for frame in client.frames}
    assert at["execution_success"] - at["executed"] >= 0.28


async def test_a_message_comes_twice(connect: Connect) -> None:
    client = await connect("duplicate:message=executed")
    await client.submit()
    whole = await client.ended()
    assert whole.count("executed") == 2
    assert whole[whole.index("executed") + 1] == "executed"


async def test_a_message_changes_places_with_the_next(connect: Connect) -> None:
    client = await connect("reorder:message=progress,after=1")
    await client.submit()
    progress = [frame for frame in await client.ended() if frame.startswith("progress")]
    usual = ["progress_state"] + [f"progress{part}" for step in range(1, 6) for part in ("_state", f" {step}")]
    second = usual.index("progress 2")
    assert progress[: len(usual)] == [*usual[:second], usual[second + 1], usual[second], *usual[second + 2 :]]


# --- nodes


async def test_a_hanging_node_notices_no_interrupt_while_http_goes_on(connect: Connect) -> None:
    client = await connect("hang:node=Steps,seconds=0.3")
    begun = time.monotonic()
    prompt_id = await client.submit()
    await client.told("executing", node="1")
    await client.call("POST", "/interrupt", json={"prompt_id": prompt_id})
    assert (await client.get("/queue"))["queue_running"][0][1] == prompt_id
    entry = await client.entry(prompt_id)
    assert time.monotonic() - begun >= 0.3
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_a_hanging_node_does_not_hold_up_the_end_of_the_engine(connect: Connect) -> None:
    client = await connect("hang")
    await client.submit()
    await client.told("executing", node="1")
    begun = time.monotonic()
    await client.engine.stop()
    assert time.monotonic() - begun < 3


async def test_a_blocked_server_sends_nothing_and_then_everything(connect: Connect) -> None:
    client = await connect("hang_server:node=Show,seconds=0.4")
    await client.submit()
    whole = await client.ended()
    assert [kind for kind in whole if not kind.startswith("progress")][-4:] == [
        "executed",
        "execution_success",
        "status",
        "executing",
    ]
    moments = [frame["at"] for frame in client.frames]
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) >= 0.3


async def test_a_dead_thread_leaves_its_prompt_running_and_the_others_waiting(connect: Connect) -> None:
    others = workers()
    client = await connect("thread_death:node=2")
    dead = await client.submit()
    await client.told("executing", node="2")
    waiting = await client.submit()
    await client.call("POST", "/interrupt", json={})
    await until_gone(workers() - others)
    queue = await client.get("/queue")
    assert [item[1] for item in queue["queue_running"]] == [dead]
    assert [item[1] for item in queue["queue_pending"]] == [waiting]
    assert await client.get("/history") == {}
    assert {"execution_error", "execution_interrupted"}.isdisjoint(short(frame) for frame in client.frames)
    again = await client.session.ws_connect(client.engine.url + "/ws?clientId=me")
    await again.receive(DEADLINE_SECONDS)
    assert (await again.receive_json(timeout=DEADLINE_SECONDS))["data"] == {"node": "2"}


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "comfypod-prompt-worker"}


async def until_gone(threads: set[threading.Thread]) -> None:
    async def gone() -> bool:
        return not any(thread.is_alive() for thread in threads)

    await until(gone)


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("raise:type=safetensors.SafetensorError,message=bad header", "safetensors.SafetensorError", "bad header\n"),
        ("raise:type=ValueError,message=one\\, two", "ValueError", "one, two\n"),
        ("raise", "RuntimeError", "emulated failure\n"),
        (
            "out_of_memory",
            "torch.OutOfMemoryError",
            (
                "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which "
                "1.02 GiB is free.\nThis error means you ran out of memory on your GPU.\n\nTIPS: If the workflow "
                "worked before you might have accidentally set the batch_size to a large number."
            ),
        ),
        (
            "out_of_memory:form=cuda",
            "RuntimeError",
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call\n",
        ),
        ("full_disk", "OSError", "[Errno 28] No space left on device\n"),
    ],
)
async def test_a_node_fails_as_planned_and_the_next_prompt_runs(
    connect: Connect, spec: str, kind: str, message: str
) -> None:
    client = await connect(spec)
    error = error_of(await client.run())
    assert (error["node_id"], error["exception_type"], error["exception_message"]) == ("1", kind, message)
    assert (await client.run())["status"]["completed"] is True


async def test_a_broken_gpu_fails_every_later_prompt_at_its_first_node(connect: Connect) -> None:
    client = await connect("cuda_error:node=Show")
    errors = [error_of(await client.run()) for _ in range(3)]
    assert [error["node_id"] for error in errors] == ["2", "1", "1"]
    assert {error["exception_type"] for error in errors} == {"RuntimeError"}
    assert all(
        error["exception_message"].startswith("CUDA error: an illegal memory access was encountered\n")
        for error in errors
    )


async def test_a_fault_strikes_at_the_step_that_it_names(connect: Connect) -> None:
    client = await connect("full_disk:node=Steps,step=3")
    assert error_of(await client.run())["node_id"] == "1"
    progress = [step for step in await client.ended() if step.startswith("progress ")]
    assert progress == ["progress 1", "progress 2", "progress 3"]


async def test_a_slow_node_can_be_interrupted(connect: Connect) -> None:
    client = await connect("slow:node=1,seconds=60")
    prompt_id = await client.submit()
    await client.told("executing", node="1")
    await client.call("POST", "/interrupt", json={"prompt_id": prompt_id})
    assert (await client.entry(prompt_id))["status"]["messages"][-1][0] == "execution_interrupted"


async def test_a_slow_node_runs_in_the_end(connect: Connect) -> None:
    client = await connect("slow:node=1,seconds=0.2")
    begun = time.monotonic()
    assert (await client.run())["status"]["completed"] is True
    assert time.monotonic() - begun >= 0.2


# --- the end of a prompt


async def test_an_evicted_prompt_is_nowhere(connect: Connect) -> None:
    client = await connect("evict_history")
    prompt_id = await client.submit()
    whole = await client.ended()
    assert "execution_success" in whole
    assert await client.get(f"/history/{prompt_id}") == {}
    assert await client.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert (await client.run())["status"]["completed"] is True


async def test_a_late_history_comes_after_the_last_message(connect: Connect) -> None:
    client = await connect("late_history:seconds=0.3")
    prompt_id = await client.submit()
    end = await client.told("executing", node=None)
    assert await client.get(f"/history/{prompt_id}") == {}
    assert (await client.get("/queue"))["queue_running"][0][1] == prompt_id
    assert (await client.entry(prompt_id))["status"]["completed"] is True
    assert time.monotonic() - end["at"] >= 0.28
    assert (await client.get("/queue"))["queue_running"] == []


async def test_an_unserialisable_output_ends_the_server(connect: Connect) -> None:
    client = await connect("unserialisable:node=Show")
    await client.submit()
    cause = await asyncio.wait_for(asyncio.shield(client.engine.died), DEADLINE_SECONDS)
    assert str(cause) == "Object of type Tensor is not JSON serializable"
    assert client.reader is not None
    await asyncio.wait_for(client.reader, DEADLINE_SECONDS)
    assert client.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    assert short(client.frames[-1]) == "executing"
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get("/queue")


# --- planning while it runs


async def test_faults_are_planned_shown_and_forgotten_while_it_runs(connect: Connect) -> None:
    client = await connect(accept_faults=True)
    assert await client.get("/emulator/faults") == {"faults": []}
    specs = ["respond:path=/,status=418,times=0", "raise:node=Show"]
    status, shown = await client.call("POST", "/emulator/faults", json={"faults": specs})
    assert (status, [each["fault"] for each in shown["faults"]]) == (200, specs)
    assert (await client.call("GET", "/queue"))[0] == 418
    counts = (await client.get("/emulator/faults"))["faults"]
    assert counts[0] == {"fault": specs[0], "occasions": 1, "struck": 1, "spent": False}
    assert counts[1] == {"fault": specs[1], "occasions": 0, "struck": 0, "spent": False}
    assert await client.call("DELETE", "/emulator/faults") == (200, {"faults": []})
    assert (await client.run())["status"]["completed"] is True


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"faults": ["refuse", "exti"]}', "Did you mean exit"),
        (b'{"faults": ["exit"]}', "process of its own"),
        (b'{"faults": ["slow_boot:seconds=1"]}', "boot, which is over"),
        (b'{"faults": "refuse"}', "Send {"),
        (b'{"faults": [5]}', "Send {"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not JSON"),
    ],
)
async def test_a_wrong_plan_is_refused_with_a_sentence(connect: Connect, body: bytes, says: str) -> None:
    client = await connect(accept_faults=True)
    status, answer = await client.call("POST", "/emulator/faults", data=body)
    assert status == 400
    assert says in answer["error"]
    assert (await client.get("/emulator/faults"))["faults"] == []


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("POST", 405), ("DELETE", 405)])
async def test_nobody_plans_faults_where_they_are_not_accepted(connect: Connect, method: str, status: int) -> None:
    client = await connect()
    assert (await client.call(method, "/emulator/faults", json={"faults": ["refuse"]}))[0] == status
    assert list(client.engine.faults) == []


def test_an_engine_in_another_process_cannot_be_told_to_end_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="process of its own"):
        ComfyUIEmulator(tmp_path, faults=[Fault.parse("exit:node=ImageInvert,code=139")])
