"""A request from the store to its end, over a local RunPod and a real bucket, without the engine around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from comfypod.master import points
from comfypod.master.bearing import Bucket
from comfypod.master.documents import NewRequest, Request
from comfypod.master.endpoints import Endpoints, MasterEndpoint
from comfypod.master.follow import Pace
from comfypod.master.store import Store
from comfypod.master.watch import Watch
from comfypod.master.workflow import Tools, carry
from comfypod.storage.commits import Holder
from tests.master.workplace import Answer, Job, Platform, Workers, commit, fails, hold, output_of, platform, until
from tests.s3_server import S3Server

Ask = Callable[..., NewRequest]
QUICK = Pace(first=0.05, running=0.1, queued=0.2, bucket=0.3)


@dataclass
class Workplace:
    """A master's tools, and who works on the other side."""

    store: Store
    tools: Tools
    platform: Platform

    @property
    def workers(self) -> Workers:
        return self.platform.workers

    def ask(self, make: Ask, name: str = "order-1", **fields: object) -> Request:
        return self.store.submit(make(name, **fields)).request

    async def carry(self, request: Request) -> Request:
        async with asyncio.timeout(30):
            await carry(self.tools, request.key, request.run)
        return self.store.get(request.key)


@asynccontextmanager
async def workplace(
    tmp_path: Path, s3_server: S3Server, *faults: str, workers: int = 1, pace: Pace = QUICK
) -> AsyncIterator[Workplace]:
    url = f"sqlite:///{tmp_path / 'requests.db'}"
    Store.migrate(url)
    store = Store.open(url)
    watch = Watch(store, 0.1)
    watching = asyncio.create_task(watch.run())
    async with platform(s3_server, *faults, workers=workers) as site:
        endpoints = Endpoints([MasterEndpoint("ep", site.client)])
        yield Workplace(store, Tools(store, Bucket(site.workers.commits), endpoints, watch, pace), site)
    watching.cancel()
    store.close()


@pytest.fixture
async def place(tmp_path: Path, s3_server: S3Server) -> AsyncIterator[Workplace]:
    async with workplace(tmp_path, s3_server) as place:
        yield place


@pytest.fixture
def dying() -> Iterator[Callable[[points.Point], None]]:
    """Has whatever carries a request end at a point, as if the process had died there."""
    planned: list[points.Point] = []

    def observe(point: points.Point, key: str) -> None:
        if point in planned:
            planned.remove(point)
            raise asyncio.CancelledError

    points.observe(observe)
    yield planned.append
    points.observe(lambda point, key: None)


async def test_a_request_is_done(place: Workplace, ask: Ask) -> None:
    request = await place.carry(place.ask(ask, timeout_seconds=20))
    assert request.state == "succeeded"
    assert request.output == output_of(request.key)
    assert request.timings["gpu_ms"] == 7
    assert [item.event for item in place.store.outbox(request.key)] == ["request.succeeded"]
    sent = place.workers.jobs[0]["input"]
    assert sent == {"prompt": "a fox", "timeout_seconds": 20, "idempotency_key": request.key, "once": True}


@pytest.mark.parametrize(
    "point", ["claimed", "before_post", "after_post", "after_save", "while_following", "before_finish", "after_finish"]
)
async def test_it_goes_on_from_wherever_the_master_died(
    place: Workplace, ask: Ask, dying: Callable[[points.Point], None], point: points.Point
) -> None:
    request = place.ask(ask)
    dying(point)
    with pytest.raises(asyncio.CancelledError):
        await place.carry(request)
    ended = await place.carry(request)
    assert ended.state == "succeeded"
    assert len(place.workers.runs) == 1
    assert len(place.store.outbox(request.key)) == 1


async def test_a_job_whose_id_was_lost_is_found_by_its_worker_s_lease(place: Workplace, ask: Ask) -> None:
    request = place.ask(ask)
    attempt = place.store.begin_attempt(request.key, request.run, "ep")
    assert attempt == 1
    place.store.begin_attempt(request.key, request.run, "ep")  # of a second attempt the list says nothing
    held = await place.workers.commits.acquire(request.key, Holder("some-job", "w9"), 30)
    carrying = asyncio.create_task(place.carry(request))
    await until(lambda: place.store.get(request.key).job_id == "some-job", "the job of the lease")
    await place.workers.commits.commit(request.key, Holder("some-job", "w9"), output_of(request.key))
    await place.workers.commits.release(held)
    assert (await carrying).state == "succeeded"
    assert place.workers.jobs == []


async def test_an_answer_that_another_is_at_it_is_waited_out(place: Workplace, ask: Ask) -> None:
    request = place.ask(ask)
    holder = Holder("another-job", "w9")
    held = await place.workers.commits.acquire(request.key, holder, 30)
    carrying = asyncio.create_task(place.carry(request))
    await until(lambda: len(place.workers.jobs) == 1, "the duplicate")
    await asyncio.sleep(0.3)
    assert not carrying.done()
    await place.workers.commits.commit(request.key, holder, output_of(request.key))
    await place.workers.commits.release(held)
    ended = await carrying
    assert (ended.state, ended.worker_id) == ("succeeded", "w9")
    assert place.workers.runs == []


async def test_a_job_whose_other_worker_died_is_posted_again(place: Workplace, ask: Ask) -> None:
    request = place.ask(ask)
    await place.workers.commits.acquire(request.key, Holder("another-job", "w9"), 2)
    ended = await place.carry(request)
    assert (ended.state, ended.attempt) == ("succeeded", 2)
    assert len(place.workers.runs) == 1


@pytest.mark.parametrize(
    ("code", "retryable", "attempts", "failure"),
    [
        ("invalid_workflow", False, 1, "invalid"),
        ("out_of_memory", True, 2, "resource"),
        ("deadline_exceeded", False, 2, "timeout"),
        ("configuration", False, 1, "invalid"),
    ],
)
async def test_a_failure_is_repeated_as_its_class_says(
    place: Workplace, ask: Ask, *, code: str, retryable: bool, attempts: int, failure: str
) -> None:
    place.workers.script += [fails(code, "No.", retryable=retryable)] * 5
    ended = await place.carry(place.ask(ask))
    assert (ended.state, ended.attempt) == ("failed", attempts)
    assert ended.error is not None
    assert (ended.error["code"], ended.error["message"], ended.error["class"]) == (code, "No.", failure)
    assert [item.event for item in place.store.outbox(ended.key)] == ["request.failed"]


async def test_a_worker_that_fails_is_followed_by_another_try(place: Workplace, ask: Ask) -> None:
    place.workers.script += [fails("comfyui_unavailable", retryable=True)] * 2
    ended = await place.carry(place.ask(ask))
    assert (ended.state, ended.attempt) == ("succeeded", 3)
    assert ended.error is None


async def test_a_success_without_a_result_is_no_success(place: Workplace, ask: Ask) -> None:
    async def forgets(workers: Workers, job: Job) -> Answer:
        return {"output": {"status": "success", "images": []}}

    place.workers.script.append(forgets)
    ended = await place.carry(place.ask(ask))
    assert ended.state == "failed"
    assert ended.error is not None
    assert "BUCKET_" in ended.error["message"]


async def test_a_description_is_its_own_result(place: Workplace, ask: Ask) -> None:
    answer = {"status": "success", "images": [], "description": {"nodes": {}}}

    async def describes(workers: Workers, job: Job) -> Answer:
        return {"output": answer}

    place.workers.script.append(describes)
    ended = await place.carry(place.ask(ask, job_input={"prompt": "a fox", "describe": True}))
    assert (ended.state, ended.output) == ("succeeded", answer)


async def test_a_result_counts_whatever_became_of_the_job(place: Workplace, ask: Ask) -> None:
    async def commits_and_fails(workers: Workers, job: Job) -> Answer:
        await commit(workers, job)
        return {"error": "The connection broke off.", "output": {"status": "error", "code": "internal"}}

    place.workers.script.append(commits_and_fails)
    assert (await place.carry(place.ask(ask))).state == "succeeded"


async def test_progress_and_previews_are_kept(place: Workplace, ask: Ask) -> None:
    release = asyncio.Event()

    async def tells(workers: Workers, job: Job) -> Answer:
        preview = {"node_id": "3", "content_type": "image/png", "data_base64": "AAAA"}
        progress = {"sequence": 4, "value": 0.5, "stage": "execute", "preview": preview}
        await tell(place.platform, job["id"], progress)
        await release.wait()
        return await commit(workers, job)

    place.workers.script.append(tells)
    request = place.ask(ask)
    carrying = asyncio.create_task(place.carry(request))
    await until(lambda: place.store.get(request.key).progress, "its progress")
    shown = place.store.get(request.key)
    assert (shown.state, shown.worker_id) == ("running", "w0")
    assert shown.progress is not None
    assert shown.progress["value"] == 0.5
    preview = place.store.preview(request.key)
    assert preview is not None
    assert (preview.content_type, preview.data) == ("image/png", b"\0\0\0")
    release.set()
    assert (await carrying).state == "succeeded"


async def tell(site: Platform, job_id: str, progress: object) -> None:
    import aiohttp  # noqa: PLC0415

    environment = site.emulator.worker_environment("w0")
    url = environment["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", "w0").replace("$ID", job_id)
    headers = {"Authorization": environment["RUNPOD_AI_API_KEY"]}
    async with aiohttp.ClientSession(headers=headers) as session:
        answer = await session.post(url + "&isStream=false", json={"status": "IN_PROGRESS", "output": progress})
        assert answer.status == 200


async def test_a_running_request_is_cancelled(place: Workplace, ask: Ask) -> None:
    place.workers.script.append(hold)
    request = place.ask(ask)
    carrying = asyncio.create_task(place.carry(request))
    await until(lambda: place.store.get(request.key).state == "running", "a worker at it")
    job_id = place.store.get(request.key).job_id
    place.store.cancel(request.key)
    ended = await carrying
    assert ended.state == "cancelled"
    assert job_id is not None
    assert (await asyncio.to_thread(place.platform.client.job(job_id).status)).state == "CANCELLED"


async def test_a_request_that_is_cancelled_in_a_pause_ends_at_once(place: Workplace, ask: Ask) -> None:
    place.workers.script += [fails("comfyui_unavailable", retryable=True)] * 9
    request = place.ask(ask)
    carrying = asyncio.create_task(place.carry(request))
    await until(lambda: place.store.get(request.key).state == "waiting", "a pause")
    place.store.cancel(request.key)
    assert (await carrying).state == "cancelled"


async def test_a_replayed_request_takes_the_result_that_is_there(place: Workplace, ask: Ask) -> None:
    place.workers.script.append(fails("invalid_workflow"))
    request = await place.carry(place.ask(ask))
    await place.workers.commits.commit(request.key, Holder("late", "w9"), output_of(request.key))
    replayed = place.store.replay(request.key)
    assert (await place.carry(replayed)).state == "succeeded"
    assert len(place.workers.jobs) == 1


async def test_an_earlier_run_does_nothing(place: Workplace, ask: Ask) -> None:
    request = place.ask(ask)
    place.store.cancel(request.key)
    place.store.replay(request.key)
    assert (await place.carry(request)).state == "queued"
    assert place.workers.jobs == []


async def test_a_workflow_that_breaks_three_workers_is_quarantined(
    tmp_path: Path, s3_server: S3Server, ask: Ask
) -> None:
    async with workplace(tmp_path, s3_server) as place:
        for number in range(3):
            request = place.ask(ask, f"order-{number}")
            place.store.failed_on(request.workflow_hash, f"elsewhere-{number}", "host")
        place.workers.script += [fails("out_of_memory", retryable=True)]
        first = await place.carry(request)
        assert first.error is not None
        assert (first.error["code"], first.error["class"]) == ("request_quarantined", "poison")
        later = await place.carry(place.ask(ask, "later"))
        assert later.state == "failed"
        assert len(place.workers.jobs) == 1
        place.store.replay(later.key)
        assert (await place.carry(place.store.get(later.key))).state == "succeeded"


async def test_a_post_without_an_answer_is_repeated_without_harm(tmp_path: Path, s3_server: S3Server, ask: Ask) -> None:
    faults = ("cut:route=run,when=after", "status:route=requests,code=404,times=0")
    async with workplace(tmp_path, s3_server, *faults) as place:
        ended = await place.carry(place.ask(ask))
        assert ended.state == "succeeded"
        assert len(place.workers.runs) == 1


async def test_a_job_that_runpod_forgot_is_posted_again(tmp_path: Path, s3_server: S3Server, ask: Ask) -> None:
    async with workplace(tmp_path, s3_server, "status:route=status,code=404") as place:
        place.workers.script.append(hold)
        request = place.ask(ask)
        carrying = asyncio.create_task(place.carry(request))
        await until(lambda: place.store.get(request.key).attempt == 2, "a second attempt")
        first = place.workers.jobs[0]["id"]
        await asyncio.to_thread(place.platform.client.job(first).cancel)
        assert (await carrying).state == "succeeded"
        assert len(place.workers.runs) == 1


async def test_an_endpoint_that_is_away_is_waited_for(tmp_path: Path, s3_server: S3Server, ask: Ask) -> None:
    async with workplace(tmp_path, s3_server, "status:route=run,code=429,times=4") as place:
        ended = await place.carry(place.ask(ask))
        assert ended.state == "succeeded"
        assert len(place.workers.runs) == 1


async def test_a_job_that_waits_too_long_is_taken_back(tmp_path: Path, s3_server: S3Server, ask: Ask) -> None:
    pace = Pace(first=0.05, running=0.1, queued=0.1, in_queue=0.5)
    async with workplace(tmp_path, s3_server, workers=0, pace=pace) as place:
        request = place.ask(ask)
        carrying = asyncio.create_task(place.carry(request))
        await until(lambda: place.store.get(request.key).attempt == 2, "a second attempt")
        assert (await asyncio.to_thread(place.platform.client.health))["jobs"]["inQueue"] <= 1
        place.store.cancel(request.key)
        assert (await carrying).state == "cancelled"


async def test_a_webhook_s_hint_shortens_the_wait(tmp_path: Path, s3_server: S3Server, ask: Ask) -> None:
    pace = Pace(first=15.0, running=15.0, queued=15.0)
    async with workplace(tmp_path, s3_server, pace=pace) as place:
        request = place.ask(ask)
        carrying = asyncio.create_task(place.carry(request))
        await until(lambda: len(place.workers.runs) == 1, "the run")
        await asyncio.sleep(0.2)
        assert place.store.hinted(request.key)
        async with asyncio.timeout(5):
            assert (await carrying).state == "succeeded"


async def test_a_second_endpoint_takes_over_where_the_first_refuses(
    tmp_path: Path, s3_server: S3Server, ask: Ask
) -> None:
    refusing = "status:route=run,code=429,times=0"
    async with workplace(tmp_path, s3_server) as place, platform(s3_server, refusing) as other:
        endpoints = Endpoints([MasterEndpoint("first", other.client), MasterEndpoint("second", place.platform.client)])
        ended = await replace(place, tools=replace(place.tools, endpoints=endpoints)).carry(place.ask(ask))
        assert (ended.state, ended.endpoint, ended.attempt) == ("succeeded", "second", 2)
        assert other.workers.jobs == []


async def test_a_bug_of_ours_ends_the_request_with_a_word(place: Workplace, ask: Ask) -> None:
    def bug(key: str) -> str:
        raise KeyError(key)

    ended = await replace(place, tools=replace(place.tools, webhook=bug)).carry(place.ask(ask))
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["code"] == "internal"
    assert [item.event for item in place.store.outbox(ended.key)] == ["request.failed"]
