"""The handler on a ComfyUI: the built-in engine, or the one that COMFYUI_URL names."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from PIL import Image
from worker_jobs import decoded, job, make_handler, queue_of, sampling, save_color, wait_until_idle, wait_until_sampling

from comfypod import logs
from comfypod.settings import Settings
from comfypod.worker.handler import Handler


@pytest.fixture
def handler(comfyui_url: str) -> Handler:
    return make_handler(comfyui_url)


async def test_a_job_returns_every_field_of_the_contract(handler: Handler, given_comfyui: str | None) -> None:
    answer = await handler(job(workflow=save_color(0xFFFFFF)))
    assert answer["status"] == "success"
    (artifact,) = answer["images"]
    assert (artifact["node_id"], artifact["node_title"], artifact["index"]) == ("3", "Save it", 0)
    assert (artifact["type"], artifact["content_type"]) == ("base64", "image/png")
    assert artifact["filename"].startswith("simple_")
    assert decoded(artifact).convert("RGB").getpixel((5, 5)) == (0, 0, 0)
    assert answer["files"] == answer["texts"] == answer["warnings"] == []
    assert set(answer["timings"]) == {"prepare_ms", "queue_ms", "execute_ms", "deliver_ms", "total_ms", "nodes"}
    assert answer["timings"]["total_ms"] >= answer["timings"]["execute_ms"] >= 0
    assert answer["worker"]["engine"] == ("emulator" if given_comfyui is None else "comfyui")
    assert "error" not in answer
    json.dumps(answer, allow_nan=False)


async def test_every_line_of_a_job_names_its_trace(handler: Handler, capsys: pytest.CaptureFixture[str]) -> None:
    trace_id, before = uuid.uuid4().hex, (logs.log.handlers[:], logs.log.level, logs.log.propagate)
    logs.configure(Settings(log_format="json"))
    try:
        await handler(job(workflow=save_color(0xFFFFFF), trace_id=trace_id))
    finally:
        logs.log.handlers[:], logs.log.level, logs.log.propagate = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"prompt_submitted", "job_succeeded"} <= {line["event"] for line in lines}
    assert {line["trace_id"] for line in lines if "job_id" in line} == {trace_id}


async def test_the_same_job_twice_returns_the_same_picture(handler: Handler) -> None:
    first, second = [await handler(job(workflow=save_color(0x123456))) for _ in range(2)]
    assert first["images"][0]["sha256"] == second["images"][0]["sha256"]
    assert set(second["timings"]["nodes"]) <= {"3"}  # the others are cached; what saves does so anew


async def test_an_uploaded_picture_is_loaded_and_scaled(handler: Handler) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (40, 20), (255, 0, 0)).save(picture, "PNG")
    data = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {
            "class_type": "ImageScale",
            "inputs": {"image": ["1", 0], "upscale_method": "bilinear", "width": 80, "height": 0, "crop": "disabled"},
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "scaled"}},
    }
    answer = await handler(job(workflow=workflow, images=[{"name": "photo.png", "image": data}]))
    image = decoded(answer["images"][0])
    assert image.size == (80, 40)
    assert image.convert("RGB").getpixel((40, 20)) == (255, 0, 0)


async def test_two_jobs_with_files_of_one_name_do_not_see_each_others(handler: Handler) -> None:
    async def brightness(value: int) -> tuple[int, ...]:
        picture = io.BytesIO()
        Image.new("RGB", (8, 8), (value, value, value)).save(picture, "PNG")
        workflow = {
            "1": {"class_type": "LoadImage", "inputs": {"image": "same.png"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "same"}},
        }
        files = [{"name": "same.png", "data": base64.b64encode(picture.getvalue()).decode()}]
        answer = await handler(job(workflow=workflow, files=files))
        return decoded(answer["images"][0]).convert("RGB").getpixel((0, 0))  # type: ignore[return-value]

    assert await asyncio.gather(brightness(10), brightness(200)) == [(10, 10, 10), (200, 200, 200)]


async def test_the_outputs_of_chosen_nodes_only(handler: Handler) -> None:
    workflow = save_color(7)
    workflow["4"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "other"}}
    workflow["5"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    answer = await handler(job(workflow=workflow, outputs={"nodes": ["4"]}))
    assert [image["node_id"] for image in answer["images"]] == ["4"]
    answer = await handler(job(workflow=workflow, outputs={"temporary": True}))
    assert [image["node_id"] for image in answer["images"]] == ["3", "4", "5"]


@pytest.mark.parametrize(
    ("job_input", "code", "says"),
    [
        (None, "invalid_job_input", "must be an object"),
        ({}, "invalid_job_input", "send a workflow"),
        ("{broken", "invalid_job_input", "not valid JSON"),
        ([1], "invalid_job_input", "must be an object"),
        ({"workflow": "nope"}, "invalid_job_input", "templates here: text_to_image"),
        ({"workflow": {"nodes": [], "links": []}}, "invalid_workflow", "no nodes"),
        ({"workflow": save_color(1), "parameters": {"1.colour": 5}}, "invalid_workflow", "there is: 1.width"),
        ({"workflow": save_color(1), "outputs": {"nodes": ["99"]}}, "invalid_workflow", "no node '99'"),
        ({"workflow": {"1": {"class_type": "NoSuchNode", "inputs": {}}}}, "invalid_workflow", "NoSuchNode"),
        ({"prompt": "x", "parameters": {"checkpoint": "no.safetensors"}}, "invalid_workflow", "models/checkpoints"),
        ({"workflow": save_color(1), "parameters": {"1.width": "wide"}}, "prompt_rejected", "node 1 (EmptyImage)"),
        ({"workflow": save_color(1), "parameters": {"1.width": -5}}, "prompt_rejected", "node 1 (EmptyImage)"),
        ({"workflow": {"1": save_color(1)["1"]}}, "prompt_rejected", "no outputs"),
        ({"workflow": save_color(1), "files": [{"name": "a", "data": "%%"}]}, "invalid_job_input", "not valid base64"),
    ],
)
async def test_bad_input_fails_with_its_code_and_what_to_change(
    handler: Handler, job_input: Any, code: str, says: str
) -> None:
    answer = await handler({"id": "test", "input": job_input})
    assert answer["status"] == "error"
    assert answer["code"] == code
    assert says in answer["error"]
    assert answer["retryable"] is False
    json.dumps(answer, allow_nan=False)


async def test_a_workflow_whose_outputs_are_partly_invalid_fails_and_leaves_nothing(
    handler: Handler, comfyui_url: str
) -> None:
    workflow = save_color(2)
    workflow["4"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "no images"}}
    answer = await handler(job(workflow=workflow))
    assert answer["code"] == "prompt_rejected"
    assert "node 4 (SaveImage)" in answer["error"]
    await wait_until_idle(comfyui_url, 5)


async def test_a_node_that_fails_is_named(handler: Handler) -> None:
    files = [{"name": "picture.txt", "data": base64.b64encode(b"this is no picture").decode()}]
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "picture.txt"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    answer = await handler(job(workflow=workflow, files=files))
    assert answer["code"] == "prompt_failed"
    assert answer["error"].startswith("Node 1 (LoadImage) failed: ")
    assert answer["details"]["exception_type"]


async def test_texts_that_are_no_unicode_do_not_lose_the_result(comfyui_url: str) -> None:
    """The SDK encodes a result as UTF-8, and drops one that cannot be."""
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    workflow = save_color(13)
    for node in workflow.values():
        node["_meta"] = {"title": "broken \ud800"}
    answer = await make_handler(comfyui_url, send)(job(workflow=workflow))
    assert answer["status"] == "success"
    json.dumps([answer, updates], ensure_ascii=False).encode()


async def test_only_previews_are_no_output(handler: Handler) -> None:
    workflow = {**save_color(9), "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}
    answer = await handler(job(workflow=workflow))
    assert answer["code"] == "no_output"
    assert "outputs.temporary" in answer["error"]


async def test_an_answer_over_the_limit_fails_and_says_so(comfyui_url: str) -> None:
    answer = await make_handler(comfyui_url, inline_limit_bytes="600")(job(workflow=save_color(3)))
    assert answer["code"] == "output_too_large"
    assert "INLINE_LIMIT_BYTES" in answer["error"]
    assert answer["details"]["limit_bytes"] == 600


async def test_inputs_over_the_limit_are_refused(comfyui_url: str) -> None:
    files = [{"name": "a.bin", "data": base64.b64encode(bytes(100)).decode()}]
    answer = await make_handler(comfyui_url, maximum_input_bytes="99")(job(workflow=save_color(4), files=files))
    assert answer["code"] == "input_fetch_failed"
    assert "99" in answer["error"]


async def test_progress_is_ordered_and_goes_through_every_stage(comfyui_url: str, checkpoint: str) -> None:
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    request = job(**sampling(checkpoint, steps=40), progress={"previews": True})
    answer = await make_handler(comfyui_url, send)(request)
    assert answer["status"] == "success"
    assert [update["sequence"] for update in updates] == list(range(1, len(updates) + 1))
    values = [update["value"] for update in updates]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] <= 1
    steps = [update for update in updates if update.get("current_node_class") == "KSampler" and update.get("step")]
    assert steps
    assert steps[-1]["steps"] == 40
    assert steps[-1]["nodes_total"] == 7
    assert steps[-1]["eta_seconds"] >= 0
    if answer["worker"]["engine"] == "emulator":  # ComfyUI before 0.8 has no previews per prompt
        assert any(update.get("preview", {}).get("content_type") == "image/jpeg" for update in updates)


async def test_a_cancelled_job_leaves_the_gpu_within_a_second_and_returns_nothing(
    comfyui_url: str, checkpoint: str
) -> None:
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    task = asyncio.create_task(make_handler(comfyui_url, send)(job(**sampling(checkpoint, steps=100))))
    await wait_until_sampling(updates)
    assert (await queue_of(comfyui_url))["queue_running"]
    task.cancel()
    assert await wait_until_idle(comfyui_url, 5) < 1
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_job_cancelled_while_it_waits_leaves_the_queue_and_not_the_running_one(
    comfyui_url: str, checkpoint: str
) -> None:
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    running = asyncio.create_task(make_handler(comfyui_url, send)(job(**sampling(checkpoint, steps=100))))
    await wait_until_sampling(updates)
    waiting = asyncio.create_task(make_handler(comfyui_url)(job(workflow=save_color(5))))
    async with asyncio.timeout(5):
        while not (await queue_of(comfyui_url))["queue_pending"]:
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    queue = await queue_of(comfyui_url)
    assert (len(queue["queue_running"]), queue["queue_pending"]) == (1, [])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_job_over_its_deadline_is_stopped_and_says_so(
    handler: Handler, comfyui_url: str, checkpoint: str
) -> None:
    answer = await handler(job(**sampling(checkpoint, steps=100), timeout_seconds=0.5))
    assert (answer["status"], answer["code"], answer["images"]) == ("timeout", "deadline_exceeded", None)
    assert "0.5 s" in answer["error"]
    assert await wait_until_idle(comfyui_url, 5) < 1


async def test_a_job_may_not_take_longer_than_the_worker_allows(comfyui_url: str, checkpoint: str) -> None:
    handler = make_handler(comfyui_url, job_timeout_seconds="0.5")
    answer = await handler(job(**sampling(checkpoint, steps=100), timeout_seconds=60))
    assert answer["code"] == "deadline_exceeded"
    assert answer["warnings"] == ["timeout_seconds: 60 is more than this worker allows; 0.5 counts"]


async def test_messages_alone_are_a_sign_of_life(comfyui_url: str, checkpoint: str, given_comfyui: str | None) -> None:
    """Of a ComfyUI that somebody else runs no log can be seen."""
    if given_comfyui:
        pytest.skip("how fast it loads a model is not known")
    handler = make_handler(comfyui_url, stall_timeout_seconds="0.9")
    for _ in range(3):  # a busy machine is not silent for so long three times
        answer = await handler(job(**sampling(checkpoint, steps=100)))
        if answer["status"] == "success":
            break
    assert answer["status"] == "success", answer
    assert answer["timings"]["execute_ms"] > 1000


async def test_nothing_of_a_job_stays_in_comfyuis_memory(handler: Handler, comfyui_url: str) -> None:
    async with aiohttp.ClientSession() as session:
        before = await (await session.get(f"{comfyui_url}/history")).json()
        await handler(job(workflow=save_color(11)))
        assert await (await session.get(f"{comfyui_url}/history")).json() == before


async def test_a_comfyui_that_is_not_there_is_told() -> None:
    answer = await make_handler("http://127.0.0.1:9")(job(workflow=save_color(1)))
    assert (answer["code"], answer["retryable"]) == ("comfyui_unavailable", True)
