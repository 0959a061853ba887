"""What a client of ComfyUI may rely on, asked of whichever server is under test (see conftest.py)."""

from __future__ import annotations

import io
import json
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from PIL import Image

Workflow = dict[str, Any]
Sampling = Callable[..., Workflow]

# From this version on extra_data.preview_method counts, and times of creation are noted.
NEWER = (0, 8)
# From this version on steps that follow each other within 0.1 s are told no more, but for the first and the last.
THROTTLED_PROGRESS = (0, 9, 2)
# From this version on an unknown or missing class has an error type of its own.
TYPE_FOR_MISSING_NODES = (0, 12)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def color() -> int:
    return random.randrange(0xFFFFFF)  # noqa: S311 - to be unlike the last run is all that is asked


def saving(prefix: str, value: int | None = None) -> Workflow:
    """Three nodes: a plain colour, inverted and saved."""
    plain = node("EmptyImage", width=48, height=32, batch_size=1, color=color() if value is None else value)
    return {
        "1": plain,
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix=prefix),
    }


def picture(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def png(value: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, value).save(buffer, format="PNG")
    return buffer.getvalue()


def upload_form(filename: str, content: bytes, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("image", io.BytesIO(content), filename=filename, content_type="image/png")
    for name, value in fields.items():
        form.add_field(name, value)
    return form


def endless(sampling: Sampling, prefix: str) -> Workflow:
    """As many steps as KSampler takes, each of them still short. To be interrupted."""
    return sampling(color(), 10_000, prefix, pixels=128)


# --- A prompt from its submission to its file -------------------------------------------------------------------------


async def test_a_prompt_is_told_in_this_order(server: Any, unique: str) -> None:
    listener = await server.listen(unique)
    prompt_id = await server.submit(saving(unique), client_id=unique)
    await listener.end_of(prompt_id)
    told = [(kind, data.get("node")) for kind, data in listener.of(prompt_id) if kind != "progress_state"]
    assert told == [
        ("execution_start", None),
        ("execution_cached", None),
        ("executing", "1"),
        ("executing", "2"),
        ("executing", "3"),
        ("executed", "3"),
        ("execution_success", None),
        ("executing", None),
    ]
    kinds = [kind for kind, _ in listener.frames]
    assert kinds[:3] == ["status"] * 3
    assert kinds[-3:] == ["execution_success", "status", "executing"]
    remaining = [data["status"]["exec_info"]["queue_remaining"] for kind, data in listener.frames if kind == "status"]
    assert remaining == [0, 1, 1, 0]


async def test_progress_state_brackets_every_node(server: Any, unique: str) -> None:
    listener = await server.listen(unique)
    prompt_id = await server.submit(saving(unique), client_id=unique)
    await listener.end_of(prompt_id)
    states = [
        {node_id: state["state"] for node_id, state in data["nodes"].items()}
        for kind, data in listener.of(prompt_id)
        if kind == "progress_state"
    ]
    assert states == [
        {"1": "running"},
        {"1": "finished"},
        {"1": "finished", "2": "running"},
        {"1": "finished", "2": "finished"},
        {"1": "finished", "2": "finished", "3": "running"},
        {"1": "finished", "2": "finished", "3": "finished"},
    ]


async def test_the_history_is_there_when_the_end_is_told(server: Any, unique: str) -> None:
    listener = await server.listen(unique)
    for _ in range(5):
        prompt_id = await server.submit(saving(unique), client_id=unique)
        await listener.end_of(prompt_id)
        entry = (await server.json("GET", f"/history/{prompt_id}"))[prompt_id]
        assert entry["status"]["status_str"] == "success"
        assert entry["status"]["completed"] is True
        assert entry["prompt"][1] == prompt_id
        assert entry["prompt"][4] == ["3"]
        assert entry["meta"]["3"]["display_node"] == "3"


async def test_the_saved_file_holds_the_picture_and_the_workflow(server: Any, unique: str) -> None:
    workflow = saving(f"{unique}/pic", 0x102030)
    information = {"workflow": {"id": unique, "nodes": []}}
    entry = await server.run(workflow, extra_data={"extra_pnginfo": information})
    (file,) = entry["outputs"]["3"]["images"]
    assert {key: file[key] for key in ("filename", "subfolder", "type")} == {
        "filename": "pic_00001_.png",
        "subfolder": unique,
        "type": "output",
    }
    image = picture(await server.view(file))
    assert (image.format, image.size) == ("PNG", (48, 32))
    assert image.convert("RGB").getpixel((5, 5)) == (0xEF, 0xDF, 0xCF)
    assert json.loads(image.info["prompt"]) == workflow
    assert json.loads(image.info["workflow"]) == information["workflow"]


async def test_the_counter_of_files_goes_on(server: Any, unique: str) -> None:
    names = []
    for _ in range(2):
        entry = await server.run(saving(unique))
        names.append(entry["outputs"]["3"]["images"][0]["filename"])
    assert names == [f"{unique}_00001_.png", f"{unique}_00002_.png"]


async def test_a_preview_goes_to_the_temporary_folder(server: Any) -> None:
    workflow = {
        "1": node("EmptyImage", width=8, height=8, batch_size=2, color=color()),
        "2": node("PreviewImage", images=["1", 0]),
    }
    entry = await server.run(workflow)
    files = entry["outputs"]["2"]["images"]
    assert [file["type"] for file in files] == ["temp", "temp"]
    assert picture(await server.view(files[1])).size == (8, 8)


async def test_an_unchanged_prompt_names_the_old_file(server: Any, unique: str) -> None:
    listener = await server.listen(unique)
    workflow = saving(unique)
    first = await server.run(workflow, client_id=unique)
    prompt_id = await server.submit(workflow, client_id=unique)
    await listener.end_of(prompt_id)
    told = [(kind, data.get("nodes")) for kind, data in listener.of(prompt_id) if kind != "progress_state"]
    assert [kind for kind, _ in told] == [
        "execution_start",
        "execution_cached",
        "executed",
        "execution_success",
        "executing",
    ]
    assert sorted(told[1][1]) == ["1", "2", "3"]
    assert (await server.entry(prompt_id))["outputs"] == first["outputs"]


async def test_only_what_changed_runs(server: Any, unique: str) -> None:
    listener = await server.listen(unique)
    value = color()
    await server.run(saving(unique, value), client_id=unique)
    prompt_id = await server.submit(saving(f"{unique}-other", value), client_id=unique)
    await listener.end_of(prompt_id)
    assert [data["node"] for kind, data in listener.of(prompt_id) if kind == "executing"] == ["3", None]


# --- The arithmetic of nodes that need no model ----------------------------------------------------------------------


async def test_scaling_keeps_the_ratio_when_one_side_is_zero(server: Any, unique: str) -> None:
    sizes = {(100, 0): (100, 50), (0, 100): (200, 100), (30, 30): (30, 30), (0, 0): (64, 32)}
    for (width, height), expected in sizes.items():
        workflow = {
            "1": node("EmptyImage", width=64, height=32, batch_size=1, color=color()),
            "2": node(
                "ImageScale",
                image=["1", 0],
                upscale_method="nearest-exact",
                width=width,
                height=height,
                crop="disabled",
            ),
            "3": node("SaveImage", images=["2", 0], filename_prefix=unique),
        }
        entry = await server.run(workflow)
        assert picture(await server.view(entry["outputs"]["3"]["images"][0])).size == expected


async def test_scaling_can_cut_the_middle_out(server: Any, unique: str) -> None:
    striped = Image.new("RGB", (12, 4), (255, 0, 0))
    striped.paste((0, 255, 0), (4, 0, 8, 4))
    buffer = io.BytesIO()
    striped.save(buffer, format="PNG")
    answer = await server.json("POST", "/upload/image", data=upload_form(f"{unique}.png", buffer.getvalue()))
    workflow = {
        "1": node("LoadImage", image=answer["name"]),
        "2": node("ImageScale", image=["1", 0], upscale_method="nearest-exact", width=8, height=8, crop="center"),
        "3": node("SaveImage", images=["2", 0], filename_prefix=unique),
    }
    entry = await server.run(workflow)
    image = picture(await server.view(entry["outputs"]["3"]["images"][0])).convert("RGB")
    assert image.size == (8, 8)
    assert image.getcolors() == [(64, (0, 255, 0))]


async def test_a_batch_is_saved_as_several_files(server: Any, unique: str) -> None:
    workflow = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0x0000FF),
        "2": node("EmptyImage", width=16, height=16, batch_size=1, color=0xFF0000),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix=unique),
    }
    entry = await server.run(workflow)
    images = [picture(await server.view(file)).convert("RGB") for file in entry["outputs"]["4"]["images"]]
    assert [(image.size, image.getpixel((3, 3))) for image in images] == [((8, 8), (0, 0, 255)), ((8, 8), (255, 0, 0))]


# --- Refusals --------------------------------------------------------------------------------------------------------

EMPTY = node("EmptyImage", width=64, height=64, batch_size=1, color=0)

REFUSED: dict[str, tuple[Any, str, dict[str, list[str]]]] = {
    "empty": ({}, "prompt_no_outputs", {}),
    "no output node": ({"1": EMPTY}, "prompt_no_outputs", {}),
    "no class": ({"1": {"inputs": {}}}, "invalid_prompt", {}),
    "missing input": (
        {"1": node("SaveImage", filename_prefix="x")},
        "prompt_outputs_failed_validation",
        {"1": ["required_input_missing"]},
    ),
    "missing input above": (
        {"1": node("EmptyImage", width=8, height=8, batch_size=1), "2": node("PreviewImage", images=["1", 0])},
        "prompt_outputs_failed_validation",
        {"1": ["required_input_missing"]},
    ),
    "text for a number": (
        {
            "1": node("EmptyImage", width="wide", height=8, batch_size=1, color=0),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "prompt_outputs_failed_validation",
        {"1": ["invalid_input_type"]},
    ),
    "out of range": (
        {
            "1": node("EmptyImage", width=0, height=99999, batch_size=1, color=0),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "prompt_outputs_failed_validation",
        {"1": ["value_smaller_than_min", "value_bigger_than_max"]},
    ),
    "not a choice": (
        {
            "1": EMPTY,
            "2": node("ImageScale", image=["1", 0], upscale_method="magic", width=8, height=8, crop="disabled"),
            "3": node("PreviewImage", images=["2", 0]),
        },
        "prompt_outputs_failed_validation",
        {"2": ["value_not_in_list"]},
    ),
    "no such file": (
        {"1": node("LoadImage", image="no such file.png"), "2": node("PreviewImage", images=["1", 0])},
        "prompt_outputs_failed_validation",
        {"1": ["custom_validation_failed"]},
    ),
    "wrong type of link": (
        {
            "1": node("EmptyLatentImage", width=64, height=64, batch_size=1),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "prompt_outputs_failed_validation",
        {"2": ["return_type_mismatch"]},
    ),
    "link to nowhere": (
        {"2": node("PreviewImage", images=["99", 0])},
        "prompt_outputs_failed_validation",
        {"2": ["exception_during_validation"]},
    ),
    "link without slot": (
        {"1": EMPTY, "2": node("PreviewImage", images=["1"])},
        "prompt_outputs_failed_validation",
        {"2": ["bad_linked_input"]},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_faulty_prompt_is_refused(server: Any, case: str) -> None:
    workflow, error_type, node_errors = REFUSED[case]
    status, content = await server.call("POST", "/prompt", json={"prompt": workflow})
    answer = json.loads(content)
    assert status == 400
    if case == "no class" and server.version >= TYPE_FOR_MISSING_NODES:
        error_type = "missing_node_type"
    assert answer["error"]["type"] == error_type
    # ComfyUI goes through the inputs of a node in the order of a set.
    found = {key: sorted(error["type"] for error in value["errors"]) for key, value in answer["node_errors"].items()}
    assert found == {key: sorted(types) for key, types in node_errors.items()}


async def test_an_unknown_class_is_refused(server: Any) -> None:
    workflow = {"1": node("NoSuchNodeAnywhere"), "2": node("PreviewAny", source=["1", 0])}
    status, content = await server.call("POST", "/prompt", json={"prompt": workflow})
    assert status == 400
    error_type = "missing_node_type" if server.version >= TYPE_FOR_MISSING_NODES else "invalid_prompt"
    assert json.loads(content)["error"]["type"] == error_type


@pytest.mark.parametrize("body", [b"", b"this is not json", b"null", b"5", b'{"prompt": null}', b'{"prompt": "text"}'])
async def test_nonsense_is_answered_with_an_error(server: Any, body: bytes) -> None:
    status, _ = await server.call("POST", "/prompt", data=body)
    assert status == 500


async def test_no_prompt_at_all(server: Any) -> None:
    status, content = await server.call("POST", "/prompt", json={"workflow": {"nodes": []}})
    assert (status, json.loads(content)["error"]["type"]) == (400, "no_prompt")


async def test_a_valid_output_runs_although_another_is_refused(server: Any, unique: str) -> None:
    workflow = saving(unique) | {"9": node("SaveImage", filename_prefix=unique)}
    answer = await server.json("POST", "/prompt", json={"prompt": workflow})
    assert [error["type"] for error in answer["node_errors"]["9"]["errors"]] == ["required_input_missing"]
    entry = await server.entry(answer["prompt_id"])
    assert list(entry["outputs"]) == ["3"]


async def test_only_the_targets_run(server: Any, unique: str) -> None:
    workflow = saving(unique) | {"9": node("PreviewImage", images=["2", 0])}
    entry = await server.run(workflow, partial_execution_targets=["9"])
    assert list(entry["outputs"]) == ["9"]


async def test_a_node_that_fails_ends_the_prompt_with_its_reason(server: Any, unique: str) -> None:
    form = upload_form(f"{unique}.png", b"this is not an image")
    name = (await server.json("POST", "/upload/image", data=form))["name"]
    listener = await server.listen(unique)
    workflow = {"1": node("LoadImage", image=name), "2": node("PreviewImage", images=["1", 0])}
    prompt_id = await server.submit(workflow, client_id=unique)
    await listener.end_of(prompt_id)
    (error,) = [data for kind, data in listener.of(prompt_id) if kind == "execution_error"]
    assert (error["node_id"], error["node_type"], error["executed"]) == ("1", "LoadImage", [])
    assert error["exception_type"] == "PIL.UnidentifiedImageError"
    assert error["exception_message"].startswith("cannot identify image file")
    assert error["traceback"]
    assert error["current_inputs"] == {"image": [name]}
    entry = await server.entry(prompt_id)
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert entry["status"]["messages"][-1][0] == "execution_error"


# --- Files -----------------------------------------------------------------------------------------------------------


async def test_an_upload_never_replaces_other_content_unless_told_to(server: Any, unique: str) -> None:
    async def upload(content: bytes, **fields: str) -> Any:
        return await server.json("POST", "/upload/image", data=upload_form(f"{unique}.png", content, **fields))

    red, blue = png((255, 0, 0)), png((0, 0, 255))
    answers = [await upload(red), await upload(red), await upload(blue), await upload(blue, overwrite="true")]
    assert [answer["name"] for answer in answers] == [
        f"{unique}.png",
        f"{unique}.png",
        f"{unique} (1).png",
        f"{unique}.png",
    ]
    assert {answer["type"] for answer in answers} == {"input"}
    assert await server.view({"filename": f"{unique}.png", "subfolder": "", "type": "input"}) == blue


async def test_an_upload_is_loaded_and_its_replacement_noticed(server: Any, unique: str) -> None:
    found = []
    for value in ((10, 20, 30), (200, 100, 50)):
        form = upload_form("pic.png", png(value), subfolder=unique, overwrite="true")
        answer = await server.json("POST", "/upload/image", data=form)
        assert answer["subfolder"] == unique
        workflow = {
            "1": node("LoadImage", image=f"{unique}/{answer['name']}"),
            "2": node("SaveImage", images=["1", 0], filename_prefix=unique),
        }
        entry = await server.run(workflow)
        image = picture(await server.view(entry["outputs"]["2"]["images"][0]))
        found.append(image.convert("RGB").getpixel((0, 0)))
    assert found == [(10, 20, 30), (200, 100, 50)]


@pytest.mark.parametrize("subfolder", ["../../evil", "/elsewhere"])
async def test_an_upload_cannot_leave_its_folder(server: Any, unique: str, subfolder: str) -> None:
    form = upload_form(f"{unique}.png", b"x", subfolder=subfolder)
    assert (await server.call("POST", "/upload/image", data=form))[0] == 400


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("filename=", 400),
        ("filename=no-such-file.png", 404),
        ("filename=../secret.txt", 400),
        ("filename=/etc/passwd", 400),
        ("filename=x.png&subfolder=..", 403),
        ("filename=x.png&subfolder=/etc", 403),
        ("filename=x.png&subfolder=nosuch", 404),
        ("filename=x.png&type=nonsense", 400),
    ],
)
async def test_what_view_refuses(server: Any, query: str, status: int) -> None:
    assert (await server.call("GET", f"/view?{query}"))[0] == status


async def test_view_can_send_a_part_or_another_format(server: Any, unique: str) -> None:
    entry = await server.run(saving(unique))
    name = entry["outputs"]["3"]["images"][0]["filename"]
    status, part = await server.call("GET", f"/view?filename={name}", headers={"Range": "bytes=1-3"})
    assert (status, part) == (206, b"PNG")
    _, preview = await server.call("GET", f"/view?filename={name}&preview=webp;80")
    assert picture(preview).format == "WEBP"


# --- Queue, history, information -------------------------------------------------------------------------------------


async def test_history_entries_can_be_forgotten(server: Any, unique: str) -> None:
    first, second = [await server.submit(saving(unique)) for _ in range(2)]
    await server.entry(second)
    assert (await server.call("POST", "/history", json={"delete": [first]}))[0] == 200
    assert await server.json("GET", f"/history/{first}") == {}
    assert list(await server.json("GET", "/history?max_items=1")) == [second]


async def test_the_server_tells_what_it_has(server: Any) -> None:
    described = (await server.json("GET", "/object_info/SaveImage"))["SaveImage"]
    assert described["input"]["required"]["images"][0] == "IMAGE"
    assert described["output_node"] is True
    assert await server.json("GET", "/object_info/NoSuchNodeAnywhere") == {}
    assert (await server.json("GET", "/features"))["supports_preview_metadata"] is True
    assert "checkpoints" in await server.json("GET", "/models")
    assert (await server.call("GET", "/models/nosuch"))[0] == 404
    assert await server.json("GET", "/queue") == {"queue_running": [], "queue_pending": []}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nosuch", 404), ("POST", "/nosuch", 405)])
async def test_unknown_routes(server: Any, method: str, path: str, status: int) -> None:
    assert (await server.call(method, path))[0] == status


async def test_every_route_exists_below_api_too(server: Any, unique: str) -> None:
    entry = await server.run(saving(unique))
    prompt_id = entry["prompt"][1]
    assert await server.json("GET", f"/api/history/{prompt_id}") == {prompt_id: entry}


async def test_a_stray_interrupt_leaves_no_trace(server: Any, unique: str) -> None:
    assert (await server.call("POST", "/interrupt", json={}))[0] == 200
    assert (await server.call("POST", "/interrupt", data=b"not json"))[0] == 200
    assert (await server.run(saving(unique)))["status"]["status_str"] == "success"


async def test_a_connection_without_id_is_given_one(server: Any, unique: str) -> None:
    async with server.session.ws_connect(server.url + "/ws") as socket:
        sid = json.loads((await socket.receive(30)).data)["data"]["sid"]
        prompt_id = await server.submit(saving(unique), client_id=sid)
        while True:
            document = json.loads((await socket.receive(30)).data)
            if document["type"] == "executed":
                break
        assert document["data"]["prompt_id"] == prompt_id


async def test_without_a_client_only_progress_is_told_to_all(server: Any, unique: str) -> None:
    listener = await server.listen(unique)
    prompt_id = await server.submit(saving(unique))
    await server.entry(prompt_id)
    await listener.until("the empty queue", lambda kind, _: kind == "status" and len(listener.frames) >= 10)
    assert {kind for kind, _ in listener.of(prompt_id)} == {"progress_state"}


# --- With a checkpoint -----------------------------------------------------------------------------------------------


async def test_sampling_tells_every_step(server: Any, unique: str, sampling: Sampling) -> None:
    listener = await server.listen(unique)
    prompt_id = await server.submit(sampling(color(), 4, unique), client_id=unique)
    await listener.end_of(prompt_id)
    steps = [(data["node"], data["value"], data["max"]) for kind, data in listener.of(prompt_id) if kind == "progress"]
    all_steps = [("5", step, 4) for step in (1, 2, 3, 4)]
    if server.version >= THROTTLED_PROGRESS:
        assert (steps[0], steps[-1], set(steps) - set(all_steps)) == (all_steps[0], all_steps[-1], set())
    else:
        assert steps == all_steps
    assert listener.binary == [], "previews were not asked for"
    entry = await server.entry(prompt_id)
    assert picture(await server.view(entry["outputs"]["7"]["images"][0])).size == (64, 64)


async def test_the_same_seed_gives_the_same_picture(server: Any, unique: str, sampling: Sampling) -> None:
    pictures = []
    for seed in (7, 8, 7):
        entry = await server.run(sampling(seed, 2, f"{unique}-{len(pictures)}"), client_id=unique)
        pictures.append(picture(await server.view(entry["outputs"]["7"]["images"][0])).tobytes())
    assert pictures[0] == pictures[2]
    assert pictures[0] != pictures[1]


async def test_previews_come_if_the_prompt_asks_for_them(server: Any, unique: str, sampling: Sampling) -> None:
    if server.version < NEWER:
        pytest.skip("this version has previews only by command line")
    listener = await server.listen(unique)
    extra_data = {"preview_method": "latent2rgb"}
    prompt_id = await server.submit(sampling(color(), 3, unique), client_id=unique, extra_data=extra_data)
    await listener.end_of(prompt_id)
    kinds = [kind for kind, _ in listener.of(prompt_id)]
    start = kinds.index("progress") - 1
    assert kinds[start : start + 3] == ["progress_state", "progress", "binary 1"]
    assert len(listener.binary) == 3
    assert int.from_bytes(listener.binary[0][4:8], "big") == 1
    image = picture(listener.binary[0][8:])
    assert (image.format, max(image.size)) == ("JPEG", 512)


async def test_previews_say_whose_they_are_after_the_handshake(server: Any, unique: str, sampling: Sampling) -> None:
    if server.version < NEWER:
        pytest.skip("this version has previews only by command line")
    features = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    listener = await server.listen(unique, features)
    await listener.until("the server's features", lambda kind, _: kind == "feature_flags")
    extra_data = {"preview_method": "latent2rgb"}
    prompt_id = await server.submit(sampling(color(), 2, unique), client_id=unique, extra_data=extra_data)
    await listener.end_of(prompt_id)
    kinds = [kind for kind, _ in listener.of(prompt_id)]
    start = kinds.index("binary 4") - 1
    assert kinds[start : start + 3] == ["progress_state", "binary 4", "progress"]
    length = int.from_bytes(listener.binary[0][4:8], "big")
    metadata = json.loads(listener.binary[0][8 : 8 + length])
    assert (metadata["prompt_id"], metadata["node_id"], metadata["image_type"]) == (prompt_id, "5", "image/jpeg")
    assert picture(listener.binary[0][8 + length :]).format == "JPEG"


async def test_an_interrupt_stops_the_sampler_within_a_second(server: Any, unique: str, sampling: Sampling) -> None:
    listener = await server.listen(unique)
    prompt_id = await server.submit(endless(sampling, unique), client_id=unique)
    await listener.until("the first step", lambda kind, data: kind == "progress" and data["value"] >= 2)
    await server.call("POST", "/interrupt", json={"prompt_id": str(uuid.uuid4())})
    assert await server.queue_ids("queue_running") == [prompt_id]
    started = time.monotonic()
    await server.call("POST", "/interrupt", json={"prompt_id": prompt_id})
    await listener.end_of(prompt_id)
    assert time.monotonic() - started < 1.0
    assert await server.queue_ids("queue_running") == []
    (told,) = [data for kind, data in listener.of(prompt_id) if kind == "execution_interrupted"]
    assert (told["node_id"], told["node_type"]) == ("5", "KSampler")
    entry = await server.entry(prompt_id)
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_the_queue_is_ordered_and_can_be_thinned_while_a_prompt_runs(
    server: Any, unique: str, sampling: Sampling
) -> None:
    listener = await server.listen(unique)
    blocker = await server.submit(endless(sampling, unique), client_id=unique)
    await listener.until("that it runs", lambda kind, data: kind == "executing" and data["prompt_id"] == blocker)
    normal, front, last, deleted = (str(uuid.uuid4()) for _ in range(4))
    await server.submit(saving(unique), prompt_id=normal)
    await server.submit(saving(unique), prompt_id=front, front=True)
    await server.submit(saving(unique), prompt_id=last, number=1e9)
    await server.submit(saving(unique), prompt_id=deleted)
    # Neither names the running prompt in a way that could stop it.
    await server.call("POST", "/queue", json={"delete": [deleted, blocker, "unknown"]})
    await server.call("POST", "/interrupt", json={"prompt_id": normal})
    assert await server.queue_ids("queue_running") == [blocker]
    assert sorted(await server.queue_ids("queue_pending")) == sorted([normal, front, last])
    await server.call("POST", "/interrupt", json={"prompt_id": blocker})
    await server.entry(last)
    ran = [
        prompt_id for prompt_id in await server.json("GET", "/history") if prompt_id in {normal, front, last, deleted}
    ]
    assert ran == [front, normal, last]


async def test_a_client_that_comes_back_is_told_which_node_runs(server: Any, unique: str, sampling: Sampling) -> None:
    listener = await server.listen(unique)
    prompt_id = await server.submit(endless(sampling, unique), client_id=unique)
    await listener.until("the first step", lambda kind, _: kind == "progress")
    await listener.socket.close()
    await server.json("GET", "/queue")  # A round trip, after which the server has seen it too.
    again = await server.listen(unique)
    await again.until("the running node", lambda kind, data: kind == "executing" and data == {"node": "5"})
    await again.until("progress", lambda kind, data: kind == "progress" and data["prompt_id"] == prompt_id)
    await server.call("POST", "/interrupt", json={"prompt_id": prompt_id})
    await again.end_of(prompt_id)
