"""The local RunPod over raw HTTP, once as a client and once as a worker."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator
from tests.emulator.wire import Wire, until


class Served(Wire):
    """Both sides of one emulator."""

    def __init__(self, emulator: RunPodEmulator, session: aiohttp.ClientSession) -> None:
        super().__init__(emulator.base_url.removesuffix("/v2"), emulator.worker_key, session)
        self.emulator = emulator


LIMITS = Limits(
    run_bytes=2_000,
    runsync_bytes=4_000,
    run_retention_seconds=3.0,
    runsync_retention_seconds=0.3,
    lost_job_seconds=1.2,
    minimum_execution_seconds=0.1,
    minimum_ttl_seconds=0.1,
)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@pytest.fixture
async def wire(session: aiohttp.ClientSession) -> AsyncIterator[Served]:
    """An endpoint with RunPod's own limits."""
    async with RunPodEmulator(platform=PlatformOptions(poll_seconds=0.5)) as emulator:
        yield Served(emulator, session)


@pytest.fixture
async def patient(session: aiohttp.ClientSession) -> AsyncIterator[Served]:
    """One that holds a poll for half a minute, as RunPod does: what comes sooner came because of something."""
    async with RunPodEmulator(platform=PlatformOptions(poll_seconds=30)) as emulator:
        yield Served(emulator, session)


@pytest.fixture
async def small(session: aiohttp.ClientSession) -> AsyncIterator[Served]:
    """An endpoint on which everything is small and short."""
    async with RunPodEmulator(platform=PlatformOptions(poll_seconds=20, limits=LIMITS)) as emulator:
        yield Served(emulator, session)


@pytest.mark.fact("A1-success-is-200")
@pytest.mark.fact("A1-status-get-and-post")
@pytest.mark.fact("A2-run-answer")
@pytest.mark.fact("B6-form-header")
@pytest.mark.fact("B7-progress")
async def test_job_from_run_to_result(wire: Served) -> None:
    job_id = await wire.submit()
    job = await wire.take()
    assert job == {"id": job_id, "input": {"n": 1}}

    assert await wire.done(job_id, {"status": "IN_PROGRESS", "output": {"step": 1}}) == 200
    running = await wire.status(job_id)
    assert (running["status"], running["output"], running["workerId"]) == ("IN_PROGRESS", {"step": 1}, "w1")

    assert await wire.done(job_id, {"output": {"images": ["Straße"]}}) == 200
    code, ended = await wire.client("POST", f"/status/{job_id}")
    assert code == 200
    assert {type(ended.pop(name)) for name in ("delayTime", "executionTime")} == {int}
    assert ended == {"id": job_id, "status": "COMPLETED", "workerId": "w1", "output": {"images": ["Straße"]}}


@pytest.mark.fact("B3-error")
async def test_error_makes_the_job_fail_and_keeps_the_rest(wire: Served) -> None:
    job_id = await wire.submit()
    await wire.take()
    await wire.done(job_id, {"error": "no such node", "output": {"code": "prompt_failed"}})

    status = await wire.status(job_id)
    assert (status["status"], status["error"]) == ("FAILED", "no such node")
    assert status["output"] == {"code": "prompt_failed"}


@pytest.mark.fact("B4-job-take")
async def test_waiting_worker_gets_a_job_as_soon_as_there_is_one(patient: Served) -> None:
    poll = asyncio.create_task(patient.take())
    await until(lambda: _idle_workers(patient, 1))
    job_id = await patient.submit()
    assert (await asyncio.wait_for(poll, 10))["id"] == job_id


async def _idle_workers(wire: Served, count: int) -> bool:
    return (await wire.client("GET", "/health"))[1]["workers"]["idle"] == count


@pytest.mark.fact("B4-job-take")
@pytest.mark.fact("B5-job-stop")
async def test_empty_polls_are_held_and_then_answered_204(wire: Served) -> None:
    started = time.monotonic()
    answers = await asyncio.gather(*(wire.worker("GET", f"/{name}/w1?gpu=x") for name in ("job-take", "job-stop")))
    assert answers == [(204, None), (204, None)]
    assert time.monotonic() - started >= 0.4


@pytest.mark.fact("B4-batch-take")
async def test_batch_is_a_list_of_at_most_that_many(wire: Served) -> None:
    job_ids = [await wire.submit() for _ in range(3)]
    code, jobs = await wire.worker("GET", "/job-take-batch/w1?gpu=x&batch_size=2&job_in_progress=0")
    assert (code, [job["id"] for job in jobs]) == (200, job_ids[:2])
    code, jobs = await wire.worker("GET", "/job-take-batch/w1?gpu=x&batch_size=2&job_in_progress=1")
    assert (code, [job["id"] for job in jobs]) == (200, job_ids[2:])
    assert (await wire.worker("GET", "/job-take-batch/w1?batch_size=0"))[0] == 400
    assert (await wire.worker("GET", "/job-take-batch/w1?batch_size=x"))[0] == 400


async def test_job_is_never_given_to_a_connection_that_is_gone(wire: Served) -> None:
    poll = asyncio.create_task(wire.take("gone"))
    await until(lambda: _idle_workers(wire, 1))
    poll.cancel()
    await asyncio.wait([poll])

    job_id = await wire.submit()
    assert (await wire.take("w2"))["id"] == job_id


async def test_job_that_did_not_fit_through_a_broken_connection_goes_to_the_next_worker(wire: Served) -> None:
    body = io.BytesIO(b'{"input": "' + b"x" * 9_000_000 + b'"}')
    code, answer = await wire.client("POST", "/run", data=body)
    assert code == 200
    address = wire.emulator.base_url.split("/")[2].split(":")
    with socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        worker.connect((address[0], int(address[1])))
        head = (
            f"GET /v2/local/job-take/w1?gpu=x HTTP/1.1\r\nHost: x\r\nAuthorization: {wire.emulator.worker_key}\r\n\r\n"
        )
        worker.sendall(head.encode())
        await until(lambda: _has_state(wire, answer["id"], "IN_PROGRESS"))

    assert (await wire.take("w2"))["id"] == answer["id"]
    status = await wire.status(answer["id"])
    assert "retries" not in status


async def _has_state(wire: Served, job_id: str, state: str) -> bool:
    return (await wire.status(job_id))["status"] == state


@pytest.mark.fact("A3-runsync-result")
async def test_runsync_answers_with_the_whole_result(wire: Served) -> None:
    call = asyncio.create_task(wire.client("POST", "/runsync", json={"input": {"n": 1}}))
    job = await wire.take()
    assert job["id"].startswith("sync-")
    await wire.done(job["id"], {"output": 5})

    code, answer = await call
    assert code == 200
    assert (answer["status"], answer["output"], answer["id"]) == ("COMPLETED", 5, job["id"])
    assert {"delayTime", "executionTime"} <= set(answer)


@pytest.mark.fact("A3-runsync-wait")
async def test_runsync_answers_after_its_wait_with_a_job_to_poll(wire: Served) -> None:
    started = time.monotonic()
    code, answer = await wire.client("POST", "/runsync?wait=1000", json={"input": {"n": 1}})
    assert (code, answer["status"]) == (200, "IN_QUEUE")
    assert 0.9 <= time.monotonic() - started < 3
    assert (await wire.status(answer["id"]))["status"] == "IN_QUEUE"


@pytest.mark.fact("A3-runsync-wait")
@pytest.mark.parametrize("wait", ["999", "300001", "soon"])
async def test_runsync_refuses_a_wait_outside_its_range(wire: Served, wait: str) -> None:
    code, answer = await wire.client("POST", f"/runsync?wait={wait}", json={"input": {"n": 1}})
    assert code == 400
    assert "wait" in answer["error"]


@pytest.mark.fact("A8-cancel")
@pytest.mark.fact("B5-job-stop")
async def test_cancel_of_a_running_job_reaches_its_worker_at_once(patient: Served) -> None:
    job_id = await patient.submit()
    await patient.take()
    poll = asyncio.create_task(patient.worker("GET", "/job-stop/w1?gpu=x"))

    assert await patient.client("POST", f"/cancel/{job_id}") == (200, {"id": job_id, "status": "CANCELLED"})
    assert await asyncio.wait_for(poll, 10) == (200, {"jobsToStop": [job_id]})
    assert await patient.done(job_id, {"output": "too late"}) == 200
    status = await patient.status(job_id)
    assert status["status"] == "CANCELLED"
    assert "output" not in status


@pytest.mark.fact("A8-health")
async def test_health_has_the_documented_fields(wire: Served) -> None:
    assert await wire.client("GET", "/health") == (
        200,
        {
            "jobs": {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0},
            "workers": {"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0},
        },
    )


@pytest.mark.fact("B10-fitness")
async def test_unhealthy_ping_is_counted(wire: Served) -> None:
    code, _ = await wire.worker("GET", "/ping/w1?gpu=x&status=unhealthy&check=models&reason=none&runpod_version=1.12.0")
    assert code == 200
    assert (await wire.client("GET", "/health"))[1]["workers"]["unhealthy"] == 1


@pytest.mark.fact("A1-bearer-or-bare-key")
@pytest.mark.parametrize("key", [None, "", "Bearer", "Bearer wrong", "Token local", "worker-local"])
async def test_client_without_the_key_is_refused(wire: Served, key: str | None) -> None:
    for method, path in (("POST", "/run"), ("GET", "/status/x"), ("GET", "/health"), ("POST", "/purge-queue")):
        code, answer = await wire.send(method, f"/v2/local{path}", key, json={"input": {"n": 1}})
        assert code == 401
        assert "key" in answer["error"]


@pytest.mark.fact("A1-bearer-or-bare-key")
async def test_key_may_come_bare(wire: Served) -> None:
    assert (await wire.send("GET", "/v2/local/health", "local"))[0] == 200


@pytest.mark.fact("B1-bare-key")
async def test_worker_without_its_key_is_refused_slowly(wire: Served) -> None:
    started = time.monotonic()
    paths = ("/job-take/w1", "/job-take-batch/w1", "/job-stop/w1", "/ping/w1")
    answers = await asyncio.gather(*(wire.send("GET", f"/v2/local{path}", "local") for path in paths))
    assert {code for code, _ in answers} == {401}
    assert time.monotonic() - started >= 0.9, "the SDK asks again at once, thousands of times a second"


@pytest.mark.fact("A4-unknown-is-404")
async def test_what_does_not_exist_is_not_found(wire: Served) -> None:
    for route in ("GET status", "POST status", "GET status-sync", "GET stream", "POST cancel", "POST retry"):
        method, name = route.split()
        path = f"/{name}/nope"
        code, answer = await wire.client(method, path)
        assert code == 404
        assert "nope" in answer["error"]
    code, answer = await wire.send("GET", "/v2/other/health", "Bearer local")
    assert code == 404
    assert "other" in answer["error"]
    assert await wire.done("nope", {"output": 1}) == 404
    assert (await wire.client("GET", "/nothing/here"))[0] == 404
    assert (await wire.client("GET", "/run"))[0] == 405


@pytest.mark.fact("A2-input-required")
@pytest.mark.parametrize(
    "data",
    [b"", b"no", b"[]", b"{}", b'{"input": null}', b'{"input": {"x": NaN}}', b'{"input": 1, "policy": {"ttl": 1}}'],
)
@pytest.mark.parametrize("path", ["/run", "/runsync"])
async def test_bad_request_is_refused_with_a_sentence(wire: Served, path: str, data: bytes) -> None:
    code, answer = await wire.client("POST", path, data=data)
    assert code == 400
    assert answer["error"].endswith(".") or "JSON" in answer["error"]
    assert (await wire.client("GET", "/health"))[1]["jobs"]["inQueue"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/batch"),
        ("GET", "/batch/x/requests"),
        ("POST", "/openai/v1/chat/completions"),
    ],
)
async def test_what_is_missing_says_so(wire: Served, method: str, path: str) -> None:
    code, answer = await wire.client(method, path)
    assert code == 501
    assert "not emulated" in answer["error"]


@pytest.mark.fact("A9-body-limits")
async def test_body_larger_than_the_limit_is_refused(small: Served) -> None:
    for path, limit in (("/run", 2_000), ("/runsync?wait=1000", 4_000)):
        code, answer = await small.client("POST", path, json={"input": "x" * limit})
        assert code == 400
        assert str(limit) in answer["error"]
        assert (await small.client("POST", path, json={"input": "x" * (limit - 100)}))[0] == 200


async def test_compressed_body_is_measured_after_decompression(small: Served) -> None:
    bomb = gzip.compress(b'{"input": "' + b"x" * 50_000_000 + b'"}')
    assert len(bomb) < 100_000
    headers = {"Content-Encoding": "gzip"}
    assert (await small.client("POST", "/run", data=bomb, headers=headers))[0] == 400
    good = gzip.compress(b'{"input": {"n": 1}}')
    assert (await small.client("POST", "/run", data=good, headers=headers))[0] == 200
    assert (await small.client("POST", "/run", data=b"this is not gzip", headers=headers))[0] == 400


@pytest.mark.fact("A10-refused-result")
@pytest.mark.parametrize(
    ("path", "size", "code"),
    [("/run", 2_100, 400), ("/runsync?wait=1000", 2_100, 200), ("/runsync?wait=1000", 4_100, 400)],
)
async def test_result_that_is_too_large_leaves_no_output(small: Served, path: str, size: int, code: int) -> None:
    call = asyncio.create_task(small.client("POST", path, json={"input": {"n": 1}}))
    job = await small.take()
    assert await small.done(job["id"], {"output": "x" * size}) == code
    await call
    status = await small.status(job["id"])
    assert status["status"] == "COMPLETED"
    assert ("output" in status) == (code == 200)


@pytest.mark.fact("A10-refused-result")
@pytest.mark.fact("B6-nan")
@pytest.mark.parametrize("body", [b'{"output": NaN}', b"", b"[1]", b'{"output": '])
async def test_result_that_is_not_json_leaves_no_output(wire: Served, body: bytes) -> None:
    job_id = await wire.submit()
    await wire.take()
    assert await wire.done(job_id, body) == 400
    status = await wire.status(job_id)
    assert status["status"] == "COMPLETED"
    assert "output" not in status


async def test_result_that_breaks_off_does_not_end_the_job(wire: Served) -> None:
    job_id = await wire.submit()
    await wire.take()
    host, port = wire.emulator.base_url.split("/")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v2/local/job-done/w1/{job_id}?x HTTP/1.1\r\nHost: x\r\nAuthorization: {wire.emulator.worker_key}\r\n"
    writer.write(f'{head}Content-Length: 1000\r\n\r\n{{"output": '.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert await wire.done(job_id, {"output": 2}) == 200
    assert (await wire.status(job_id))["output"] == 2


@pytest.mark.fact("B2-ping")
@pytest.mark.fact("B2-lost-job")
async def test_silent_worker_loses_its_job_to_another_and_then_it_fails(small: Served) -> None:
    job_id = await small.submit()
    await small.take("w1")
    assert (await small.take("w2"))["id"] == job_id
    assert (await small.status(job_id))["retries"] == 1

    for _ in range(5):  # a ping that names the job keeps it
        await small.worker("GET", f"/ping/w2?gpu=x&job_id=other,{job_id}&runpod_version=1.12.0")
        await asyncio.sleep(LIMITS.lost_job_seconds / 4)
    assert (await small.status(job_id))["status"] == "IN_PROGRESS"

    await until(lambda: _has_state(small, job_id, "FAILED"))
    assert (await small.status(job_id))["error"] == "job timed out after 1 retries"


@pytest.mark.fact("A9-execution-timeout")
async def test_job_over_its_execution_timeout_is_stopped(small: Served) -> None:
    job_id = await small.submit(policy={"executionTimeout": 150})
    await small.take()
    assert await small.worker("GET", "/job-stop/w1?gpu=x") == (200, {"jobsToStop": [job_id]})
    assert (await small.status(job_id))["status"] == "TIMED_OUT"


@pytest.mark.fact("A9-retention")
@pytest.mark.fact("A9-ttl")
@pytest.mark.fact("A4-ttl-query")
async def test_jobs_are_forgotten_after_their_time_to_live_and_retention(small: Served) -> None:
    async def is_gone(job_id: str) -> bool:
        return (await small.client("GET", f"/status/{job_id}"))[0] == 404

    short = await small.submit(policy={"ttl": 100})
    await until(lambda: is_gone(short))
    job_id = await small.submit()
    await small.take()
    await small.done(job_id, {"output": 1})
    assert (await small.status(job_id))["output"] == 1
    await until(lambda: is_gone(job_id))
    changed = await small.submit()
    assert (await small.client("GET", f"/status/{changed}?ttl=200"))[0] == 200
    assert (await small.client("GET", f"/status/{changed}?ttl=-1"))[0] == 400
    assert (await small.client("GET", f"/status/{changed}?ttl=x"))[0] == 400
    await until(lambda: is_gone(changed))


@pytest.mark.fact("B3-stop-pod")
async def test_stop_pod_of_a_worker_that_is_not_ours_is_logged_whatever_became_of_the_job(
    wire: Served, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await wire.run()
    await wire.client("POST", f"/cancel/{job_id}")
    with caplog.at_level(logging.INFO):
        assert await wire.done(job_id, {"output": 1, "stopPod": True}) == 200
    logged = [record.__dict__["fields"] for record in caplog.records if record.message == "stop_pod"]
    assert logged == [{"worker_id": "w1", "is_replaced": False}]


@pytest.mark.fact("B1-environment")
async def test_worker_environment_is_what_the_sdk_reads(wire: Served) -> None:
    environment = wire.emulator.worker_environment("w1")
    base = f"{wire.emulator.base_url}/local"
    assert environment["RUNPOD_WEBHOOK_GET_JOB"].startswith(f"{base}/job-take/$ID?")
    assert environment["RUNPOD_WEBHOOK_POST_OUTPUT"].startswith(f"{base}/job-done/$RUNPOD_POD_ID/$ID?")
    assert environment["RUNPOD_WEBHOOK_PING"].startswith(f"{base}/ping/$RUNPOD_POD_ID?")
    assert environment["RUNPOD_AI_API_KEY"] != "local"
    assert int(environment["RUNPOD_PING_INTERVAL"]) >= 1000


@pytest.mark.parametrize(
    ("limits", "milliseconds"),
    [
        ({}, 5000),
        ({"lost_job_seconds": 6.0}, 2000),
        ({"silent_worker_seconds": 3.5}, 1000),
        ({"lost_job_seconds": 0.5}, 1000),  # runpod-python cannot do better
    ],
)
async def test_heartbeats_come_three_times_before_a_job_or_a_worker_is_given_up(
    limits: dict[str, float], milliseconds: int
) -> None:
    async with RunPodEmulator(platform=PlatformOptions(limits=Limits(**limits))) as emulator:
        assert emulator.worker_environment("w1")["RUNPOD_PING_INTERVAL"] == str(milliseconds)


@pytest.mark.parametrize("endpoint_id", ["", "a/b", "a b", "é"])
def test_endpoint_id_that_no_address_could_hold_is_refused(endpoint_id: str) -> None:
    with pytest.raises(ValueError, match="endpoint's id"):
        RunPodEmulator(endpoint_id)


@pytest.mark.parametrize("api_key", ["", " ", "two words", "schlüssel", "a\n"])
def test_key_that_lets_everybody_in_or_nobody_is_refused_and_not_shown(api_key: str) -> None:
    with pytest.raises(ValueError, match="API key") as refused:
        RunPodEmulator(api_key=api_key)
    assert api_key.strip() == "" or api_key not in str(refused.value)


async def test_failure_of_the_sweep_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Without it no job times out and none is lost, which must not go unseen."""
    async with RunPodEmulator() as emulator:
        emulator.jobs._jobs["broken"] = object()  # type: ignore[assignment]
        emulator.jobs._deadlines.note(0.0, "broken")
        await until(lambda: any(record.message == "emulator_failed" for record in caplog.records))


async def test_address_is_on_loopback_and_known_only_after_the_start() -> None:
    emulator = RunPodEmulator()
    with pytest.raises(RuntimeError, match="started"):
        _ = emulator.base_url
    await emulator.start()
    assert emulator.base_url.startswith("http://127.0.0.1:")
    await emulator.stop()
    await emulator.stop()


async def test_taken_port_is_reported_and_nothing_stays_behind(wire: Served) -> None:
    port = int(wire.emulator.base_url.split(":")[2].split("/")[0])
    second = RunPodEmulator(fleet=FleetOptions(command=[sys.executable, "-c", "pass"]))
    with pytest.raises(OSError, match=str(port)):
        await second.start(port=port)


async def test_worker_command_that_does_not_exist_is_reported() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        await RunPodEmulator(fleet=FleetOptions(command=["no-such-program"])).start()


async def test_stop_answers_held_requests(session: aiohttp.ClientSession) -> None:
    async with RunPodEmulator(platform=PlatformOptions(poll_seconds=60)) as emulator:
        wire = Served(emulator, session)
        polls = [asyncio.create_task(wire.worker("GET", f"/{name}/w1?gpu=x")) for name in ("job-take", "job-stop")]
        await until(lambda: _idle_workers(wire, 1))
        call = asyncio.create_task(wire.client("POST", "/runsync", json={"input": {"n": 1}}))
        assert (await polls[0])[0] == 200
        started = time.monotonic()
        await emulator.stop()
        assert time.monotonic() - started < 10
        assert (await call)[1]["status"] == "IN_PROGRESS"
        assert await polls[1] == (204, None)
