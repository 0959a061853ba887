"""A run as its visitor sees it: from what was asked for to the files, and everything that can come in between."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from comfypod import Client
from comfypod.errors import (
    FileNotFound,
    InvalidJobInput,
    InvalidWorkflow,
    RunNotEnded,
    RunNotFound,
    TooManyRuns,
)
from comfypod.web.runs.service import Runs
from tests.cloud.local_runpod import PREVIEW, LocalRunPod, Worker
from tests.cloud.scripted_runpod import Reply, ScriptedRunPod
from tests.web.run_site import (
    PROMPT,
    ROOT,
    STRANGER,
    VISITOR,
    artifact,
    ended,
    progress,
    run_when,
    runs_at,
    success,
    until,
)

PICTURE = b"content of a picture"
TEMPLATE = json.loads((ROOT / "workflows" / "text_to_image.json").read_text(encoding="utf-8"))
WORKFLOW = TEMPLATE["workflow"]


@pytest.fixture
async def runs(client: Client, tmp_path: Path) -> AsyncIterator[Runs]:
    async with runs_at(client, tmp_path, dollars_per_second=0.001) as runs:
        yield runs


async def test_a_prompt_becomes_a_picture_with_progress_and_previews(tmp_path: Path) -> None:
    """Against the local RunPod, with a worker of the tests."""
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()

    def do(job_input: dict[str, Any], tell: Callable[[Any], None]) -> Any:
        tell({"sequence": 1, "stage": "execute", "value": 0.5, "current_node": "3", "step": 2, "preview": PREVIEW})
        asyncio.run_coroutine_threadsafe(seen.wait(), loop).result(20)
        made = success(artifact(PICTURE), seeds={"seed": 77}, worker={"engine": "emulator"}, warnings=["a warning"])
        return {
            "output": {**made["output"], "texts": [{"node_id": "3", "key": "text", "value": job_input["parameters"]}]}
        }

    platform = await asyncio.to_thread(LocalRunPod)
    try:
        with Client("ep", "key", platform.base_url) as client, Worker(platform, do):
            async with runs_at(client, tmp_path, dollars_per_second=2.0) as runs:
                run = await runs.submit(VISITOR, PROMPT)
                assert (run.state, run.title, run.template) == ("submitting", "Text to image", "text_to_image")
                running = await run_when(runs, run, lambda run: run.preview is not None)
                assert (running.state, running.wait) == ("running", None)
                assert running.progress is not None
                assert (running.progress.value, running.progress.step) == (0.5, 2)
                assert (running.progress.node_id, running.progress.node_title) == ("3", "KSampler")
                preview = await runs.preview(VISITOR, run.id)
                assert (preview.data, preview.content_type) == (b"preview", "image/jpeg")
                seen.set()
                done = await ended(runs, run)
                file = await runs.file(VISITOR, run.id, 0)
    finally:
        seen.set()
        await asyncio.to_thread(platform.stop)
    assert (done.state, done.error, done.progress, done.preview) == ("succeeded", None, None, None)
    assert done.parameters == {"prompt": "a fox", "seed": 77}
    assert (done.warnings, done.is_emulated) == (["a warning"], True)
    assert done.cost is not None
    assert done.cost.dollars == pytest.approx(done.cost.seconds * 2.0)
    picture, text = done.outputs
    assert (picture.kind, picture.width, picture.height, picture.size_bytes) == ("image", 8, 4, len(PICTURE))
    assert picture.url == f"api/runs/{run.id}/files/0/fox_00001_.png"
    assert file.path.read_bytes() == PICTURE
    assert (file.content_type, file.filename, file.size_bytes) == ("image/png", "fox_00001_.png", len(PICTURE))
    assert (text.kind, text.url, text.node_title) == ("text", None, "KSampler")
    assert json.loads(text.text or "") == {"prompt": "a fox"}


async def test_what_is_sent_asks_for_previews_and_has_the_runs_id_as_its_key(
    runs: Runs, platform: ScriptedRunPod
) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.state == "queued")
    (body,) = platform.bodies
    sent = {"workflow": "text_to_image", "parameters": {"prompt": "a fox"}, "progress": {"previews": True}}
    assert body["input"] == {**sent, "idempotency_key": run.id}


@pytest.mark.parametrize(
    ("workers", "in_queue", "kind"),
    [
        ({"initializing": 1}, 1, "cold_start"),
        ({"throttled": 2}, 1, "throttled"),
        ({"running": 1, "initializing": 1}, 4, "queue"),
        ({}, 1, "unknown"),
    ],
)
async def test_what_a_run_waits_for_is_what_the_endpoint_says(
    runs: Runs, platform: ScriptedRunPod, workers: dict[str, int], in_queue: int, kind: str
) -> None:
    platform.planned("health", *[Reply(document={"jobs": {"inQueue": in_queue}, "workers": workers})] * 50)
    events = runs.events(VISITOR)
    await anext(events)  # only while somebody watches the endpoint is asked
    run = await runs.submit(VISITOR, PROMPT)
    waiting = await run_when(runs, run, lambda run: run.wait is not None and run.wait.jobs_in_queue is not None)
    await events.aclose()
    assert waiting.state == "queued"
    assert waiting.wait is not None
    assert (waiting.wait.kind, waiting.wait.jobs_in_queue) == (kind, in_queue)
    assert platform.calls["GET health"] <= 3
    assert 0 <= waiting.wait.seconds < 20


async def test_nobody_watches_so_the_endpoint_is_not_asked(runs: Runs, platform: ScriptedRunPod) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    waiting = await run_when(runs, run, lambda run: run.wait is not None and run.wait.seconds > 0.3)
    assert waiting.wait is not None
    assert waiting.wait.kind == "unknown"
    assert platform.calls["GET health"] == 0
    assert (await runs.endpoint()).jobs.in_queue == 1  # somebody asks
    await asyncio.gather(runs.endpoint(), runs.endpoint())
    assert platform.calls["GET health"] == 1  # what is known is told to all who ask soon after


async def test_seeds_that_were_drawn_take_the_place_of_the_wish(runs: Runs, platform: ScriptedRunPod) -> None:
    request = {"workflow": WORKFLOW, "parameters": {"seed": "random", "3.steps": 5}}
    run = await runs.submit(VISITOR, request)
    await run_when(runs, run, lambda run: run.job_id is not None)
    platform.set("job-1", **success(artifact(PICTURE), seeds={"3.seed": 42}))
    done = await ended(runs, run)
    assert done.parameters == {"3.steps": 5, "3.seed": 42}
    await runs.submit(VISITOR, {**request, "parameters": done.parameters})  # the same picture again


async def test_a_failure_names_the_node_and_keeps_what_was_made(runs: Runs, platform: ScriptedRunPod) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.job_id is not None)
    output = {"code": "out_of_memory", "retryable": True, "details": {"node_id": "3"}, "images": [artifact(PICTURE)]}
    platform.set(
        "job-1", status="FAILED", error="Node 3 (KSampler) failed: no memory", output=output, executionTime=1500
    )
    done = await ended(runs, run)
    assert done.state == "failed"
    assert done.error is not None
    assert (done.error.code, done.error.is_retryable) == ("out_of_memory", True)
    assert (done.error.node_id, done.error.node_title) == ("3", "KSampler")
    assert done.error.message == "Node 3 (KSampler) failed: no memory"
    assert [item.filename for item in done.outputs] == ["fox_00001_.png"]
    assert done.cost is not None
    assert (done.cost.seconds, done.cost.dollars) == (1.5, pytest.approx(0.0015))


@pytest.mark.parametrize(
    "details",
    [
        {"problem": "It cannot run", "node_id": None, "problems": ["node 4 (CheckpointLoaderSimple): ckpt_name …"]},
        {"error": {}, "node_errors": {"4": {"class_type": "CheckpointLoaderSimple", "errors": []}}},
    ],
)
async def test_a_workflow_that_is_refused_names_the_first_node(
    runs: Runs, platform: ScriptedRunPod, details: dict[str, Any]
) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.job_id is not None)
    output = {"code": "invalid_workflow", "retryable": False, "details": details}
    platform.set("job-1", status="FAILED", error="It cannot run", output=output)
    done = await ended(runs, run)
    assert done.error is not None
    assert (done.error.node_id, done.error.node_title) == ("4", "Load Checkpoint")


async def test_cancelled_is_what_the_platform_says(runs: Runs, platform: ScriptedRunPod) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.state == "queued")
    cancelled = await runs.cancel(VISITOR, run.id)
    assert cancelled.is_cancelling or cancelled.state == "cancelled"
    done = await ended(runs, run)
    assert (done.state, done.is_cancelling, done.error) == ("cancelled", False, None)
    assert platform.cancelled == ["job-1"]
    assert (await runs.cancel(VISITOR, run.id)).state == "cancelled"  # again: nothing happens


async def test_a_job_that_was_done_before_it_could_be_cancelled_has_succeeded(
    runs: Runs, platform: ScriptedRunPod
) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.state == "queued")
    platform.planned("cancel", Reply(document={"id": "job-1", "status": "COMPLETED"}))
    platform.set("job-1", **success(artifact(PICTURE)))
    await runs.cancel(VISITOR, run.id)
    done = await ended(runs, run)
    assert (done.state, len(done.outputs)) == ("succeeded", 1)


async def test_an_expired_result_is_told_as_such(runs: Runs, platform: ScriptedRunPod) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.state == "queued")
    del platform.jobs["job-1"]
    done = await ended(runs, run)
    assert done.error is not None
    assert (done.state, done.error.code) == ("failed", "job_not_found")
    assert "30 minutes" in done.error.message


async def test_a_job_whose_worker_died_is_queued_again(runs: Runs, platform: ScriptedRunPod) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.job_id is not None)
    platform.set("job-1", **progress(0.5))
    await run_when(runs, run, lambda run: run.progress is not None and run.state == "running")
    platform.set("job-1", status="IN_QUEUE", output=None)
    again = await run_when(runs, run, lambda run: run.state == "queued")
    assert again.progress is None


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (success(artifact(PICTURE, sha256="0" * 64)), "protocol_violation"),
        (success(artifact(PICTURE, data="no base64")), "protocol_violation"),
        ({"status": "COMPLETED", "output": ["no object"]}, "protocol_violation"),
        ({"status": "COMPLETED", "output": None}, "job_failed"),
        ({"status": "TIMED_OUT"}, "job_timed_out"),
    ],
)
async def test_a_result_that_is_none_is_a_failure(
    runs: Runs, platform: ScriptedRunPod, job: dict[str, Any], code: str
) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.job_id is not None)
    platform.set("job-1", **job)
    done = await ended(runs, run)
    assert (done.state, done.outputs) == ("failed", [])
    assert done.error is not None
    assert done.error.code == code


async def test_names_of_files_from_a_worker_lead_nowhere_else(
    runs: Runs, platform: ScriptedRunPod, tmp_path: Path
) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.job_id is not None)
    hostile = artifact(PICTURE, "../../../<b>&?#.png", subfolder="/../..")
    on_volume = artifact(b"", "there.png", type="path", data="/etc/passwd")
    platform.set("job-1", **success(hostile, on_volume))
    done = await ended(runs, run)
    assert [item.filename for item in done.outputs] == ["<b>&?#.png"]
    assert done.outputs[0].url == f"api/runs/{run.id}/files/0/%3Cb%3E%26%3F%23.png"
    assert (await runs.file(VISITOR, run.id, 0)).path.is_relative_to(tmp_path / "visitors" / VISITOR / "runs" / run.id)
    assert any("there.png" in warning for warning in done.warnings)
    with pytest.raises(FileNotFound):
        await runs.file(VISITOR, run.id, 1)


async def test_an_upload_goes_with_the_job(runs: Runs, platform: ScriptedRunPod) -> None:
    upload = await runs.uploads.save(VISITOR, "photo.png", _chunks(b"first ", b"second"))
    workflow = {**WORKFLOW, "10": {"class_type": "LoadImage", "inputs": {"image": "example.png"}}}
    request = {
        "workflow": workflow,
        "title": "My\n\x00 photo ",
        "parameters": {"10.image": "mine.png"},
        "files": [{"name": "mine.png", "upload": upload.id}],
    }
    run = await runs.submit(VISITOR, request)
    assert (run.title, run.template) == ("My photo", None)
    await run_when(runs, run, lambda run: run.job_id is not None)
    sent = platform.bodies[0]["input"]
    assert sent["files"] == [{"name": "mine.png", "data": base64.b64encode(b"first second").decode()}]
    assert (sent["workflow"], sent["parameters"]) == (workflow, {"10.image": "mine.png"})
    assert await runs.workflow(VISITOR, run.id) == workflow


async def test_what_comfyuis_page_saves_is_sent_as_it_is(runs: Runs, platform: ScriptedRunPod) -> None:
    saved = {"nodes": [{"id": 3, "type": "KSampler", "title": "My sampler"}], "links": []}
    run = await runs.submit(VISITOR, {"workflow": saved, "parameters": {"3.steps": 5}})
    await run_when(runs, run, lambda run: run.job_id is not None)
    assert platform.bodies[0]["input"]["workflow"] == saved
    platform.set("job-1", **progress(0.5, current_node="3"))
    running = await run_when(runs, run, lambda run: run.progress is not None)
    assert running.progress is not None
    assert running.progress.node_title == "My sampler"


@pytest.mark.parametrize(
    ("request_document", "error"),
    [
        ([], InvalidJobInput),
        ({"parameters": {}}, InvalidJobInput),
        ({"workflow": "/etc/passwd"}, InvalidJobInput),
        ({"workflow": "workflows/text_to_image.json"}, InvalidJobInput),
        ({"workflow": "../workflows/text_to_image"}, InvalidJobInput),
        ({"workflow": "no_such_template"}, InvalidJobInput),
        ({"workflow": {}}, InvalidWorkflow),
        ({"workflow": {"1": {"class_type": 5}}}, InvalidWorkflow),
        ({"workflow": {"input": {"prompt": "a job"}}}, InvalidJobInput),
        ({"workflow": WORKFLOW, "parameters": {"99.text": "x"}}, InvalidWorkflow),
        ({"workflow": "text_to_image", "parameters": {"width": 5000}}, InvalidJobInput),
        ({"workflow": "text_to_image", "parameters": {"no_such": 1}}, InvalidJobInput),
        ({"workflow": "text_to_image", "files": [{"name": "../x", "upload": "x"}]}, InvalidJobInput),
        ({"workflow": "text_to_image", "files": [{"name": "x.png", "upload": "../../secret"}]}, FileNotFound),
        ({"workflow": "text_to_image", "files": [{"name": "x.png", "path": "/etc/passwd"}]}, InvalidJobInput),
        ({"workflow": "text_to_image", "delivery": "path"}, InvalidJobInput),
        ({"workflow": "text_to_image", "parameters": {"prompt": "long " * 50_000}}, InvalidJobInput),
        ({"workflow": "text_to_image", "title": 5}, InvalidJobInput),
    ],
)
async def test_what_cannot_be_run_is_refused_before_anything_is_kept_or_sent(
    runs: Runs, platform: ScriptedRunPod, request_document: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await runs.submit(VISITOR, request_document)
    assert (await runs.list(VISITOR)).runs == []
    assert platform.calls["POST run"] == 0


async def test_files_that_are_too_large_together_are_refused_with_the_rule(runs: Runs) -> None:
    uploads = [await runs.uploads.save(VISITOR, f"{name}.png", _chunks(bytes(4_000_000))) for name in "ab"]
    files = [{"name": upload.name, "upload": upload.id} for upload in uploads]
    with pytest.raises(InvalidJobInput, match=r"too large; RunPod takes jobs of at most 10,000,000 bytes"):
        await runs.submit(VISITOR, {**PROMPT, "files": files})
    await runs.submit(VISITOR, {**PROMPT, "files": files[:1]})


async def test_so_many_runs_at_once_and_no_more(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    async with runs_at(client, tmp_path, runs_at_once=2) as runs:
        first = await runs.submit(VISITOR, PROMPT)
        await runs.submit(VISITOR, PROMPT)
        with pytest.raises(TooManyRuns):
            await runs.submit(VISITOR, PROMPT)
        await runs.submit(STRANGER, PROMPT)  # each visitor has his own
        await runs.cancel(VISITOR, first.id)
        await ended(runs, first)
        await runs.submit(VISITOR, PROMPT)


async def test_the_same_key_is_the_same_run(runs: Runs, platform: ScriptedRunPod) -> None:
    answers = await asyncio.gather(*[runs.submit(VISITOR, PROMPT, "order-7") for _ in range(5)])
    assert len({run.id for run in answers}) == 1
    assert (await runs.submit(STRANGER, PROMPT, "order-7")).id != answers[0].id
    await run_when(runs, answers[0], lambda run: run.job_id is not None)
    await until(lambda: asyncio.sleep(0, platform.calls["POST run"]), lambda count: count == 2)


async def test_a_visitors_runs_are_nobody_elses(runs: Runs, platform: ScriptedRunPod) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.job_id is not None)
    for run_id in (run.id, "../../x", "0" * 26, ""):
        with pytest.raises(RunNotFound):
            await runs.get(STRANGER, run_id)
        with pytest.raises(RunNotFound):
            await runs.cancel(STRANGER, run_id)
        with pytest.raises(RunNotFound):
            await runs.remove(STRANGER, run_id)
        with pytest.raises(RunNotFound):
            await runs.file(STRANGER, run_id, 0)
        with pytest.raises(RunNotFound):
            await runs.preview(STRANGER, run_id)
        with pytest.raises(RunNotFound):
            await runs.workflow(STRANGER, run_id)
        with pytest.raises(RunNotFound):
            await anext(runs.events(STRANGER, run_id))
    assert (await runs.list(STRANGER)).runs == []
    upload = await runs.uploads.save(VISITOR, "mine.png", _chunks(b"x"))
    with pytest.raises(FileNotFound):
        runs.uploads.get(STRANGER, upload.id)
    assert (await runs.get(VISITOR, run.id)).state == "queued"


async def test_a_run_is_removed_when_it_has_ended(runs: Runs, platform: ScriptedRunPod, tmp_path: Path) -> None:
    run = await runs.submit(VISITOR, PROMPT)
    await run_when(runs, run, lambda run: run.job_id is not None)
    with pytest.raises(RunNotEnded):
        await runs.remove(VISITOR, run.id)
    platform.set("job-1", **success(artifact(PICTURE)))
    await ended(runs, run)
    await runs.remove(VISITOR, run.id)
    with pytest.raises(RunNotFound):
        await runs.get(VISITOR, run.id)
    assert [*(tmp_path / "visitors" / VISITOR / "runs").iterdir()] == []


async def test_the_oldest_runs_make_room(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    platform.on_status = lambda job: job.update(success(artifact(PICTURE)))
    async with runs_at(client, tmp_path, runs_kept=2) as runs:
        made = []
        for _ in range(3):
            made.append(await runs.submit(VISITOR, PROMPT))
            await ended(runs, made[-1])
        page = await until(lambda: runs.list(VISITOR), lambda page: len(page.runs) == 2)
        assert [run.id for run in page.runs] == [made[2].id, made[1].id]


async def test_a_long_list_comes_in_pages(runs: Runs, platform: ScriptedRunPod) -> None:
    platform.on_status = lambda job: job.update(success(artifact(PICTURE)))
    made = []
    for _ in range(5):
        made.append((await runs.submit(VISITOR, PROMPT)).id)
        await until(lambda: runs.get(VISITOR, made[-1]), lambda run: run.has_ended)
    first = await runs.list(VISITOR, None, 2)
    second = await runs.list(VISITOR, first.next, 2)
    third = await runs.list(VISITOR, second.next, 2)
    assert [run.id for page in (first, second, third) for run in page.runs] == made[::-1]
    assert third.next is None


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
