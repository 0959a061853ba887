"""Several jobs at a time in one worker: one on the GPU, the next behind it, results on their way out."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from supervised import SupervisedWorker, supervised_worker
from worker_jobs import job, queue_of, save_color

SLOW = "slow:node=ImageInvert,seconds=0.5,times=0"


class Running:
    """Jobs of a worker that run at a time."""

    def __init__(self, worker: SupervisedWorker) -> None:
        self._worker = worker
        self.tasks: list[asyncio.Task[dict[str, Any]]] = []

    def start(self, number: int = 1, **job_input: Any) -> None:
        for _ in range(number):
            request = job(workflow=save_color(0x100000 + len(self.tasks)), **job_input)
            self.tasks.append(asyncio.create_task(self._worker.handler(request)))

    async def start_one_by_one(self, number: int, **job_input: Any) -> None:
        """The first one runs, and those that come later wait for it in this order."""
        self.start(**job_input)
        await self.until(lambda counts: counts == (1, 0))
        self.start(**job_input)
        await self.until(lambda counts: counts == (1, 1))
        self.start(number - 2, **job_input)

    async def queue(self) -> tuple[int, int]:
        """How many prompts run in ComfyUI, and how many wait there."""
        url = (await self._worker.process()).url
        queue = await queue_of(url)
        return len(queue["queue_running"]), len(queue["queue_pending"])

    async def until(self, condition: Callable[[tuple[int, int]], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition(await self.queue()):
                await asyncio.sleep(0.005)

    async def answers(self) -> list[dict[str, Any]]:
        return await asyncio.gather(*self.tasks)


def assert_succeeded(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert answer["status"] == "success", answer
    assert len({answer["images"][0]["sha256"] for answer in answers}) == len(answers)  # each has its own picture


async def test_one_runs_one_waits_in_comfyui_and_the_rest_in_the_worker(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan(SLOW)
        running = Running(worker)
        running.start(4)
        seen = set()
        while not all(task.done() for task in running.tasks):
            seen.add(await running.queue())
            await asyncio.sleep(0.01)
        answers = await running.answers()
    assert_succeeded(answers)
    assert (1, 1) in seen
    assert not [counts for counts in seen if sum(counts) > 2]


async def test_waiting_is_told_apart_and_counts_against_no_deadline(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan(SLOW)
        running = Running(worker)
        await running.start_one_by_one(
            4, timeout_seconds=1.2
        )  # each takes half a second, the last one waits for a second and a half
        answers = await running.answers()
    assert_succeeded(answers)
    waits = [answer["timings"]["queue_ms"] for answer in answers]
    assert waits == sorted(waits)  # first come, first served
    assert waits[-1] > 1200
    for timings in (answer["timings"] for answer in answers):
        assert timings["execute_ms"] < 1200
        assert timings["total_ms"] >= timings["queue_ms"] + timings["execute_ms"]


@pytest.mark.parametrize("who", ["running", "in ComfyUI's queue", "in the worker's queue"])
async def test_a_job_is_cancelled_where_it_is_and_no_other(tmp_path: Path, who: str) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan(SLOW)
        running = Running(worker)
        await running.start_one_by_one(3)
        victim = running.tasks.pop(["running", "in ComfyUI's queue", "in the worker's queue"].index(who))
        begun = time.monotonic()
        victim.cancel()
        await asyncio.wait([victim])
        assert victim.cancelled()
        assert time.monotonic() - begun < 1
        assert_succeeded(await running.answers())
        assert await running.queue() == (0, 0)


async def test_a_comfyui_that_dies_takes_no_innocent_job_along(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, retry_after_crash="false") as worker:
        await worker.plan("slow:node=ImageInvert,seconds=20")
        running = Running(worker)
        await running.start_one_by_one(3)
        os.kill(await worker.pid(), signal.SIGKILL)
        culprit, *others = await running.answers()
    assert (culprit["status"], culprit["code"]) == ("error", "comfyui_unavailable")
    assert_succeeded(others)  # though nothing is to be run a second time: these had not been run once


async def test_a_server_that_hangs_under_one_job_fails_no_other(tmp_path: Path) -> None:
    settings = {"stall_timeout_seconds": "2", "interrupt_timeout_seconds": "0.5"}
    with supervised_worker(tmp_path, **settings) as worker:
        await worker.plan("slow:node=EmptyImage,seconds=1.5", "hang_server:node=ImageInvert,seconds=60")
        running = Running(worker)
        await running.start_one_by_one(2)
        _, behind = await running.answers()
    assert_succeeded([behind])
    assert "the job was run again" in behind["warnings"][0]


@pytest.mark.parametrize("retry_after_crash", ["true", "false"])
async def test_a_gpu_that_one_job_breaks_fails_no_other(tmp_path: Path, retry_after_crash: str) -> None:
    with supervised_worker(tmp_path, retry_after_crash=retry_after_crash) as worker:
        # It stays broken for whoever comes behind: only another process cures it.
        await worker.plan("slow:node=EmptyImage,seconds=0.3,times=0", "cuda_error:node=ImageInvert,times=0")
        running = Running(worker)
        await running.start_one_by_one(3)
        culprit, *others = await running.answers()
    assert (culprit["code"], "CUDA error" in culprit["error"]) == ("prompt_failed", True)
    assert_succeeded(others)


async def test_a_job_that_is_cancelled_twice_leaves_the_gpu_all_the_same(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, interrupt_timeout_seconds="0.5") as worker:
        await worker.plan("hang:node=ImageInvert,seconds=20")
        pid = await worker.pid()
        running = Running(worker)
        running.start()
        await running.until(lambda counts: counts == (1, 0))
        await worker.until("execute", current_node="2")
        for _ in range(2):
            running.tasks[0].cancel()
            await asyncio.sleep(0.05)
        await asyncio.wait(running.tasks)
        assert running.tasks.pop().cancelled()
        running.start()
        assert_succeeded(await running.answers())
        assert await worker.pid() != pid  # its node heeded no interrupt, so that it was replaced


async def test_after_memory_was_short_the_job_runs_alone(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("slow:node=EmptyImage,seconds=0.5,times=0", "out_of_memory:node=ImageInvert")
        running = Running(worker)
        await running.start_one_by_one(3)
        answers = await running.answers()
    assert_succeeded(answers)
    assert "Memory was short" in answers[0]["warnings"][0]
    assert [answer["warnings"] for answer in answers[1:]] == [[], []]


async def test_the_gpu_is_free_while_results_leave(tmp_path: Path) -> None:
    begun, may_end = asyncio.Semaphore(0), asyncio.Event()

    async def put(request: web.Request) -> web.Response:
        await request.read()
        begun.release()
        await may_end.wait()
        return web.Response(headers={"ETag": '"1"'})

    application = web.Application()
    application.router.add_put("/{key:.*}", put)
    async with TestServer(application) as bucket:
        settings = {"endpoint_url": str(bucket.make_url("/bucket")), "access_key_id": "k", "secret_access_key": "s"}
        environment = {f"bucket_{name}": value for name, value in settings.items()}
        with supervised_worker(tmp_path, **environment) as worker:
            running = Running(worker)
            running.start(3, delivery="bucket")
            async with asyncio.timeout(20):
                for _ in range(3):  # the third has run, and the result of the first one is on its way still
                    await begun.acquire()
            assert not [task for task in running.tasks if task.done()]
            may_end.set()
            answers = await running.answers()
    assert [answer["images"][0]["type"] for answer in answers] == ["s3_url"] * 3
