"""After a job nothing of it is left: in ComfyUI's folders, in its history, on the worker's disk."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from supervised import engine_only, supervised_worker
from worker_jobs import ROOT, get, job, make_handler, sampling, save_color, wait_until_sampling

from comfypod.comfyui.folders import LocalFolders, find_local_folders
from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.worker.handler import Handler


@pytest_asyncio.fixture
async def folders(comfyui_url: str) -> LocalFolders:
    async with ComfyUIHTTP(comfyui_url) as http:
        found = await find_local_folders(http)
    assert found is not None, "the tests' ComfyUI must run on this machine"
    return found


@pytest.fixture
def handler(comfyui_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handler:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return make_handler(comfyui_url, maximum_input_bytes="1000000")


def left(folders: LocalFolders) -> set[str]:
    """Every file and folder that there is."""
    return {str(path) for folder in (folders.input, folders.output, folders.temp) for path in folder.rglob("*")}


def left_behind(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def picture() -> str:
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (1, 2, 3)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def with_everything() -> dict[str, Any]:
    """A job that loads a file, saves, previews, and names where it saves by a link."""
    return {
        "workflow": {
            "1": {"class_type": "LoadImage", "inputs": {"image": "deep/photo.png"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a/b/c"}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
            "4": {"class_type": "PrimitiveString", "inputs": {"value": "by_link"}},
            "5": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": ["4", 0]}},
        },
        "files": [{"name": "deep/photo.png", "data": picture()}],
    }


async def test_nothing_is_left_of_a_job_that_succeeded(handler: Handler, folders: LocalFolders, tmp_path: Path) -> None:
    before = left(folders)
    answer = await handler(job(**with_everything()))
    assert answer["status"] == "success", answer
    assert [image["subfolder"] for image in answer["images"]] == ["a/b", ""]
    assert left(folders) == before
    assert left_behind(tmp_path) == []


async def test_a_job_run_twice_saves_twice_though_comfyui_knows_its_result(handler: Handler) -> None:
    first, second = [await handler(job(**with_everything())) for _ in range(2)]
    assert [image["sha256"] for image in first["images"]] == [image["sha256"] for image in second["images"]]
    assert "4" not in second["timings"]["nodes"]  # it is cached


async def test_the_name_of_the_jobs_folder_is_not_in_its_pictures(handler: Handler) -> None:
    answer = await handler(job(**with_everything()))
    for artifact in answer["images"]:
        with Image.open(io.BytesIO(base64.b64decode(artifact["data"]))) as image:
            prompt = json.loads(image.info["prompt"])  # type: ignore[attr-defined]
        for node in prompt.values():
            node.pop("is_changed", None)  # ComfyUI's own word
        assert prompt == with_everything()["workflow"]


@pytest.mark.parametrize(
    "given",
    [
        {**with_everything(), "files": [{"name": "deep/photo.png", "data": base64.b64encode(b"no picture").decode()}]},
        {**with_everything(), "outputs": {"nodes": ["4"]}},
        {**save_color(1), "workflow": {**save_color(1), "9": {"class_type": "SaveImage", "inputs": {}}}},
    ],
)
async def test_nothing_is_left_of_a_job_that_failed(
    handler: Handler, folders: LocalFolders, given: dict[str, Any], tmp_path: Path
) -> None:
    before = left(folders)
    assert (await handler(job(**given)))["status"] == "error"
    assert left(folders) == before
    assert left_behind(tmp_path) == []


async def test_nothing_is_left_of_what_a_job_saved_elsewhere_before_it_failed(
    handler: Handler, folders: LocalFolders
) -> None:
    workflow = {
        **with_everything()["workflow"],
        "6": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "7": {"class_type": "ImageInvert", "inputs": {"image": ["6", 0]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "no\x00name"}},
    }
    before = left(folders)
    saved_something = False
    for _ in range(5):  # in which order nodes run is up to ComfyUI
        given = {**with_everything(), "workflow": workflow, "allow_partial": True}
        answer = await handler(job(**given))
        assert answer["code"] == "prompt_failed"
        saved_something |= any(image["node_id"] == "5" for image in answer.get("images") or ())
        assert left(folders) == before
    assert saved_something


async def test_nothing_is_left_of_a_job_that_was_cancelled(
    comfyui_url: str, checkpoint: str, folders: LocalFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    before = left(folders)
    given = {**sampling(checkpoint, steps=100), "files": [{"name": "unused.png", "data": picture()}]}
    task = asyncio.create_task(make_handler(comfyui_url, send)(job(**given)))
    await wait_until_sampling(updates)
    assert left(folders) != before
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(folders) == before
    assert left_behind(tmp_path) == []


async def test_a_hundred_jobs_leave_nothing(handler: Handler, folders: LocalFolders, comfyui_url: str) -> None:
    before, history = left(folders), await get(comfyui_url, "/history")
    for color in range(100):
        assert (await handler(job(workflow=save_color(color, size=8))))["status"] == "success"
    assert left(folders) == before
    assert await get(comfyui_url, "/history") == history


async def test_what_a_node_saved_and_did_not_tell_of_is_delivered_and_removed(
    handler: Handler, folders: LocalFolders, comfyui_url: str, checkpoint: str
) -> None:
    if not await get(comfyui_url, "/object_info/VAESave"):
        pytest.skip("this ComfyUI has no VAESave")
    workflow = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "2": {"class_type": "VAESave", "inputs": {"vae": ["1", 2], "filename_prefix": "vae/mine"}},
    }
    before = left(folders)
    answer = await handler(job(workflow=workflow))
    assert answer["status"] == "success" or answer["code"] == "output_too_large", answer
    if answer["status"] == "success":
        (artifact,) = answer["files"]
        assert (artifact["node_id"], artifact["subfolder"]) == ("2", "vae")
        assert artifact["filename"].endswith(".safetensors")
    assert left(folders) == before


@engine_only
async def test_what_a_stopped_job_previewed_is_removed_from_the_workers_own_comfyui(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        async with ComfyUIHTTP((await worker.process()).url) as http:
            folders = await find_local_folders(http)
        assert folders is not None
        given = sampling("sd_xl_base_1.0.safetensors", steps=100)
        workflow = {
            "20": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 7}},
            "21": {"class_type": "PreviewImage", "inputs": {"images": ["20", 0]}},
            "22": {"class_type": "PrimitiveString", "inputs": {"value": "stray"}},
            "23": {"class_type": "SaveImage", "inputs": {"images": ["20", 0], "filename_prefix": ["22", 0]}},
        }
        template = json.loads((ROOT / "workflows" / "text_to_image.json").read_text())["workflow"]
        kept = folders.output / "older.png"
        kept.write_bytes(b"made before")
        os.utime(kept, (1, 1))
        before = left(folders)
        overrides = {"4.ckpt_name": given["parameters"]["checkpoint"], "3.steps": 100}
        task = asyncio.create_task(worker.handler(job(workflow={**workflow, **template}, parameters=overrides)))
        await worker.until("execute", current_node_class="KSampler")
        assert left(folders) - before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left(folders) <= before  # the preview of the self-test may have gone as well
        assert kept.exists()
