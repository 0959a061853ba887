"""What a job may ask for besides a workflow: formats, seeds, parts, pages' workflows, models on demand, old clients."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from supervised import START_SECONDS, comfyui_command, engine_only
from worker_jobs import decoded, job, make_handler, save_color

from comfypod.comfyui.process import ComfyUIProcess
from comfypod.comfyui.server import RemoteServer
from comfypod.settings import Settings
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler
from tests.file_server import FileServer


@pytest.fixture
def handler(comfyui_url: str) -> Handler:
    return make_handler(comfyui_url)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FileServer]:
    async with FileServer().running() as running:
        yield running


@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp"])
async def test_pictures_come_in_the_format_that_is_asked_for(handler: Handler, wanted: str) -> None:
    answer = await handler(job(workflow=save_color(0x205080), outputs={"format": wanted}))
    (artifact,) = answer["images"]
    assert artifact["content_type"] == f"image/{wanted}"
    assert Path(artifact["filename"]).suffix == {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}[wanted]
    image = decoded(artifact)
    assert image.format == wanted.upper()
    for value, expected in zip(image.convert("RGB").getpixel((9, 9)), (0xDF, 0xAF, 0x7F), strict=True):  # type: ignore[arg-type]
        assert abs(value - expected) <= 6
    assert "KSampler" not in str(image.info)
    assert "EmptyImage" in str(dict(image.getexif())) + str(image.info)  # the workflow went along


async def test_a_lower_quality_makes_a_smaller_file(handler: Handler) -> None:
    workflow = save_color(5, size=256)
    sizes = []
    for quality in (95, 5):
        answer = await handler(job(workflow=workflow, outputs={"format": "jpeg", "quality": quality}))
        sizes.append(answer["images"][0]["size_bytes"])
    assert sizes[1] < sizes[0]


async def test_metadata_are_removed_where_that_is_asked_for(handler: Handler) -> None:
    answer = await handler(job(workflow=save_color(6), outputs={"metadata": False}))
    assert decoded(answer["images"][0]).info == {}
    answer = await handler(job(workflow=save_color(6)))
    assert json.loads(decoded(answer["images"][0]).info["prompt"]) == save_color(6)


async def test_an_animation_stays_one_and_that_is_told(handler: Handler) -> None:
    workflow = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": 0xFF0000}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": 0x00FF00}},
        "3": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
        "4": {
            "class_type": "SaveAnimatedWEBP",
            "inputs": {
                "images": ["3", 0],
                "filename_prefix": "x",
                "fps": 6.0,
                "lossless": True,
                "quality": 80,
                "method": "default",
            },
        },
    }
    answer = await handler(job(workflow=workflow, outputs={"format": "jpeg"}))
    assert answer["images"][0]["content_type"] == "image/webp"
    assert "is an animation" in answer["warnings"][0]


async def test_a_random_seed_is_drawn_told_and_repeats_the_picture(handler: Handler, checkpoint: str) -> None:
    parameters = {"checkpoint": checkpoint, "steps": 2, "width": 64, "height": 64}
    first = await handler(job(prompt="a fox", parameters={**parameters, "seed": "random"}))
    other = await handler(job(prompt="a fox", parameters=parameters))  # the template's own default is random
    assert 0 <= first["seeds"]["seed"] < 2**32
    assert first["seeds"] != other["seeds"]
    again = await handler(job(prompt="a fox", parameters={**parameters, "seed": first["seeds"]["seed"]}))
    assert "seeds" not in again
    assert decoded(again["images"][0]).tobytes() == decoded(first["images"][0]).tobytes()
    assert decoded(other["images"][0]).tobytes() != decoded(first["images"][0]).tobytes()


async def test_a_random_seed_in_a_workflow_of_ones_own(handler: Handler, checkpoint: str) -> None:
    template = json.loads((Path(__file__).parents[2] / "workflows" / "text_to_image.json").read_text())["workflow"]
    template["3"]["inputs"]["seed"] = "random"
    overrides = {"4.ckpt_name": checkpoint, "3.steps": 1, "5.width": 64, "5.height": 64}
    answer = await handler(job(workflow=template, parameters=overrides))
    assert answer["status"] == "success", answer
    assert set(answer["seeds"]) == {"3.seed"}


async def test_a_part_that_is_not_valid_is_left_out_where_that_is_allowed(handler: Handler) -> None:
    workflow = save_color(21)
    workflow["4"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "no images"}}
    answer = await handler(job(workflow=workflow, allow_partial=True))
    assert answer["status"] == "success", answer
    assert [image["node_id"] for image in answer["images"]] == ["3"]
    assert "node 4 (SaveImage)" in answer["warnings"][0]


async def test_what_was_saved_before_a_failure_comes_with_it_where_that_is_allowed(
    handler: Handler, comfyui_url: str
) -> None:
    workflow = {
        **save_color(22),
        "4": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "5": {"class_type": "ImageInvert", "inputs": {"image": ["4", 0]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "no\x00name"}},
    }
    kept = None
    for _ in range(20):  # which branch runs first is up to ComfyUI
        answer = await handler(job(workflow=workflow, allow_partial=True))
        assert (answer["status"], answer["code"]) == ("error", "prompt_failed")
        if answer["images"]:
            kept = answer["images"][0]
            break
    assert kept is not None
    assert kept["node_id"] == "3"
    assert decoded(kept).size == (64, 64)
    refused = await handler(job(workflow=workflow))
    assert "images" not in refused
    small = make_handler(comfyui_url, inline_limit_bytes="5000")
    answer = await small(job(workflow=workflow, allow_partial=True))
    assert (answer["code"], answer["details"]["node_id"]) == ("prompt_failed", "6")  # that it failed is what matters


async def test_nothing_saved_is_no_error_where_that_is_allowed(handler: Handler) -> None:
    workflow = {**save_color(54), "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}
    answer = await handler(job(workflow=workflow, allow_partial=True))
    assert (answer["status"], answer["images"]) == ("success", [])
    assert "saved nothing" in answer["warnings"][0]


def page_workflow() -> dict[str, Any]:
    """What ComfyUI's page saves of three nodes in a row, with a note beside them."""
    return {
        "version": 0.4,
        "last_node_id": 4,
        "last_link_id": 2,
        "nodes": [
            {
                "id": 1,
                "type": "EmptyImage",
                "mode": 0,
                "order": 0,
                "inputs": [],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
                "widgets_values": [40, 24, 1, 0x112233],
            },
            {
                "id": 2,
                "type": "ImageInvert",
                "mode": 4,
                "order": 1,
                "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
            },
            {
                "id": 3,
                "type": "SaveImage",
                "mode": 0,
                "order": 2,
                "title": "Keep it",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
                "outputs": [],
                "widgets_values": ["page"],
            },
            {"id": 4, "type": "Note", "mode": 0, "order": 3, "inputs": [], "outputs": [], "widgets_values": ["hi"]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
        "groups": [],
        "extra": {},
    }


async def test_what_comfyuis_page_saves_runs_and_can_be_opened_there_again(handler: Handler) -> None:
    answer = await handler(job(workflow=page_workflow(), parameters={"1.color": 0x405060}))
    assert answer["status"] == "success", answer
    (artifact,) = answer["images"]
    assert (artifact["node_id"], artifact["node_title"]) == ("3", "Keep it")
    image = decoded(artifact)
    assert image.size == (40, 24)
    assert image.convert("RGB").getpixel((3, 3)) == (0x40, 0x50, 0x60)  # the inverting node is bypassed
    assert json.loads(image.info["workflow"]) == page_workflow()


def tensors() -> bytes:
    header = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + b"1234"


@engine_only
async def test_a_model_that_models_toml_knows_is_fetched_by_the_first_job_that_needs_it(
    tmp_path: Path, server: FileServer
) -> None:
    server.files["models/late.safetensors"] = tensors()
    (tmp_path / "models.toml").write_text(
        f"""
        [[model]]
        name = "late.safetensors"
        folder = "checkpoints"
        url = "{server.url("models/late.safetensors")}"
        sha256 = "{hashlib.sha256(tensors()).hexdigest()}"
        size_bytes = {len(tensors())}
        """
    )
    (tmp_path / "workflows").symlink_to(Path(__file__).parents[2] / "workflows")
    process = ComfyUIProcess([*comfyui_command(tmp_path), "--only-present-models"], tmp_path)
    process.start()
    try:
        process.wait_until_ready(START_SECONDS)
        settings = Settings.from_environment(
            {"DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1", "MODELS_DIRECTORY": str(tmp_path / "engine" / "models")}
        )
        handler = Handler(Facilities.of_repository(tmp_path, settings, {}), RemoteServer(process.url), None)
        small = {"steps": 1, "width": 64, "height": 64}
        answer = await handler(job(prompt="x", parameters={**small, "checkpoint": "never.safetensors"}))
        assert answer["code"] == "invalid_workflow"
        assert "models/checkpoints" in answer["error"]
        others = Handler(Facilities.of_repository(tmp_path, Settings(), {}), RemoteServer(process.url), None)
        answer = await others(job(prompt="x", parameters={**small, "checkpoint": "late.safetensors"}))
        assert answer["code"] == "invalid_workflow"  # nothing is put into a ComfyUI that somebody else runs
        assert server.requests == []
        placed = tmp_path / "engine" / "models" / "checkpoints" / "never.safetensors"
        placed.write_bytes(tensors())  # by somebody else; what was learned before is out of date
        answer = await handler(job(prompt="x", parameters={**small, "checkpoint": placed.name}))
        assert answer["status"] == "success", answer
        answer = await handler(job(prompt="x", parameters={**small, "checkpoint": "late.safetensors"}))
        assert answer["status"] == "success", answer
        again = await handler(job(prompt="x", parameters={**small, "checkpoint": "late.safetensors"}))
        assert again["status"] == "success", again
        assert server.requests == ["/models/late.safetensors"]
        server.files["models/late.safetensors"] = b"other"
        assert (tmp_path / "engine" / "models" / "checkpoints" / "late.safetensors").read_bytes() == tensors()
    finally:
        process.stop()


async def test_a_client_of_the_common_worker_works_unmodified(handler: Handler) -> None:
    """Its request as its documentation shows it, read as its clients read the answer."""
    content = io.BytesIO()
    Image.new("RGB", (20, 20), (9, 8, 7)).save(content, "PNG")
    encoded = base64.b64encode(content.getvalue()).decode()
    request = {
        "input": {
            "workflow": {
                "10": {"inputs": {"image": "test.png", "upload": "image"}, "class_type": "LoadImage"},
                "9": {
                    "inputs": {"filename_prefix": "ComfyUI", "images": ["10", 0]},
                    "class_type": "SaveImage",
                    "_meta": {"title": "Save Image"},
                },
            },
            "images": [{"name": "test.png", "image": f"data:image/png;base64,{encoded}"}],
        }
    }
    output = await handler({"id": "sync-c0cd1eb2-068f-4ecf-a99a-55770fc77391-e1", **request})
    (image,) = output["images"]
    assert image["type"] == "base64"
    assert image["filename"].startswith("ComfyUI_")
    assert Image.open(io.BytesIO(base64.b64decode(image["data"]))).convert("RGB").getpixel((0, 0)) == (9, 8, 7)
    assert output["warnings"] == []


@pytest.mark.parametrize("workflow", [save_color(5), {"1": {"class_type": "NoSuchNode", "inputs": {}}}, "no object"])
async def test_the_callers_own_name_for_the_job_comes_back_however_it_ends(handler: Handler, workflow: Any) -> None:
    answer = await handler(job(workflow=workflow, idempotency_key="order-7.b"))
    assert answer["idempotency_key"] == "order-7.b"
    assert answer["warnings"] == []
