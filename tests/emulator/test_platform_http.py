"""The local RunPod over raw HTTP: what a client sees of streams, retries, limits and the emulator's own routes."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from comfypod.emulator.platform.application import Identity, PlatformApplication
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.rates import RateLimit, RateLimits
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.platform.switches import Switches
from tests.emulator.wire import Wire, until


class Served(Wire):
    """Both sides of one endpoint, without the fleet."""

    def __init__(self, endpoint: EmulatedEndpoint, address: str, session: aiohttp.ClientSession) -> None:
        super().__init__(address, "worker", session)
        self.endpoint = endpoint


Start = Callable[..., Awaitable[Served]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start an endpoint with these options; polls are short."""
    async with AsyncExitStack() as stack:

        async def started(max_workers: Callable[[], int] | None = None, **options: Any) -> Served:
            options = {"poll_seconds": 0.5, **options}
            endpoint = EmulatedEndpoint(PlatformOptions(**options), max_workers=max_workers)
            identity = Identity("local", "local", "worker")
            application = PlatformApplication(endpoint, identity, lambda: (), lambda _: False)
            runner = web.AppRunner(application.build(), handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            sweeper = asyncio.create_task(endpoint.sweep_forever())
            stack.callback(sweeper.cancel)
            stack.callback(endpoint.close)
            timeout = aiohttp.ClientTimeout(total=10)
            session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
            return Served(endpoint, f"http://127.0.0.1:{runner.addresses[0][1]}", session)

        yield started


@pytest.mark.fact("A1-status-sync")
@pytest.mark.fact("A1-status-get-and-post")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_status_sync_answers_when_the_job_has_ended(start: Start, method: str) -> None:
    wire = await start()
    job_id = await wire.run()
    call = asyncio.create_task(wire.client(method, f"/status-sync/{job_id}"))
    await asyncio.sleep(0)
    await wire.done(job_id, {"output": 5})
    code, answer = await asyncio.wait_for(call, 2)
    assert (code, answer) == (200, (await wire.client("GET", f"/status/{job_id}"))[1])
    assert answer["output"] == 5


@pytest.mark.fact("A1-status-sync")
async def test_status_sync_answers_after_its_wait(start: Start) -> None:
    wire = await start()
    job_id = await wire.run()
    started = time.monotonic()
    code, answer = await wire.client("GET", f"/status-sync/{job_id}?wait=1000")
    assert (code, answer["status"]) == (200, "IN_PROGRESS")
    assert 0.9 <= time.monotonic() - started < 3
    for wait in ("999", "300001", "soon"):
        assert (await wire.client("GET", f"/status-sync/{job_id}?wait={wait}"))[0] == 400
        assert (await wire.client("GET", f"/stream/{job_id}?wait={wait}"))[0] == 400


@pytest.mark.fact("A7-stream-drains")
@pytest.mark.fact("A1-status-get-and-post")
@pytest.mark.fact("B8-stream")
async def test_stream_hands_out_each_chunk_once_and_ends_with_the_job(start: Start) -> None:
    wire = await start()
    job_id = await wire.run()
    for output in ({"step": 1}, "Straße"):
        assert await wire.stream(job_id, output) == 200
    first = {"status": "IN_PROGRESS", "stream": [{"output": {"step": 1}}, {"output": "Straße"}]}
    assert await wire.client("GET", f"/stream/{job_id}") == (200, first)

    call = asyncio.create_task(wire.client("POST", f"/stream/{job_id}"))
    await asyncio.sleep(0.05)
    assert await wire.stream(job_id, 3) == 200
    assert await asyncio.wait_for(call, 1) == (200, {"status": "IN_PROGRESS", "stream": [{"output": 3}]})

    await wire.stream(job_id, 4)
    assert await wire.done(job_id, {"output": []}) == 200
    started = time.monotonic()
    assert await wire.client("GET", f"/stream/{job_id}") == (200, {"status": "COMPLETED", "stream": [{"output": 4}]})
    assert await wire.client("GET", f"/stream/{job_id}") == (200, {"status": "COMPLETED", "stream": []})
    assert time.monotonic() - started < 1, "nothing is held once the job has ended"


@pytest.mark.fact("A7-stream-wait")
async def test_empty_stream_is_held_for_its_wait_or_until_the_job_ends(start: Start) -> None:
    assert Limits().stream_wait_seconds == 10
    wire = await start(limits=Limits(stream_wait_seconds=0.2))
    job_id = await wire.run()
    for query, seconds in (("", 0.2), ("?wait=1000", 1.0)):
        started = time.monotonic()
        assert await wire.client("GET", f"/stream/{job_id}{query}") == (200, {"status": "IN_PROGRESS", "stream": []})
        assert seconds - 0.05 <= time.monotonic() - started < seconds + 1

    call = asyncio.create_task(wire.client("GET", f"/stream/{job_id}?wait=60000"))
    await asyncio.sleep(0.05)
    await wire.client("POST", f"/cancel/{job_id}")
    assert await asyncio.wait_for(call, 1) == (200, {"status": "CANCELLED", "stream": []})


async def test_stream_that_breaks_off_keeps_its_chunks_for_the_next_call(start: Start) -> None:
    wire = await start(limits=Limits(stream_wait_seconds=5))
    job_id = await wire.run()
    call = asyncio.create_task(wire.client("GET", f"/stream/{job_id}"))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.wait([call])
    await wire.stream(job_id, "kept")
    assert (await wire.client("GET", f"/stream/{job_id}"))[1]["stream"] == [{"output": "kept"}]


async def test_stream_as_an_array_is_a_switch(start: Start) -> None:
    wire = await start(switches=Switches(stream_answer="array"))
    job_id = await wire.run()
    await wire.stream(job_id, 1)
    assert await wire.client("GET", f"/stream/{job_id}") == (200, [{"output": 1}])


@pytest.mark.fact("A7-chunk-limit")
async def test_chunk_that_is_too_large_is_split_if_it_is_text_and_else_refused(start: Start) -> None:
    wire = await start(limits=Limits(stream_chunk_bytes=10))
    job_id = await wire.run()
    assert await wire.stream(job_id, "0123456789ab") == 200
    assert await wire.stream(job_id, ["0123456789ab"]) == 400
    assert (await wire.worker("POST", f"/job-stream/w1/{job_id}?x", data=b'{"output": NaN}'))[0] == 400
    assert (await wire.worker("POST", f"/job-stream/w1/{job_id}?x", data=b"{}"))[0] == 400
    assert (await wire.worker("POST", "/job-stream/w1/nope?x", json={"output": 1}))[0] == 404
    stream = (await wire.client("GET", f"/stream/{job_id}"))[1]["stream"]
    assert stream == [{"output": "0123456789"}, {"output": "ab"}]
    assert await wire.state(job_id) == "IN_PROGRESS"


@pytest.mark.fact("A8-retry-same-id")
@pytest.mark.fact("A8-retry-only-failed")
async def test_failed_job_is_retried_with_its_id(start: Start) -> None:
    wire = await start()
    job_id = await wire.run()
    code, answer = await wire.client("POST", f"/retry/{job_id}")
    assert code == 400
    assert "FAILED or TIMED_OUT" in answer["error"]
    await wire.done(job_id, {"error": "no", "output": 1})

    assert await wire.client("POST", f"/retry/{job_id}") == (200, {"id": job_id, "status": "IN_QUEUE"})
    assert await wire.client("GET", f"/status/{job_id}") == (200, {"id": job_id, "status": "IN_QUEUE"})
    assert await wire.worker("GET", "/job-take/w2?gpu=x") == (200, {"id": job_id, "input": {"n": 1}})


@pytest.mark.parametrize("code", ["400", "404", "409"])
async def test_status_of_a_refused_retry_is_a_switch(start: Start, code: str) -> None:
    wire = await start(switches=Switches(refused_retry=code))
    assert (await wire.client("POST", f"/retry/{await wire.submit()}"))[0] == int(code)


@pytest.mark.fact("A8-purge-queue")
async def test_purge_queue_says_how_many_it_removed(start: Start) -> None:
    wire = await start()
    running = await wire.run()
    waiting = [await wire.submit() for _ in range(2)]
    assert await wire.client("POST", "/purge-queue") == (200, {"removed": 2, "status": "completed"})
    assert [await wire.state(job_id) for job_id in (running, *waiting)] == ["IN_PROGRESS", "CANCELLED", "CANCELLED"]


async def test_requests_are_listed_or_missing(start: Start) -> None:
    wire = await start()
    ids = [await wire.submit() for _ in range(3)]
    code, answer = await wire.client("GET", "/requests?limit=2")
    assert (code, [job["id"] for job in answer["requests"]]) == (200, [ids[2], ids[1]])
    assert answer["requests"][0]["input"] == {"n": 1}
    for limit in ("0", "1001", "x"):
        assert (await wire.client("GET", f"/requests?limit={limit}"))[0] == 400

    wire = await start(switches=Switches(requests="missing"))
    assert (await wire.client("GET", "/requests"))[0] == 404


@pytest.mark.fact("A1-metrics")
async def test_metrics_name_the_ready_workers(start: Start) -> None:
    wire = await start()
    await wire.worker("GET", "/ping/w7?x")
    code, answer = await wire.client("GET", "/metrics")
    assert (code, answer["readyWorkers"], answer["workers"]["ready"]) == (200, ["w7"], 1)


@pytest.mark.fact("A9-rate-limits")
async def test_too_many_requests_are_refused_and_others_are_not(start: Start) -> None:
    wire = await start()
    codes = [(await wire.client("POST", "/purge-queue"))[0] for _ in range(3)]
    assert codes == [200, 200, 429]
    assert (await wire.client("GET", "/health"))[0] == 200

    wire = await start(rate_limits=RateLimits(by_operation={"runsync": RateLimit(100, concurrent=1)}))
    held = asyncio.create_task(wire.client("POST", "/runsync", json={"input": 1}))
    async with asyncio.timeout(5):
        while (await wire.client("GET", "/health"))[1]["jobs"]["inQueue"] != 1:
            await asyncio.sleep(0.01)
    assert (await wire.client("POST", "/runsync", json={"input": 1}))[0] == 429
    held.cancel()
    await asyncio.wait([held])

    wire = await start(rate_limits=None)
    assert {(await wire.client("POST", "/purge-queue"))[0] for _ in range(5)} == {200}


@pytest.mark.fact("A9-queue-limit")
async def test_full_queue_refuses_jobs(start: Start) -> None:
    wire = await start(limits=Limits(queue_jobs=1, queue_jobs_per_worker=1), max_workers=lambda: 2)
    codes = [(await wire.client("POST", "/run", json={"input": 1}))[0] for _ in range(4)]
    assert codes == [200, 200, 200, 429]


@pytest.mark.fact("B4-flashboot-400")
async def test_revived_worker_is_refused_once_and_then_gets_jobs(start: Start) -> None:
    wire = await start()
    wire.endpoint.release("w1")
    job_id = await wire.submit()
    assert (await wire.worker("GET", "/job-take/w1?gpu=x"))[0] == 204, "it is to be frozen, and gets nothing"
    assert (await wire.client("GET", "/health"))[1]["workers"]["idle"] == 1

    wire.endpoint.revive("w1")
    assert (await wire.worker("GET", "/job-take/w1?gpu=x"))[0] == 400
    code, job = await wire.worker("GET", "/job-take/w1?gpu=x")
    assert (code, job["id"]) == (200, job_id)


async def test_emulator_shows_itself_to_whoever_has_the_key(start: Start) -> None:
    wire = await start()
    running, waiting = await wire.run(), await wire.submit()
    code, state = await wire.send("GET", "/emulator/state")
    assert (code, set(state)) == (200, {"queue", "jobs", "recent_jobs", "job_count"})
    assert [job["id"] for job in state["recent_jobs"]] == [running, waiting]
    assert (await wire.send("GET", "/emulator/state", "wrong"))[0] == 401
    assert (await wire.send("GET", "/emulator/faults"))[0] == 404, "faults are accepted only if the operator says so"


async def test_faults_are_planned_over_http_if_they_are_accepted(start: Start) -> None:
    wire = await start(accept_faults=True)
    assert (await wire.send("POST", "/emulator/faults", "wrong", json={"faults": []}))[0] == 401
    assert (await wire.send("POST", "/emulator/faults", json={"faults": ["status:route=run,code=503"]}))[0] == 200
    assert (await wire.client("POST", "/run", json={"input": 1}))[0] == 503
    assert (await wire.client("POST", "/run", json={"input": 1}))[0] == 200


async def test_nobody_is_told_what_could_not_be_kept(start: Start, tmp_path: Path) -> None:
    wire = await start(state_file=tmp_path / "state")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # to SQLite, a disk that is full
    try:
        code, answer = await wire.client("POST", "/run", json={"input": "x" * 100_000})
        assert code == 500
        assert str(tmp_path / "state") in answer["error"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    async with asyncio.timeout(5):
        while (await wire.client("GET", "/health"))[0] != 200:
            await asyncio.sleep(0.05)
    assert await wire.submit()


async def test_webhook_v2_is_accepted_ignored_and_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    wire = await start()
    job_id = await wire.run(webhookV2="http://127.0.0.1:9/")
    await wire.done(job_id, {"output": 1})
    assert [record.__dict__["fields"] for record in caplog.records if record.message == "webhook_v2_ignored"] == [
        {"job_id": job_id}
    ]


async def test_stream_that_did_not_fit_through_a_broken_connection_is_kept(start: Start) -> None:
    wire = await start(limits=Limits(stream_chunk_bytes=9_500_000))
    job_id, text = await wire.run(), "x" * 9_000_000
    body = io.BytesIO(json.dumps({"output": text}).encode())
    assert (await wire.worker("POST", f"/job-stream/w1/{job_id}?x", data=body))[0] == 200
    host, port = wire.address.removeprefix("http://").split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(f"GET /v2/local/stream/{job_id} HTTP/1.1\r\nHost: x\r\nAuthorization: local\r\n\r\n".encode())
        await until(lambda: not wire.endpoint.jobs.has_stream(job_id))
    await until(lambda: wire.endpoint.jobs.has_stream(job_id))
    assert (await wire.client("GET", f"/stream/{job_id}"))[1]["stream"] == [{"output": text}]


@pytest.mark.fact("A9-rate-limits")
@pytest.mark.parametrize(
    ("operation", "method", "path"),
    [
        ("run", "POST", "/run"),
        ("runsync", "POST", "/runsync"),
        ("status", "GET", "/status/JOB"),
        ("status", "POST", "/status/JOB"),
        ("status", "GET", "/status-sync/JOB"),
        ("status", "POST", "/status-sync/JOB"),
        ("stream", "GET", "/stream/JOB"),
        ("stream", "POST", "/stream/JOB"),
        ("cancel", "POST", "/cancel/JOB"),
        ("purge-queue", "POST", "/purge-queue"),
        ("requests", "GET", "/requests"),
    ],
)
async def test_every_operation_has_its_limit(start: Start, operation: str, method: str, path: str) -> None:
    wire = await start(rate_limits=RateLimits(by_operation={operation: RateLimit(1)}))
    assert (await wire.client(method, path))[0] != 429
    assert (await wire.client(method, path))[0] == 429


async def test_what_is_nested_too_deep_is_refused_and_harms_no_other_job(start: Start, tmp_path: Path) -> None:
    """Python reads a little deeper than it writes: such a job could be neither kept nor given to a worker."""
    wire = await start(state_file=tmp_path / "state")
    for depth, expected in ((400, 200), *((depth, 400) for depth in range(500, 1000, 20))):
        body = '{"input": {"deep": %s}}' % ("[" * depth + "]" * depth)
        assert (await wire.client("POST", "/run", data=body))[0] == expected, depth
    assert await wire.take() is not None
    await wire.submit()


@pytest.mark.parametrize("name", ["ttl", "executionTimeout"])
async def test_number_of_any_size_is_refused_with_a_sentence(start: Start, name: str) -> None:
    wire = await start()
    body = {"input": {"n": 1}, "policy": {name: int("9" * 400)}}
    code, answer = await wire.client("POST", "/run", json=body)
    assert (code, name in answer["error"]) == (400, True)
    job_id = await wire.submit()
    assert (await wire.client("GET", f"/status/{job_id}?ttl={'9' * 400}"))[0] == 400


async def test_refusal_does_not_repeat_a_number_of_a_million_digits(start: Start) -> None:
    wire = await start()
    code, answer = await wire.client("POST", "/run", data='{"input": %s.0}' % ("1" * 1_000_000))
    assert code == 400
    assert len(answer["error"]) < 200
