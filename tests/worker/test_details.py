"""What the larger tests of inputs and outputs would let slip."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from distant_comfyui import DistantComfyUI
from worker_jobs import job, make_handler, save_color

from comfypod.comfyui.folders import LocalFolders, find_local_folders
from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.outputs import OutputFile
from comfypod.completion import to_the_end
from comfypod.errors import ComfyUIUnavailable, PromptRejected
from comfypod.schema.job import OutputSelection
from comfypod.worker.finishing import finish
from comfypod.worker.handler import Handler
from comfypod.worker.surroundings import KnownSurroundings
from comfypod.worker.sweeping import Sweeper
from comfypod.worker.tasks import for_each
from comfypod.worker.workspace import Workspace
from tests.s3_server import BUCKET, S3Server


@pytest.fixture
def handler(comfyui_url: str) -> Handler:
    return make_handler(comfyui_url)


def text_of(length: int) -> dict[str, Any]:
    return {"1": {"class_type": "PreviewAny", "inputs": {"source": "x" * length}}}


async def test_texts_over_the_limit_fail_and_say_so(comfyui_url: str) -> None:
    handler = make_handler(comfyui_url, inline_limit_bytes="100000")
    assert (await handler(job(workflow=text_of(90_000))))["status"] == "success"
    answer = await handler(job(workflow=text_of(110_000)))
    assert answer["code"] == "output_too_large"
    assert answer["details"]["size_bytes"] > 110_000


async def test_texts_have_no_other_way_than_the_answer(comfyui_url: str, s3_server: S3Server) -> None:
    handler = make_handler(comfyui_url, inline_limit_bytes="100000", **s3_server.environment)
    assert (await handler(job(workflow=text_of(110_000))))["code"] == "output_too_large"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n job-1 cut off", b"no picture: job-1"])
async def test_a_broken_output_is_delivered_as_its_node_left_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    async with Workspace("1", None) as workspace:
        workspace.folder = "job-1"
        for selection in (OutputSelection(), OutputSelection(format="webp"), OutputSelection(metadata=False)):
            assert bytes(finish(path, "a.png", selection, workspace).content.read(sha256())) == content


def test_the_hint_of_a_value_stands_in_place_of_comfyuis_own_words() -> None:
    errors = [{"type": "value_not_in_list", "extra_info": {"input_name": "lora_name", "received_value": "fux"}}]
    error = PromptRejected(
        {}, {"5": {"class_type": "Loader", "errors": errors}}, hints={"5.lora_name": "did you mean fox"}
    )
    assert str(error) == "ComfyUI refused the workflow: did you mean fox"
    assert "hints" not in error.details()


async def test_null_is_the_same_as_nothing(handler: Handler) -> None:
    answer = await handler(job(workflow=save_color(51), images=None, files=None, parameters=None, outputs=None))
    assert answer["status"] == "success", answer


async def test_only_the_workers_own_bucket_is_read(comfyui_url: str, s3_server: S3Server) -> None:
    handler = make_handler(comfyui_url, **s3_server.environment)
    workflow = {**save_color(1), "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
    for url, says in (
        ("s3://other/a.png", f"s3://{BUCKET}/KEY"),
        (f"s3://{BUCKET}/", f"s3://{BUCKET}/KEY"),
        (f"s3://{BUCKET}x/a.png", f"s3://{BUCKET}/KEY"),
        (f"s3://{BUCKET}/not-there.png", "not"),
    ):
        answer = await handler(job(workflow=workflow, files=[{"name": "a.png", "url": url}]))
        assert answer["code"] == "input_fetch_failed"
        assert says in answer["error"], answer["error"]


async def test_base64_with_its_end_in_the_middle_is_refused_wherever_that_is(handler: Handler) -> None:
    piece = base64.b64encode(bytes(3 * 256 * 1024 - 1)).decode()  # ends with padding, where a piece does
    assert piece.endswith("=")
    workflow = {**save_color(1), "1": {"class_type": "LoadImage", "inputs": {"image": "a.txt"}}}
    answer = await handler(job(workflow=workflow, files=[{"name": "a.txt", "data": piece + "AAAA"}]))
    assert answer["code"] == "invalid_job_input"


async def test_a_file_taken_from_a_plain_list_is_removed_as_well(comfyui_url: str, tmp_path: Path) -> None:
    folders = LocalFolders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", {})
    for folder in (folders.input, folders.output, folders.temp):
        folder.mkdir()
    mine, others = folders.input / "job-flat.txt", folders.input / "example.png"
    previewed = folders.temp / "preview.png"
    for path in (mine, others, previewed):
        path.write_text("x")
    async with Workspace("1", folders) as workspace:
        workspace.add_stray(mine)
        workspace.add_outputs([OutputFile("1", 0, "example.png", "", "input")])  # named by a node, and not its own
        workspace.add_outputs([OutputFile("1", 1, "preview.png", "", "temp")])
        for root in (folders.input, folders.output, folders.temp):
            (root / workspace.folder).mkdir()
    assert list(tmp_path.rglob("*.*")) == [others]
    assert [path.name for path in folders.input.iterdir()] == ["example.png"]


async def test_names_of_folders_cannot_be_guessed() -> None:
    assert Workspace("same", None).folder != Workspace("same", None).folder


async def test_a_cancelled_job_waits_for_its_threads_before_it_is_cleaned_up() -> None:
    written: list[Path] = []

    def write_late(path: Path) -> None:
        time.sleep(0.2)
        path.write_text("late")
        written.append(path)

    async def work() -> None:
        async with Workspace("1", None) as workspace:
            await workspace.in_thread(write_late, workspace.scratch_file())

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0.02)
    task.cancel()  # while it is cleaned up
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(written) == 1
    assert not written[0].parent.exists()


async def test_what_must_not_be_left_half_done_is_not() -> None:
    done: list[int] = []

    async def work() -> int:
        await asyncio.sleep(0.05)
        done.append(1)
        return 7

    assert await to_the_end(work()) == 7
    task = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.005)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1, 1]


async def test_when_one_fails_the_others_are_cancelled_before_that_is_told() -> None:
    ended: list[str] = []

    async def act(item: str) -> None:
        try:
            await asyncio.sleep(0 if item == "fails" else 60)
            raise ValueError(item)
        finally:
            ended.append(item)

    with pytest.raises(ValueError, match="fails"):
        await asyncio.wait_for(for_each(["a", "fails", "b", "c"], act, at_once=3), 5)
    assert set(ended) >= {"a", "fails", "b"}


@asynccontextmanager
async def view(answer: Any) -> AsyncIterator[str]:
    """A ComfyUI that tells where its folders are (``folder`` of the test) and answers /view as told."""
    application = web.Application()

    async def stats(_: web.Request) -> web.Response:
        return web.json_response({"system": {"argv": ["main.py", f"--base-directory={answer['folder']}"]}})

    async def paths(_: web.Request) -> web.Response:
        return web.json_response({})

    async def show(_: web.Request) -> web.Response:
        return web.Response(status=answer["status"], body=b"something else")

    application.add_routes(
        [web.get("/system_stats", stats), web.get("/internal/folder_paths", paths), web.get("/view", show)]
    )
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [200, 404, 503])
async def test_folders_count_as_seen_only_if_both_sides_see_the_same_file(tmp_path: Path, status: int) -> None:
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    async with view({"folder": tmp_path, "status": status}) as url, ComfyUIHTTP(url) as http:
        if status == 503:  # it says nothing, so nothing is known
            with pytest.raises(ComfyUIUnavailable):
                await find_local_folders(http)
        else:
            assert await find_local_folders(http) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_another_comfyui_is_asked_anew_and_one_that_was_busy_again(comfyui_url: str, tmp_path: Path) -> None:
    known = KnownSurroundings()
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    async with view({"folder": tmp_path, "status": 503}) as url, ComfyUIHTTP(url) as http:
        with pytest.raises(ComfyUIUnavailable):
            await known.of(http)
    async with DistantComfyUI(comfyui_url).running() as distant, ComfyUIHTTP(distant.url) as http:
        assert (await known.of(http)).local is None
    async with ComfyUIHTTP(comfyui_url) as http:
        assert "SaveImage" in (await known.of(http)).catalogue
        assert (await known.of(http)).local is not None
        assert (await known.of(http)) is (await known.of(http))


def old(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


async def test_only_what_ended_jobs_left_is_swept(tmp_path: Path) -> None:
    folders = LocalFolders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", {})
    for folder in (folders.input, folders.output, folders.temp):
        folder.mkdir()
    volume = folders.output / "kept"
    sweeper = Sweeper(volume)
    older = old(folders.output / "older.png", 100)
    async with sweeper.job(folders):
        left = old(folders.output / "left.png", 0)
        theirs = old(folders.output / "job-of-another-worker" / "a.png", 0)
        delivered = old(volume / "job" / "9" / "a.png", 0)
        preview = old(folders.temp / "sub" / "preview.png", 0)
        await asyncio.sleep(0.1)
        second = sweeper.job(folders)
        await second.__aenter__()
        running = old(folders.output / "running.png", -1)
    assert not left.exists()
    assert not preview.parent.exists()
    assert all(path.exists() for path in (older, theirs, delivered, running))
    await second.__aexit__(None, None, None)
    assert not running.exists()
    assert all(path.exists() for path in (older, theirs, delivered))


async def test_what_a_job_writes_stays_though_it_began_during_a_sweep(tmp_path: Path) -> None:
    folders = LocalFolders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", {})
    sweeper, threads, go_on = Sweeper(tmp_path / "kept"), ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(threads)
    first = sweeper.job(folders)
    await first.__aenter__()
    left = old(folders.output / "left.png", 0)
    await asyncio.sleep(0.1)
    threads.submit(go_on.wait, 10)
    sweep = asyncio.create_task(first.__aexit__(None, None, None))  # it waits for the thread
    await asyncio.sleep(0)
    async with sweeper.job(folders):
        written = old(folders.output / "new" / "written.png", 0)
        go_on.set()
        await sweep
        assert not left.exists()
        assert written.exists()
    assert not written.exists()


async def test_a_node_id_may_have_points(handler: Handler) -> None:
    workflow = {f"group.{node_id}": node for node_id, node in save_color(52).items()}
    workflow["group.2"]["inputs"]["image"] = ["group.1", 0]
    workflow["group.3"]["inputs"]["images"] = ["group.2", 0]
    answer = await handler(job(workflow=workflow, parameters={"group.1.width": 24}))
    assert answer["status"] == "success", answer
    assert answer["images"][0]["width"] == 24


async def test_what_a_custom_nodes_list_does_not_have_is_explained_when_comfyui_refuses_it(handler: Handler) -> None:
    """Custom nodes may check for themselves; here one of the engine's own that does stands for them."""
    workflow = {
        "1": {"class_type": "LoadLatent", "inputs": {"latent": "nowhere.latent"}},
        "2": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "x"}},
    }
    answer = await handler(job(workflow=workflow))
    assert answer["code"] == "prompt_rejected"
    assert "nowhere.latent" in answer["error"]
    assert json.dumps(answer["details"]["node_errors"])


async def test_a_result_that_nobody_can_take_leaves_nothing_half_done_on_the_volume(
    comfyui_url: str, tmp_path: Path
) -> None:
    handler = make_handler(comfyui_url, volume_output_directory=str(tmp_path / "volume"))
    workflow = {
        **save_color(53),
        "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "second"}},
    }
    request = job(workflow=workflow, delivery="path")
    blocked = tmp_path / "volume" / request["id"] / "4"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder is needed")
    answer = await handler(request)
    assert answer["code"] == "upload_failed"
    assert [path for path in (tmp_path / "volume").rglob("*") if path.is_file()] == [blocked]
