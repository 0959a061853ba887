"""Jobs by the official comfy-sdk, unmodified: what its users do, and see."""

from __future__ import annotations

import asyncio
import base64

import comfy_sdk
import pytest
from comfy_sdk import events as sdk_events

from tests.gateway.conftest import TENANT, WORKFLOW, House, until

PICTURE = b"\x89PNG not really, but bytes" * 100


def workflow(client: comfy_sdk.AsyncComfy) -> comfy_sdk.Workflow:
    return client.workflows.from_json(WORKFLOW)


async def record(job: comfy_sdk.AsyncJob, seen: list[sdk_events.Event]) -> None:
    """All events of a job, as they come."""
    async for item in job.events():
        seen.append(item)  # noqa: PERF401 (the test looks at them meanwhile)


async def test_a_job_is_submitted_runs_and_its_outputs_are_fetched(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client), metadata={"client": "acme"})
    assert (job.status, job.metadata) == ("queued", {"client": "acme"})

    house.master.run(job.id, 0.5)
    await job.refresh()
    assert job.status == "running"

    await house.master.succeed(job.id, pictures={"9": PICTURE}, texts=("a caption",))
    await job.result()

    picture, text = job.outputs
    assert (picture.node_id, picture.name, picture.type) == ("9", "fox_9.png", "image")
    assert await picture.to_bytes() == PICTURE
    assert await picture.to_bytes(range=(4, 9)) == PICTURE[4:10]
    assert (text.type, await text.to_bytes()) == ("text", b"a caption")
    assert await text.to_bytes(range=(2, 4)) == b"cap"
    address = await picture.get_download_url()
    async with house.http.get(address.url) as answer:  # without any key
        assert await answer.read() == PICTURE


async def test_the_synchronous_client_runs_a_job(house: House) -> None:
    def run() -> tuple[str, bytes]:
        with comfy_sdk.Comfy(api_key=house.key) as client:
            job = client.run(client.workflows.from_json(WORKFLOW))
            return job.status, job.outputs[0].to_bytes()

    running = asyncio.ensure_future(asyncio.to_thread(run))
    await until(lambda: asyncio.to_thread(lambda: house.store.list(tenant=TENANT)))
    await house.master.succeed(house.submitted().key, pictures={"9": PICTURE})
    assert await running == ("succeeded", PICTURE)


async def test_events_tell_all_and_end_with_the_last_status(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))
    seen: list[sdk_events.Event] = []

    def has_seen(kind: type) -> bool:
        return any(isinstance(item, kind) for item in seen)

    listening = asyncio.create_task(record(job, seen))
    await until(lambda: asyncio.sleep(0, bool(seen)))
    house.master.run(job.id, 0.4, current_node="3", message="KSampler 8/20", step=8, steps=20)
    house.store.save_preview(job.id, "image/jpeg", b"a small picture")
    await until(lambda: asyncio.sleep(0, has_seen(sdk_events.Preview)))
    await house.master.succeed(job.id, pictures={"9": PICTURE})
    await asyncio.wait_for(listening, 10)

    assert isinstance(seen[0], sdk_events.StatusChange)
    assert (seen[0].status, seen[0].queue_position) == ("queued", 0)
    preview = next(item for item in seen if isinstance(item, sdk_events.Preview))
    assert (preview.node_id, preview.content_type, preview.data) == ("3", "image/jpeg", b"a small picture")
    progress = [item for item in seen if isinstance(item, sdk_events.Progress)]
    assert (progress[0].value, progress[0].step, progress[0].message) == (0.4, 8, "KSampler 8/20")
    assert progress[-1].value == 1.0
    *_, output, last = seen
    assert isinstance(output, sdk_events.OutputReady), "outputs come before the last status"
    assert await output.output.to_bytes() == PICTURE
    assert last == sdk_events.StatusChange("succeeded")


async def test_progress_never_falls_when_a_job_is_tried_again(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))
    house.master.run(job.id, 0.7)
    seen: list[sdk_events.Event] = []

    def values() -> list[float]:
        return [item.value for item in seen if isinstance(item, sdk_events.Progress)]

    listening = asyncio.create_task(record(job, seen))
    await until(lambda: asyncio.sleep(0, bool(values())))
    request = house.store.get(job.id)
    assert house.store.waits(job.id, request.attempt, {"code": "lost", "message": "The worker died"})
    house.master.run(job.id, 0.1)
    await job.refresh()
    assert job.status == "running"
    assert job._model.progress.value == 0.7, "also for those who ask anew"
    house.master.run(job.id, 0.8)
    await until(lambda: asyncio.sleep(0, 0.8 in values()))
    house.master.fail(job.id)
    await asyncio.wait_for(listening, 10)
    assert values() == sorted(values())


async def test_a_queued_job_is_cancelled_at_once_and_again_without_change(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))
    await job.cancel()
    assert job.status == "canceled"
    first = (await house.ask("GET", f"/api/v2/jobs/{job.id}"))[0]
    await job.cancel()
    assert (await house.ask("POST", f"/api/v2/jobs/{job.id}/cancel"))[0] == first
    assert first["completed_at"] is not None


async def test_a_running_job_is_canceling_until_its_master_has_ended_it(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))
    house.master.run(job.id)
    assert (await job.cancel()).status == "canceling"
    assert (await job.cancel()).status == "canceling"
    house.master.end_cancelled(job.id)
    with pytest.raises(comfy_sdk.JobFailed):
        await job.result()
    assert job.status == "canceled"


async def test_when_it_was_completed_is_said_once(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))
    house.master.run(job.id)
    assert (await house.ask("GET", f"/api/v2/jobs/{job.id}"))[0]["completed_at"] is None
    await house.master.succeed(job.id, pictures={"9": PICTURE})
    first = (await house.ask("GET", f"/api/v2/jobs/{job.id}"))[0]
    house.store.cancel(job.id)
    assert (await house.ask("GET", f"/api/v2/jobs/{job.id}"))[0] == first
    assert {*first["metrics"]} == {"queue_ms", "execution_ms", "delay_ms"}
    assert first["metrics"]["execution_ms"] == 40


async def test_a_failed_job_says_which_node_and_why(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))
    house.master.run(job.id)
    house.master.fail(job.id, node_id="3", class_type="KSampler")
    with pytest.raises(comfy_sdk.JobFailed) as caught:
        await job.result()
    assert caught.value.error.code == "node_execution_error"
    assert (caught.value.error.node_id, caught.value.error.class_type) == ("3", "KSampler")
    assert caught.value.error.message == "It went wrong"


async def test_jobs_are_listed_newest_first_by_label_page_by_page(house: House) -> None:
    client = await house.sdk()
    made = [(await client.submit(workflow(client), metadata={"run": str(number % 2)})).id for number in range(5)]
    assert [item.id async for item in client.list_jobs(limit=2)] == made[::-1]
    assert [item.id async for item in client.list_jobs(metadata={"run": "0"}, limit=1)] == made[::-2]


async def test_the_workflow_of_a_job_and_a_handle_by_its_id(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client), api_key="sk-paid-nodes")
    again = await client.jobs.get(job.id)
    found = await again.get_workflow()
    assert (found.graph, found.format) == (WORKFLOW, "api")
    assert house.store.job_input(job.id)["comfy_org_api_key"] == "sk-paid-nodes"
    house.master.fail(job.id)
    assert "sk-paid-nodes" not in str(house.store.job_input(job.id)), "it is kept no longer than it is needed"


async def test_an_idempotency_key_makes_one_job(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client), idempotency_key="order 7")
    with pytest.raises(comfy_sdk.IdempotencyKeyReuse) as caught:
        await client.submit(workflow(client), idempotency_key="order 7")
    assert caught.value.details == {"job_id": job.id}
    assert [item.id async for item in client.list_jobs()] == [job.id]


async def test_queue_positions_are_those_of_the_turns(house: House) -> None:
    client = await house.sdk()
    first = await client.submit(workflow(client))
    second = await client.submit(workflow(client))
    assert (first._model.queue_position, second._model.queue_position) == (0, 1)
    house.master.submit(first.id)
    await second.refresh()
    assert second._model.queue_position == 0


async def test_a_stream_follows_the_place_in_the_queue(house: House) -> None:
    client = await house.sdk()
    first = await client.submit(workflow(client))
    second = await client.submit(workflow(client))
    seen: list[sdk_events.Event] = []

    def positions() -> list[int | None]:
        return [item.queue_position for item in seen if isinstance(item, sdk_events.StatusChange)]

    listening = asyncio.create_task(record(second, seen))
    await until(lambda: asyncio.sleep(0, positions() == [1]))
    house.master.submit(first.id)
    await until(lambda: asyncio.sleep(0, positions() == [1, 0]))
    house.store.cancel(second.id)
    await asyncio.wait_for(listening, 10)


async def test_many_streams_of_a_job_all_end(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))

    async def last_status() -> str:
        return [item async for item in job.events()][-1].status

    listening = [asyncio.create_task(last_status()) for _ in range(10)]
    await asyncio.sleep(0)
    house.master.run(job.id, 0.2)
    house.master.fail(job.id)
    assert await asyncio.wait_for(asyncio.gather(*listening), 10) == ["failed"] * 10


async def test_previews_are_asked_of_the_worker(house: House) -> None:
    client = await house.sdk()
    job = await client.submit(workflow(client))
    assert house.store.job_input(job.id)["progress"] == {"previews": True}
    house.master.run(job.id)
    house.store.save_preview(job.id, "image/jpeg", b"one")
    async with house.http.get(
        f"{house.gateway.url}/api/v2/jobs/{job.id}/events", headers={"Authorization": f"Bearer {house.key}"}
    ) as answer:
        names = [(await answer.content.readuntil(b"\n\n")).split(b"\n")[0] for _ in range(3)]
        assert names == [b"event: status", b"event: progress", b"event: preview"], "the state on connecting, in order"
    assert base64.b64decode("b25l") == b"one"
