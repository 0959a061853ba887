"""Webhooks of the local RunPod, received by a server of the test."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from comfypod.emulator.platform.lifecycle import Notice
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import JobRequest, Limits
from comfypod.emulator.platform.webhooks import WebhookSender, pauses_of
from comfypod.emulator.runpod import RunPodEmulator


class Receiver:
    """Answers each call with the next of ``answers``; the last of them for ever."""

    def __init__(self, answers: Sequence[int] = (200,)) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[web.Request, Any]] = []
        self.url = ""

    async def receive(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request, json.loads(await request.read())))
        code = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if code == 0:
            await asyncio.sleep(600)
        headers = {"Location": "/elsewhere"} if code == 307 else None
        return web.Response(status=code, headers=headers, body=b"x" * 100_000)


@asynccontextmanager
async def receiving(*answers: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(answers or (200,))
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.receive)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook/secret"
        yield receiver
    finally:
        await runner.cleanup()


async def deliver(url: str, timeout_seconds: float = 5.0, pauses: Sequence[float] = (0.0, 0.0)) -> None:
    """Deliver one notice, and return when it was dealt with."""
    ended = asyncio.Event()
    async with WebhookSender(pauses, timeout_seconds, lambda _: ended.set()) as sender:
        sender.send(Notice("job", url, {"id": "job", "status": "COMPLETED", "output": "Straße \ud800"}))
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.fact("A11-webhook-headers")
async def test_webhook_is_one_post_of_json_with_the_platforms_headers() -> None:
    async with receiving() as receiver:
        await deliver(receiver.url)
    [(request, body)] = receiver.calls
    assert body == {"id": "job", "status": "COMPLETED", "output": "Straße \ud800"}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == "Go-http-client/2.0"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", request.headers["traceparent"])
    assert "Authorization" not in request.headers


@pytest.mark.fact("A11-webhook-tries")
@pytest.mark.parametrize(
    ("answers", "calls"),
    [([204], 1), ([500, 200], 2), ([404, 302, 299], 3), ([500], 3), ([307], 3)],
)
async def test_webhook_is_tried_up_to_three_times_until_it_answers_2xx(answers: list[int], calls: int) -> None:
    async with receiving(*answers) as receiver:
        await deliver(receiver.url)
    assert len(receiver.calls) == calls
    assert {request.path for request, _ in receiver.calls} == {"/hook/secret"}, "redirections are not followed"


async def test_receiver_that_does_not_answer_is_given_up_at_the_deadline() -> None:
    async with receiving(0, 0, 200) as receiver:
        await deliver(receiver.url, timeout_seconds=0.1)
    assert len(receiver.calls) == 3


async def test_failures_are_logged_by_host_alone(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with caplog.at_level(logging.INFO):
            await deliver(f"http://user:secret@127.0.0.1:{port}/hook/secret?key=secret")
    records = [record for record in caplog.records if record.message == "webhook_tried"]
    fields = [record.__dict__["fields"] for record in records]
    assert [(entry["number"], entry["host"]) for entry in fields] == [(n, "127.0.0.1") for n in (1, 2, 3)]
    assert {entry["outcome"] for entry in fields} == {"ClientConnectorError"}
    assert "secret" not in repr(fields) + caplog.text


async def test_host_that_cannot_be_a_host_is_given_up() -> None:
    await deliver("http://" + "a" * 300 + ".invalid/")


def test_spacing_of_the_tries_is_a_switch() -> None:
    assert list(pauses_of("captured", 1)) == [5, 15]
    assert list(pauses_of("documented", 1)) == [10, 10]
    assert list(pauses_of("captured", 0.1)) == [0.5, 1.5]


async def test_pauses_lie_between_the_tries() -> None:
    async with receiving(500) as receiver:
        started = asyncio.get_running_loop().time()
        await deliver(receiver.url, pauses=(0.1, 0.2))
        assert asyncio.get_running_loop().time() - started >= 0.3


async def test_leaving_drops_what_is_under_way() -> None:
    async with receiving(500) as receiver:
        ended: list[str] = []
        async with WebhookSender((60.0, 60.0), 5.0, ended.append) as sender:
            sender.send(Notice("job", receiver.url, {}))
            async with asyncio.timeout(5):
                while not receiver.calls:
                    await asyncio.sleep(0.01)
        assert ended == []
        with pytest.raises(RuntimeError, match="between"):
            sender.send(Notice("job", receiver.url, {}))


@pytest.mark.fact("A11-webhook-once")
@pytest.mark.fact("A11-webhook-body")
@pytest.mark.fact("A11-webhook-tries")
@pytest.mark.parametrize(
    ("ending", "state"), [({"output": {"a": 1}}, "COMPLETED"), ({"error": "no"}, "FAILED"), (None, "CANCELLED")]
)
async def test_webhook_of_a_job_arrives_and_its_refusal_changes_nothing(
    ending: dict[str, object] | None, state: str
) -> None:
    options = PlatformOptions(limits=Limits(webhook_pause_factor=0.001), poll_seconds=0.5)
    async with (
        receiving(503, 200) as receiver,
        RunPodEmulator(platform=options) as emulator,
        aiohttp.ClientSession(emulator.base_url + "/local/", timeout=aiohttp.ClientTimeout(total=5)) as session,
    ):

        async def send(method: str, path: str, key: str = "local", body: Any = None) -> Any:
            async with session.request(method, path, json=body, headers={"Authorization": key}) as response:
                assert response.status == 200, await response.text()
                return await response.json()

        webhook = f"{receiver.url}?id=1"
        job_id = (await send("POST", "run", body={"input": {"x": 1}, "webhook": webhook, "webhookV2": "http://v2/"}))[
            "id"
        ]
        taken = await send("GET", "job-take/w1", "worker-local")
        assert taken == {"id": job_id, "input": {"x": 1}, "webhook": webhook}
        if ending is None:
            await send("POST", f"cancel/{job_id}")
        else:
            await send("POST", f"job-done/w1/{job_id}", "worker-local", ending)
        async with asyncio.timeout(5):
            while len(receiver.calls) < 2:
                await asyncio.sleep(0.01)
        status = await send("GET", f"status/{job_id}")
        assert status["status"] == state
        assert [body for _, body in receiver.calls] == [{**status, "input": {"x": 1}, "webhook": webhook}] * 2


async def test_webhook_that_an_earlier_process_did_not_come_to_is_told_after_the_start(tmp_path: Path) -> None:
    """Nobody needs to ask for anything first."""
    options = PlatformOptions(state_file=tmp_path / "state", limits=Limits(webhook_pause_factor=0.001))
    async with receiving() as receiver:
        async with RunPodEmulator(platform=options) as emulator:
            request = JobRequest.parse({"input": {"n": 1}, "webhook": receiver.url}, emulator.jobs.limits)
            job_id = emulator.jobs.submit(request).id
            emulator.jobs.cancel(job_id)
            emulator.jobs.take_notices()  # and then this process does not come to send it
        assert receiver.calls == []
        async with RunPodEmulator(platform=options), asyncio.timeout(5):
            while not receiver.calls:
                await asyncio.sleep(0.01)
    assert [body["id"] for _, body in receiver.calls] == [job_id]


async def test_receiver_that_hangs_holds_up_no_other() -> None:
    ended: set[str] = set()
    async with receiving(0) as hanging, receiving() as healthy, WebhookSender((), 2.0, ended.add) as sender:
        for number in range(150):
            sender.send(Notice(f"hangs-{number}", hanging.url, {}))
        sender.send(Notice("well", healthy.url, {"id": "well"}))
        async with asyncio.timeout(5):
            while "well" not in ended:
                await asyncio.sleep(0.01)
        assert ended == {"well"}
    assert [body for _, body in healthy.calls] == [{"id": "well"}]
