"""The connection that all jobs of a worker share: used by all, mended when it is lost, closed when it is not needed."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest
from aiohttp.test_utils import TestServer
from counting_comfyui import CountingComfyUI
from cutting_proxy import Proxy
from worker_jobs import get, queue_of, save_color
from yarl import URL

from comfypod.comfyui.client import ComfyUI, Patience
from comfypod.comfyui.clients import ComfyUIClients
from comfypod.comfyui.protocol import Event, NodeStarted, PreviewReceived
from comfypod.comfyui.server import RemoteServer
from comfypod.deadline import Deadline
from comfypod.schema.workflow import Workflow

PATIENCE = Patience(silence_seconds=0.2, reconnect_seconds=2, interrupt_seconds=1, stall_seconds=5)
CALLS_OF_A_PROMPT = ["POST /prompt", "GET /history", "POST /history"]


@asynccontextmanager
async def serving(comfyui: CountingComfyUI, port: int | None = None) -> AsyncIterator[RemoteServer]:
    async with TestServer(comfyui.application(), port=port) as server:
        yield RemoteServer(str(server.make_url("")))


async def run(clients: ComfyUIClients, server: RemoteServer, events: list[Event] | None = None) -> None:
    """One job."""
    async with clients.of(server) as comfyui:
        await run_on(comfyui, events)


async def run_on(comfyui: ComfyUI, events: list[Event] | None = None) -> None:
    told = [] if events is None else events
    await comfyui.run(Workflow(save_color(1)), Deadline.after(10), told.append)


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def test_jobs_in_a_row_share_one_websocket_and_ask_nothing_twice() -> None:
    comfyui, clients = CountingComfyUI(), ComfyUIClients(PATIENCE)
    async with serving(comfyui) as server:
        for _ in range(20):
            await run(clients, server)
            assert comfyui.history == {}
    assert len(comfyui.client_ids) == 1
    assert len(comfyui.peers) == 1
    assert comfyui.calls == CALLS_OF_A_PROMPT * 20


async def test_many_jobs_leave_nothing_in_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="comfypod")  # what is captured is kept
    comfyui, clients = CountingComfyUI(), ComfyUIClients(PATIENCE)
    counts: list[int] = []
    async with serving(comfyui) as server:
        for _ in range(2):
            for _ in range(150):
                await run(clients, server)
            comfyui.calls.clear()
            gc.collect()
            counts.append(len(gc.get_objects()) + len(asyncio.all_tasks()))
    assert counts[1] - counts[0] < 100


async def test_two_prompts_at_once_each_hear_of_themselves() -> None:
    comfyui, clients = CountingComfyUI(by_hand=True), ComfyUIClients(PATIENCE)
    told: Sequence[list[Event]] = ([], [])
    async with serving(comfyui) as server:
        jobs = [asyncio.create_task(run(clients, server, events)) for events in told]
        for prompt_id, node in zip(await comfyui.until(2), ("1", "3"), strict=True):
            await comfyui.say("execution_start", prompt_id)
            await comfyui.say("executing", prompt_id, node=node)
            await comfyui.show()
            await comfyui.end(prompt_id)
        await asyncio.gather(*jobs)
    nodes = [[item.node_id for item in events if isinstance(item, NodeStarted | PreviewReceived)] for events in told]
    assert sorted(nodes) == [["1", "1"], ["3", "3"]]
    assert len(comfyui.client_ids) == 1
    assert sorted(comfyui.calls) == sorted(CALLS_OF_A_PROMPT * 2)


async def test_a_lost_websocket_is_opened_once_for_all_prompts() -> None:
    comfyui, clients = CountingComfyUI(by_hand=True), ComfyUIClients(PATIENCE)
    told: Sequence[list[Event]] = ([], [])
    async with serving(comfyui) as server:
        jobs = [asyncio.create_task(run(clients, server, events)) for events in told]
        running, waiting = await comfyui.until(2)
        await comfyui.say("execution_start", running)
        comfyui.cut()
        await until(lambda: len(comfyui.client_ids) == 2 and comfyui.calls.count("GET /queue") == 2)
        await comfyui.end(running)
        await comfyui.end(waiting)
        await asyncio.gather(*jobs)
    # Only the prompt that runs takes the greeting, which names none, for its own.
    assert sorted(events.count(NodeStarted("2")) for events in told) == [0, 1]
    assert len(set(comfyui.client_ids)) == 1
    assert len(comfyui.client_ids) == 2
    assert comfyui.history == {}


async def test_what_is_said_on_return_is_about_the_prompt_that_runs_by_then() -> None:
    comfyui, clients = CountingComfyUI(by_hand=True), ComfyUIClients(PATIENCE)
    told: dict[str, list[Event]] = {}
    async with serving(comfyui) as server:
        jobs = []
        for number in (1, 2):
            events: list[Event] = []
            jobs.append(asyncio.create_task(run(clients, server, events)))
            told[(await comfyui.until(number))[-1]] = events
        first, second = comfyui.queue
        await comfyui.say("execution_start", first)
        await until(lambda: told[first])
        comfyui.cut()
        await comfyui.end(first)  # and nobody hears it
        await comfyui.say("execution_start", second)
        await until(lambda: NodeStarted("2") in told[second])
        await comfyui.end(second)
        await asyncio.gather(*jobs)
    assert NodeStarted("2") not in told[first]


async def test_two_prompts_at_once_survive_one_cut_after_the_other(comfyui_url: str) -> None:
    clients = ComfyUIClients(replace(PATIENCE, reconnect_seconds=20, interrupt_seconds=20, stall_seconds=20))
    proxy, before = Proxy(comfyui_url), await get(comfyui_url, "/history")
    await proxy.start()
    server = RemoteServer(proxy.url)

    async def jobs_in_a_row(color: int) -> None:
        for number in range(15):
            async with clients.of(server) as comfyui:
                result = await comfyui.run(Workflow(save_color(color + number)), Deadline.after(60), lambda _: None)
            assert len(result.files) == 1

    async def cut_again_and_again() -> None:
        pause_seconds = 0.03
        while True:
            await asyncio.sleep(pause_seconds)
            proxy.cut()
            pause_seconds *= 1.02  # on a busy machine no request takes so little

    cutting = asyncio.create_task(cut_again_and_again())
    await asyncio.gather(jobs_in_a_row(0x510000), jobs_in_a_row(0x520000))
    cutting.cancel()
    await proxy.stop()
    assert server.refresh_reason is None
    assert not any((await queue_of(comfyui_url)).values())
    assert await get(comfyui_url, "/history") == before


async def test_a_prompt_that_waits_does_not_cut_the_connection_of_one_that_runs() -> None:
    comfyui, clients = CountingComfyUI(by_hand=True), ComfyUIClients(PATIENCE)
    async with serving(comfyui) as server:
        jobs = [asyncio.create_task(run(clients, server)) for _ in range(2)]
        running, waiting = await comfyui.until(2)
        for value in range(20):
            await comfyui.say("progress", running, node="1", value=value, max=20)
            await asyncio.sleep(PATIENCE.silence_seconds / 4)
        assert len(comfyui.client_ids) == 1
        await comfyui.end(running)
        await comfyui.end(waiting)
        await asyncio.gather(*jobs)


async def test_a_prompt_that_is_not_listening_holds_up_no_other() -> None:
    comfyui, clients = CountingComfyUI(by_hand=True), ComfyUIClients(PATIENCE)
    async with serving(comfyui) as server:
        released = comfyui.held["POST /prompt"] = asyncio.Event()
        held = asyncio.create_task(run(clients, server))
        (first,) = await comfyui.until(1)
        del comfyui.held["POST /prompt"]
        other = asyncio.create_task(run(clients, server))
        second = (await comfyui.until(2))[1]
        for _ in range(40):
            await comfyui.say("progress_state", first, nodes="x" * 1_000_000)
        await comfyui.end(second)
        await asyncio.wait_for(other, 5)
        released.set()
        await comfyui.end(first)
        await held


async def test_the_deletion_of_the_history_entry_delays_no_result_and_is_waited_for() -> None:
    comfyui, clients = CountingComfyUI(), ComfyUIClients(PATIENCE)
    async with serving(comfyui) as server:
        released = comfyui.held["POST /history"] = asyncio.Event()
        async with asyncio.timeout(PATIENCE.interrupt_seconds), clients.of(server) as lent:
            await run_on(lent)
            assert len(comfyui.history) == 1
            released.set()
        assert comfyui.history == {}


async def test_a_comfyui_that_was_replaced_is_left_when_its_last_job_is_over() -> None:
    old, new, clients = CountingComfyUI(by_hand=True), CountingComfyUI(), ComfyUIClients(PATIENCE)
    async with serving(old) as old_server, serving(new) as new_server:
        job = asyncio.create_task(run(clients, old_server))
        (prompt_id,) = await old.until(1)
        await run(clients, new_server)
        assert old.sockets
        await old.end(prompt_id)
        await job
        await until(lambda: not old.sockets)
        await run(clients, new_server)
        assert len(new.client_ids) == 1


async def test_a_distant_comfyui_that_was_restarted_is_connected_anew() -> None:
    first, second, clients = CountingComfyUI(), CountingComfyUI(), ComfyUIClients(PATIENCE)
    async with serving(first) as server:
        await run(clients, server)
    async with serving(second, URL(server.url).port):
        await run(clients, server)
    assert second.calls.count("POST /prompt") == 1
    assert len(second.client_ids) == 1
    assert second.history == {}


async def test_a_connection_that_was_not_used_for_long_is_not_trusted() -> None:
    comfyui, clients = CountingComfyUI(), ComfyUIClients(PATIENCE, fresh_seconds=0)
    async with serving(comfyui) as server:
        await run(clients, server)
        await run(clients, server)
        await until(lambda: len(comfyui.sockets) == 1)
        assert len(set(comfyui.client_ids)) == 2


def test_the_end_of_the_event_loop_closes_everything_and_the_next_one_opens_anew(comfyui_url: str) -> None:
    clients, server, port = ComfyUIClients(PATIENCE), RemoteServer(comfyui_url), URL(comfyui_url).port

    def connections() -> list[Any]:
        every = psutil.Process().net_connections("tcp")
        return [each for each in every if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED"]

    async def two_jobs() -> None:
        await asyncio.gather(run(clients, server), run(clients, server))
        assert connections()

    for _ in range(2):
        asyncio.run(two_jobs())
        assert connections() == []
    gc.collect()  # so that what was not closed is complained of here


def test_a_job_that_runs_at_the_end_of_the_event_loop_is_taken_off_comfyui() -> None:
    comfyui, clients = CountingComfyUI(by_hand=True), ComfyUIClients(PATIENCE)

    async def scene() -> None:
        released = comfyui.held["POST /api"] = asyncio.Event()
        async with serving(comfyui) as server:
            # In a loop of its own, as the SDK has one.
            loop = asyncio.create_task(asyncio.to_thread(asyncio.run, leave_a_job(server)))
            await until(lambda: "POST /api" in comfyui.calls and not comfyui.sockets)
            released.set()
            await loop
        assert comfyui.queue == []
        assert comfyui.calls[-3:] == ["POST /api", "GET /queue", "POST /history"]  # it saw that the prompt was gone

    async def leave_a_job(server: RemoteServer) -> None:
        job = asyncio.create_task(run(clients, server))
        while not comfyui.queue:
            await asyncio.sleep(0.01)
        assert not job.done()

    asyncio.run(scene())
    gc.collect()
