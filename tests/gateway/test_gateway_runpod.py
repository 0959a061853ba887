"""RunPod's interface on the master: our own client, unmodified, and the web page's runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from comfypod import Client
from comfypod.cloud.jobs import JobState
from comfypod.errors import AuthenticationFailed, JobCancelled, JobNotFound, OutOfMemory
from comfypod.master.quotas import Quota
from tests.gateway.conftest import WORKFLOW, House, OpenHouse, until
from tests.gateway.test_gateway_webhooks import Receiver, receiving
from tests.web.run_site import PROMPT, VISITOR, ended, run_when, runs_at

PICTURE = b"\x89PNG\r\n\x1a\n" + b"not really, but bytes" * 100


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """Our client, at an endpoint that the gateway serves."""
    with Client("any-name", house.key, f"{house.gateway.url}/v2", patience_seconds=2) as made:
        yield made


async def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(lambda: function(*arguments, **named))


async def test_a_job_is_submitted_followed_and_its_result_fetched(house: House, client: Client, tmp_path: Path) -> None:
    job = await call(client.submit, WORKFLOW, previews=True, parameters={"3.seed": 5})
    assert house.submitted().key == job.id
    assert (await call(job.status)).state is JobState.IN_QUEUE

    house.master.run(job.id, 0.4, current_node="3")
    house.store.save_preview(job.id, "image/jpeg", b"small")
    running = await call(job.status)
    assert running.state is JobState.IN_PROGRESS
    assert running.progress.value == 0.4
    assert running.progress.preview.data == b"small"

    waiting = asyncio.create_task(call(job.wait))
    await house.master.succeed(job.id, pictures={"9": PICTURE}, texts=("a caption",))
    result = await waiting
    assert [text["value"] for text in result["texts"]] == ["a caption"]
    await call(result.save, tmp_path / "saved")
    (saved,) = (tmp_path / "saved").rglob("*.png")
    assert saved.read_bytes() == PICTURE


async def test_a_key_that_comes_again_is_the_same_job(house: House, client: Client) -> None:
    first = await call(client.submit, WORKFLOW, idempotency_key="order-7")
    second = await call(client.submit, WORKFLOW, idempotency_key="order-7")
    assert first.id == second.id
    assert (await call(client.find, "order-7")).id == first.id
    job_input = house.store.job_input(first.id)
    assert "idempotency_key" not in job_input, "on the worker the master's own is used"
    await house.master.succeed(first.id, pictures={"9": PICTURE})
    assert (await call(first.wait))["idempotency_key"] == "order-7"


async def test_a_failed_job_is_of_the_workers_class(house: House, client: Client) -> None:
    job = await call(client.submit, WORKFLOW)
    house.master.run(job.id)
    house.master.fail(job.id, "out_of_memory", node_id="3")
    with pytest.raises(OutOfMemory):
        await call(job.wait)
    assert (await call(job.retry)).state is JobState.IN_QUEUE
    assert house.store.get(job.id).run == 2


async def test_a_job_is_cancelled(house: House, client: Client) -> None:
    queued, running = await call(client.submit, WORKFLOW), await call(client.submit, WORKFLOW)
    house.master.run(running.id)
    for job in (queued, running):
        await call(job.cancel)
        with pytest.raises(JobCancelled):
            await call(job.wait)
    assert house.store.get(running.id).cancel_requested_at is not None


async def test_strangers_see_nothing(house: House, client: Client) -> None:
    job = await call(client.submit, WORKFLOW)
    with (
        Client("x", house.store.add_key("stranger"), f"{house.gateway.url}/v2", patience_seconds=1) as stranger,
        pytest.raises(JobNotFound),
    ):
        await call(stranger.endpoint.status, job.id)
    with (
        Client("x", "cp_wrong", f"{house.gateway.url}/v2", patience_seconds=1) as nobody,
        pytest.raises(AuthenticationFailed),
    ):
        await call(nobody.submit, WORKFLOW)


async def test_health_counts_and_the_queue_is_purged(house: House, client: Client) -> None:
    jobs = [await call(client.submit, WORKFLOW) for _ in range(3)]
    house.master.run(jobs[0].id)
    health = await call(client.endpoint.health)
    assert (health["jobs"]["inQueue"], health["jobs"]["inProgress"], health["workers"]["running"]) == (2, 1, 1)
    assert await call(client.endpoint.purge_queue) == 2
    assert (await call(jobs[1].status)).state is JobState.CANCELLED
    assert (await call(jobs[0].status)).state is JobState.IN_PROGRESS


async def test_runsync_waits_for_the_end_or_gives_the_id(house: House) -> None:
    body = {"input": {"workflow": WORKFLOW}}
    late, _ = await house.ask("POST", "/v2/x/runsync?wait=1000", json=body)
    assert late["status"] == "IN_QUEUE"
    waiting = asyncio.create_task(house.ask("GET", f"/v2/x/status-sync/{late['id']}?wait=9000"))
    await asyncio.sleep(0)
    await house.master.succeed(late["id"], texts=("done",))
    ended, _ = await waiting
    assert (ended["status"], ended["output"]["texts"][0]["value"]) == ("COMPLETED", "done")
    assert (ended["delayTime"], ended["executionTime"]) == (20, 40)


@pytest.mark.parametrize("body", [{}, {"input": {}}, {"input": "x"}, {"input": {"prompt": "x"}, "s3Config": {"a": 1}}])
async def test_what_cannot_be_run_is_refused(house: House, body: dict[str, Any]) -> None:
    assert (await house.refusal("POST", "/v2/x/run", 422, json=body))["code"] == "invalid_request"


async def test_the_workflow_of_a_template_only_its_worker_has(house: House) -> None:
    answer, _ = await house.ask("POST", "/v2/x/run", json={"input": {"prompt": "x"}})
    await house.ask("GET", f"/api/v2/jobs/{answer['id']}")
    assert (await house.refusal("GET", f"/api/v2/jobs/{answer['id']}/workflow", 404))["code"] == "not_found"


async def test_a_policy_is_heeded(house: House) -> None:
    body = {"input": {"prompt": "x"}, "policy": {"executionTimeout": 90_000, "lowPriority": True, "ttl": 1}}
    await house.ask("POST", "/v2/x/run", json=body)
    request = house.submitted()
    assert (request.priority, request.timeout_seconds) == ("low", 90.0)
    await house.ask("POST", "/v2/x/run", json={"input": {"prompt": "x", "describe": True}})
    assert house.submitted().priority == "high", "somebody waits at a form"


async def test_a_webhook_gets_what_runpod_would_post(house: House) -> None:
    async with receiving(Receiver([200])) as receiver:
        answer, _ = await house.ask("POST", "/v2/x/run", json={"input": {"prompt": "x"}, "webhook": receiver.url})
        await house.master.succeed(answer["id"], texts=("done",))
        await until(lambda: asyncio.sleep(0, receiver.received))
        message = json.loads(receiver.received[0][1])
    assert (message["id"], message["status"]) == (answer["id"], "COMPLETED")
    assert message["output"]["texts"][0]["value"] == "done"


async def test_a_quota_is_borne_by_the_client(open_house: OpenHouse) -> None:
    house = await open_house(Quota(at_once=1))
    with Client("x", house.key, f"{house.gateway.url}/v2", patience_seconds=20) as client:
        first = await call(client.submit, WORKFLOW)
        second = asyncio.create_task(call(client.submit, WORKFLOW))
        await asyncio.sleep(0.1)
        house.store.cancel(first.id)
        assert (await asyncio.wait_for(second, 20)).id != first.id


async def test_the_web_page_runs_on_it(house: House, client: Client, tmp_path: Path) -> None:
    async with runs_at(client, tmp_path / "data") as runs:
        run = await runs.submit(VISITOR, PROMPT)
        (request,) = await until(lambda: asyncio.to_thread(lambda: house.store.list(limit=1)))
        house.master.run(request.key, 0.5, current_node="3")
        house.store.save_preview(request.key, "image/jpeg", b"small")
        running = await run_when(runs, run, lambda run: run.preview is not None)
        assert running.state == "running"
        assert (await runs.preview(VISITOR, run.id)).data == b"small"
        await house.master.succeed(request.key, pictures={"9": PICTURE})
        done = await ended(runs, run)
        assert done.state == "succeeded", done.error
        file = await runs.file(VISITOR, run.id, 0)
        assert file.path.read_bytes() == PICTURE
