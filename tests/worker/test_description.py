"""Jobs that run nothing: what can be set in a workflow, said at once, whatever the GPU does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from distant_comfyui import DistantComfyUI
from supervised import START_SECONDS, comfyui_command, engine_only, supervised_worker
from worker_jobs import ROOT, get, job, make_handler, queue_of, sampling, save_color, wait_until_sampling

from comfypod.comfyui.clients import ComfyUIClients
from comfypod.comfyui.process import ComfyUIProcess
from comfypod.comfyui.server import RemoteServer
from comfypod.settings import Settings
from comfypod.worker.description import JobDescription
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler
from comfypod.worker.job_state import JobState


@pytest.fixture
def handler(comfyui_url: str) -> Handler:
    return make_handler(comfyui_url)


async def test_a_workflow_of_ones_own_is_described_as_the_contract_says(
    handler: Handler, given_comfyui: str | None
) -> None:
    answer = await handler(job(workflow=save_color(5), describe=True, idempotency_key="order-7"))
    assert answer["status"] == "success", answer
    assert answer["images"] == answer["files"] == answer["texts"] == answer["warnings"] == []
    assert answer["idempotency_key"] == "order-7"
    assert answer["worker"]["engine"] == ("emulator" if given_comfyui is None else "comfyui")
    assert answer["timings"]["execute_ms"] == answer["timings"]["queue_ms"] == 0
    described = answer["description"]
    assert set(described) == {"workflow", "parameters", "nodes", "problems"}
    assert described["workflow"] == save_color(5)
    assert (described["parameters"], described["problems"]) == ({}, [])
    node = described["nodes"]["1"]
    assert (node["class_type"], node["title"], node["is_known"]) == ("EmptyImage", "EmptyImage", True)
    assert described["nodes"]["3"]["title"] == "Save it"
    width = node["inputs"]["width"]
    assert set(width) == {
        *("type", "default", "minimum", "maximum", "step", "choices", "is_cut"),
        *("is_multiline", "upload", "is_seed", "tooltip"),
    }
    assert (width["type"], width["minimum"]) == ("INT", 1)
    assert described["nodes"]["2"]["inputs"] == {}  # a link is not set
    json.dumps(answer, allow_nan=False)


async def test_a_template_is_described_with_its_parameters_and_draws_no_seed(handler: Handler, checkpoint: str) -> None:
    answer = await handler(job(workflow="text_to_image", describe=True))
    template = json.loads((ROOT / "workflows" / "text_to_image.json").read_text(encoding="utf-8"))
    described = answer["description"]
    assert described["workflow"] == template["workflow"]
    assert described["parameters"]["width"]["maximum"] == 2048
    assert described["parameters"]["seed"]["default"] == "random"
    assert checkpoint in described["nodes"]["4"]["inputs"]["ckpt_name"]["choices"]
    assert "seeds" not in answer


async def test_what_comfyuis_page_saves_is_converted(handler: Handler) -> None:
    made = {"name": "IMAGE", "type": "IMAGE", "links": [1]}
    taken = {"name": "images", "type": "IMAGE", "link": 1}
    page = {
        "version": 0.4,
        "nodes": [
            {"id": 1, "type": "EmptyImage", "inputs": [], "outputs": [made], "widgets_values": [40, 24, 1, 9]},
            {"id": 3, "type": "SaveImage", "title": "Keep", "inputs": [taken], "outputs": [], "widgets_values": ["p"]},
        ],
        "links": [[1, 1, 0, 3, 0, "IMAGE"]],
    }
    described = (await handler(job(workflow=page, describe=True)))["description"]
    assert described["workflow"]["1"]["inputs"]["width"] == 40
    assert described["workflow"]["3"]["inputs"]["images"] == ["1", 0]
    assert described["nodes"]["3"]["title"] == "Keep"
    assert described["nodes"]["1"]["inputs"]["color"]["type"] == "INT"


async def test_what_would_be_refused_is_told_and_is_no_failure(handler: Handler) -> None:
    workflow = {
        **save_color(1),
        "4": {"class_type": "NoSuchNode", "inputs": {"a": 1}},
        "5": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "never.safetensors"}},
        "6": {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": ["5", 1], "text": "linked"},
        },
    }
    answer = await handler(job(workflow=workflow, describe=True))
    described = answer["description"]
    assert described["nodes"]["4"] == {
        "class_type": "NoSuchNode",
        "title": "NoSuchNode",
        "is_known": False,
        "inputs": {},
    }
    (problem,) = described["problems"]  # ComfyUI does not check the nodes that it would not run
    assert "NoSuchNode" in problem


async def test_values_that_are_not_there_are_problems(handler: Handler) -> None:
    answer = await handler(
        job(
            workflow={
                **save_color(1),
                "2": {
                    "class_type": "ImageScale",
                    "inputs": {"image": ["1", 0], "upscale_method": "magic", "width": 8, "height": 8, "crop": "center"},
                },
            },
            describe=True,
        )
    )
    (problem,) = answer["description"]["problems"]
    assert problem.startswith("node 2 (ImageScale): upscale_method 'magic' is not available here")


@pytest.mark.parametrize(
    ("job_input", "code", "says"),
    [
        ({"workflow": "nope"}, "invalid_job_input", "templates here: text_to_image"),
        ({"workflow": {"1": {"inputs": {}}}}, "invalid_workflow", "class_type is missing"),
        ({"workflow": {"nodes": [{"id": 1, "type": "Unheard"}], "links": []}}, "invalid_workflow", ""),
        ({}, "invalid_job_input", "send a workflow"),
        ({"workflow": "text_to_image", "describe": "yes"}, "invalid_job_input", "describe: "),
    ],
)
async def test_what_cannot_be_described_fails_with_its_code(
    handler: Handler, job_input: dict[str, Any], code: str, says: str
) -> None:
    answer = await handler(job(**{"describe": True, **job_input}))
    assert (answer["status"], answer["code"]) == ("error", code)
    assert says in answer["error"]


async def test_what_has_no_effect_is_said(handler: Handler) -> None:
    request = job(
        workflow=save_color(1),
        parameters={"1.width": 9},
        files=[{"name": "a.png", "data": "%%"}],
        delivery="bucket",
        describe=True,
    )
    answer = await handler(request)
    assert answer["status"] == "success", answer
    assert [warning.partition(":")[0] for warning in answer["warnings"]] == ["parameters", "files"]
    assert answer["description"]["workflow"] == save_color(1)


async def test_it_is_described_at_once_while_another_job_holds_the_gpu(comfyui_url: str, checkpoint: str) -> None:
    updates: list[Mapping[str, Any]] = []

    async def send(request: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append({"job": request["id"], **value})

    handler = make_handler(comfyui_url, send)
    running_job = job(**sampling(checkpoint, steps=100))
    running = asyncio.create_task(handler(running_job))
    await wait_until_sampling(updates)
    before = await queue_of(comfyui_url)
    answer = await handler(job(workflow="text_to_image", describe=True))
    assert not running.done()
    assert answer["description"]["nodes"]["3"]["inputs"]["seed"]["is_seed"]
    after = await queue_of(comfyui_url)
    assert (len(after["queue_running"]), after["queue_pending"]) == (1, [])
    assert after["queue_running"][0][1] == before["queue_running"][0][1]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {update["job"] for update in updates} == {running_job["id"]}  # a description has no progress


@engine_only
async def test_a_comfyui_that_dies_meanwhile_is_asked_again(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        first = await worker.process()
        task = asyncio.create_task(worker.handler(job(workflow=save_color(1), describe=True)))
        first.stop()
        answer = await task
        assert answer["status"] == "success", answer
        assert answer["description"]["nodes"]["1"]["is_known"]


class BusyComfyUI(DistantComfyUI):
    """Leaves ``/object_info`` without an answer as long as it `is_busy`; ``asked`` counts how often it was asked."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.is_busy = False
        self.asked = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BusyComfyUI]:
        async with super().running():
            yield self

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/object_info":
            self.asked += 1
            if self.is_busy:
                await asyncio.Event().wait()
        return await super()._forward(request)


async def test_a_comfyui_that_is_too_busy_to_answer_is_described_as_it_was(comfyui_url: str) -> None:
    facilities = Facilities.of_repository(ROOT, Settings(), {})
    request = job(workflow=save_color(1), describe=True)
    state = JobState(request, Settings())
    async with BusyComfyUI(comfyui_url).running() as comfyui, facilities.outside.open() as network:
        given = (facilities, network, state, state.accept())
        async with ComfyUIClients().of(RemoteServer(comfyui.url)) as client:
            first, _ = await JobDescription(*given).describe(client)
            assert state.warnings == []
            comfyui.is_busy = True
            second, _ = await JobDescription(*given, fresh_seconds=0, look_seconds=0.2).describe(client)
    assert second == first
    assert state.warnings[0].startswith("ComfyUI is busy; this is what it had")


async def test_several_descriptions_in_a_row_ask_comfyui_once(comfyui_url: str) -> None:
    async with BusyComfyUI(comfyui_url).running() as comfyui:
        handler = make_handler(comfyui.url)
        for _ in range(3):
            assert (await handler(job(workflow=save_color(1), describe=True)))["status"] == "success"
        assert comfyui.asked == 1


@engine_only
async def test_models_that_the_worker_would_fetch_are_choices_and_no_problem(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        '[[model]]\nname = "late.safetensors"\nfolder = "checkpoints"\nurl = "http://127.0.0.1:9/late.safetensors"\n'
    )
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    process = ComfyUIProcess([*comfyui_command(tmp_path), "--only-present-models"], tmp_path)
    process.start()
    try:
        process.wait_until_ready(START_SECONDS)
        models = tmp_path / "engine" / "models"
        workflow = json.loads((ROOT / "workflows" / "text_to_image.json").read_text(encoding="utf-8"))["workflow"]
        workflow["4"]["inputs"]["ckpt_name"] = "late.safetensors"

        async def told(settings: Settings) -> tuple[list[str], list[str]]:
            handler = Handler(Facilities.of_repository(tmp_path, settings, {}), RemoteServer(process.url), None)
            answer = await handler(job(workflow=workflow, describe=True))
            described = answer["description"]
            return described["nodes"]["4"]["inputs"]["ckpt_name"]["choices"], described["problems"]

        own = Settings.from_environment({"MODELS_DIRECTORY": str(models)})
        assert await told(own) == (["late.safetensors"], [])
        choices, problems = await told(Settings())  # nothing is put into a ComfyUI that somebody else runs
        assert choices == []
        assert "late.safetensors" in problems[0]
        (models / "checkpoints" / "new.safetensors").write_bytes(b"x")
        assert (await told(own))[0] == ["new.safetensors", "late.safetensors"]
        assert await get(process.url, "/history") == {}  # nothing was run
    finally:
        process.stop()
