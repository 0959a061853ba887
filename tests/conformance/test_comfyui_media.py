"""What nodes that load and save files do, seen from outside: names, folders, ui keys, refusals, and what is cached.

See conftest.py for how to run these against a real ComfyUI. Where its versions differ, the test says so.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

PNG, WEBP, MP4, WEBM = b"\x89PNG\r\n", b"RIFF", b"ftyp", b"\x1aE\xdf\xa3"
SIZE = 32
FRAMES = 4

Workflow = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def pictures(color: int, count: int = FRAMES) -> Workflow:
    return {
        "1": node("EmptyImage", width=SIZE, height=SIZE, batch_size=1, color=color),
        "2": node("RepeatImageBatch", image=["1", 0], amount=count),
    }


def sound(sample_rate: int = 48000) -> Workflow:
    return {"2": node("EmptyAudio", duration=0.5, sample_rate=sample_rate, channels=2)}


def latent() -> Workflow:
    return {"2": node("EmptyLatentImage", width=64, height=64, batch_size=1)}


def video() -> Workflow:
    return {**pictures(0x3366CC), "8": node("CreateVideo", images=["2", 0], fps=8.0)}


@dataclass(frozen=True)
class Saving:
    """A node that saves, what it is given, and what it must report."""

    class_type: str
    source: Workflow
    input_name: str
    extension: str
    signature: bytes
    key: str = "images"
    count: int = 1
    animated: bool = False
    folder_type: str = "output"
    link: tuple[str, int] = ("2", 0)
    widgets: Mapping[str, Any] = field(default_factory=dict)

    def workflow(self, prefix: str) -> Workflow:
        name = {} if self.folder_type == "temp" else {"filename_prefix": f"{prefix}/file"}
        return {**self.source, "9": node(self.class_type, **{self.input_name: list(self.link)}, **name, **self.widgets)}


WEBP_WIDGETS = {"fps": 6.0, "lossless": True, "quality": 80, "method": "default"}
SAVINGS = (
    Saving("SaveImage", pictures(1), "images", "png", PNG, count=FRAMES),
    Saving("PreviewImage", pictures(2), "images", "png", PNG, count=FRAMES, folder_type="temp"),
    Saving("SaveAnimatedWEBP", pictures(3), "images", "webp", WEBP, animated=True, widgets=WEBP_WIDGETS),
    Saving(
        "SaveAnimatedPNG",
        pictures(4),
        "images",
        "png",
        PNG,
        animated=True,
        widgets={"fps": 6.0, "compress_level": 4},
    ),
    Saving("SaveLatent", latent(), "samples", "latent", b"", key="latents"),
    Saving("SaveAudio", sound(), "audio", "flac", b"fLaC", key="audio"),
    Saving("SaveAudioMP3", sound(), "audio", "mp3", b"ID3", key="audio", widgets={"quality": "128k"}),
    Saving("SaveAudioOpus", sound(), "audio", "opus", b"OggS", key="audio", widgets={"quality": "64k"}),
    Saving("PreviewAudio", sound(), "audio", "flac", b"fLaC", key="audio", folder_type="temp"),
    Saving(
        "SaveVideo",
        video(),
        "video",
        "mp4",
        MP4,
        animated=True,
        link=("8", 0),
        widgets={"format": "auto", "codec": "auto"},
    ),
    Saving(
        "SaveWEBM",
        pictures(5),
        "images",
        "webm",
        WEBM,
        animated=True,
        widgets={"codec": "vp9", "fps": 8.0, "crf": 40.0},
    ),
)


@pytest.mark.parametrize("saving", SAVINGS, ids=lambda saving: saving.class_type)
async def test_a_saving_node_reports_its_files(server: Any, unique: str, saving: Saving) -> None:
    outputs = await outputs_of(server, saving.workflow(unique))
    assert outputs.keys() == {"9"}
    assert outputs["9"].keys() == {saving.key, "animated"} if saving.animated else {saving.key}
    files = outputs["9"][saving.key]
    assert len(files) == saving.count
    for number, file in enumerate(files, start=1):
        assert file["type"] == saving.folder_type
        # Sound has no second underline in 0.33.
        assert re.search(rf"_{number:05}_?\.{saving.extension}$", file["filename"])
        assert file["subfolder"] == ("" if saving.folder_type == "temp" else unique)
        assert saving.signature in (await server.view(file))[:16]
    if saving.animated:
        assert outputs["9"]["animated"] == [True]


async def test_one_picture_is_no_animation(server: Any, unique: str) -> None:
    if server.version < (0, 8):
        pytest.skip("ComfyUI before 0.8 says [False] of a WEBP and [True] of a PNG")
    workflow = {
        **pictures(0xAA, count=1),
        "8": node("SaveAnimatedWEBP", images=["2", 0], filename_prefix=unique, **WEBP_WIDGETS),
        "9": node("SaveAnimatedPNG", images=["2", 0], filename_prefix=unique, fps=6.0, compress_level=4),
    }
    outputs = await outputs_of(server, workflow)
    assert [list(outputs[name]) for name in ("8", "9")] == [["images"], ["images"]]
    # One counter for all extensions.
    names = {outputs[name]["images"][0]["filename"].split("_")[-2] for name in ("8", "9")}
    assert names == {"00001", "00002"}


async def test_opus_is_resampled(server: Any, unique: str) -> None:
    widgets = {"filename_prefix": unique, "quality": "64k"}
    entry = await server.run({**sound(44100), "9": node("SaveAudioOpus", audio=["2", 0], **widgets)})
    if entry["status"]["status_str"] == "error" and "torchaudio" in str(entry["status"]["messages"]):
        pytest.skip("this ComfyUI has no working torchaudio, which resamples")
    (file,) = entry["outputs"]["9"]["audio"]
    content = await server.view(file)
    head = content[content.index(b"OpusHead") :]
    assert int.from_bytes(head[12:16], "little") == 48000  # The rate it was encoded at.


async def test_texts_are_joined_and_shown(server: Any, unique: str) -> None:
    workflow = {
        "1": node("StringConcatenate", string_a=unique, string_b="b", delimiter="-"),
        "9": node("PreviewAny", source=["1", 0]),
    }
    assert await outputs_of(server, workflow) == {"9": {"text": [f"{unique}-b"]}}


async def test_a_saved_picture_comes_back_through_each_loader(server: Any, unique: str) -> None:
    file = await saved_file(server, Saving("SaveImage", pictures(0xFF8000, 1), "images", "png", PNG), unique)
    name = await upload(server, f"{unique}.png", await server.view(file))
    workflow = {
        "1": node("LoadImage", image=name),
        "2": node("LoadImageMask", image=name, channel="green"),
        "3": node("LoadImageOutput", image=f"{file['subfolder']}/{file['filename']} [output]"),
        "4": node("MaskToImage", mask=["2", 0]),
        **{str(number + 6): node("PreviewImage", images=[str(number), 0]) for number in (1, 3)},
    }
    if "MaskToImage" not in await server.json("GET", "/object_info/MaskToImage"):
        del workflow["2"], workflow["4"]
    outputs = await outputs_of(server, workflow)
    assert {name: len(output["images"]) for name, output in outputs.items()} == {"7": 1, "9": 1}


async def test_a_saved_latent_comes_back(server: Any, unique: str) -> None:
    file = await saved_file(server, Saving("SaveLatent", latent(), "samples", "latent", b"", key="latents"), unique)
    content = await server.view(file)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["latent_tensor"]["shape"][1:] == [4, 8, 8]
    assert header["latent_format_version_0"]["shape"] == [0]
    assert json.loads(header["__metadata__"]["prompt"])["9"]["class_type"] == "SaveLatent"
    name = await upload(server, f"{unique}.latent", content)
    again = {"1": node("LoadLatent", latent=name), "9": node("SaveLatent", samples=["1", 0], filename_prefix=unique)}
    assert len((await outputs_of(server, again))["9"]["latents"]) == 1


async def test_saved_sound_comes_back(server: Any, unique: str) -> None:
    file = await saved_file(server, Saving("SaveAudio", sound(), "audio", "flac", b"", key="audio"), unique)
    name = await upload(server, f"{unique}.flac", await server.view(file))
    again = {"1": node("LoadAudio", audio=name), "9": node("PreviewAudio", audio=["1", 0])}
    assert len((await outputs_of(server, again))["9"]["audio"]) == 1


async def test_a_saved_video_comes_back_frame_by_frame(server: Any, unique: str) -> None:
    widgets = {"format": "mp4", "codec": "h264"}
    saving = Saving("SaveVideo", video(), "video", "mp4", MP4, link=("8", 0), widgets=widgets)
    name = await upload(server, f"{unique}.mp4", await server.view(await saved_file(server, saving, unique)))
    again = {
        "1": node("LoadVideo", file=name),
        "2": node("GetVideoComponents", video=["1", 0]),
        "7": node("PreviewImage", images=["2", 0]),
        "8": node("PreviewAny", source=["2", 2]),
        "9": node("SaveVideo", video=["1", 0], filename_prefix=unique, format="auto", codec="auto"),
    }
    outputs = await outputs_of(server, again)
    assert len(outputs["7"]["images"]) == FRAMES
    assert outputs["8"]["text"] == ["8.0"]
    assert outputs["9"]["animated"] == [True]


LOADERS = (
    ("LoadImage", "image", "image", {}),
    ("LoadImageMask", "image", "image", {"channel": "alpha"}),
    ("LoadImageOutput", "image", "image", {}),
    ("LoadLatent", "latent", "latent", {}),
    ("LoadAudio", "audio", "audio", {}),
    ("LoadVideo", "file", "video", {}),
)


@pytest.mark.parametrize(("class_type", "name", "word", "widgets"), LOADERS)
async def test_a_missing_input_is_refused(
    server: Any, class_type: str, name: str, word: str, widgets: dict[str, Any]
) -> None:
    workflow = {
        "1": node(class_type, **{name: "no-such-file.bin"}, **widgets),
        "9": node("PreviewAny", source=["1", 0]),
    }
    status, content = await server.call("POST", "/prompt", json={"prompt": workflow})
    answer = json.loads(content)
    assert (status, answer["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    (error,) = answer["node_errors"]["1"]["errors"]
    assert error["type"] == "custom_validation_failed"
    assert error["details"] == f"{name} - Invalid {word} file: no-such-file.bin"
    assert error["extra_info"] == {"input_name": name}


@pytest.mark.parametrize(
    ("class_type", "name", "flag"),
    [
        ("LoadImage", "image", "image_upload"),
        ("LoadAudio", "audio", "audio_upload"),
        ("LoadVideo", "file", "video_upload"),
    ],
)
async def test_an_upload_is_offered_by_the_loader_of_its_kind(
    server: Any, unique: str, class_type: str, name: str, flag: str
) -> None:
    extension = {"image": "png", "audio": "mp3", "file": "webm"}[name]
    stored = await upload(server, f"{unique}.{extension}", unique.encode())
    kind, options = (await server.json("GET", f"/object_info/{class_type}"))[class_type]["input"]["required"][name]
    assert options[flag] is True
    choices = options["options"] if kind == "COMBO" else kind
    assert stored in choices
    assert choices == sorted(choices)
    if class_type == "LoadImage":
        assert kind == choices
    elif server.version >= (0, 8):
        assert kind == "COMBO"


async def test_a_file_that_is_no_sound_fails_when_it_is_decoded(server: Any, unique: str) -> None:
    name = await upload(server, f"{unique}.mp3", b"this is no sound")
    entry = await server.run({"1": node("LoadAudio", audio=name), "9": node("PreviewAudio", audio=["1", 0])})
    event, data = entry["status"]["messages"][-1]
    assert (event, data["node_id"], data["exception_type"]) == ("execution_error", "1", "av.error.InvalidDataError")


async def test_an_unknown_choice_is_refused_by_name(server: Any) -> None:
    saving = node("SaveAudioMP3", audio=["2", 0], filename_prefix="x", quality="loud")
    status, content = await server.call("POST", "/prompt", json={"prompt": {**sound(), "9": saving}})
    (error,) = json.loads(content)["node_errors"]["9"]["errors"]
    assert (status, error["type"]) == (400, "value_not_in_list")
    assert error["details"] == "quality: 'loud' not in ['V0', '128k', '320k']"
    kind, options = error["extra_info"]["input_config"]
    assert options["default"] == "V0"
    if server.version >= (0, 8):
        assert (kind, options["options"]) == ("COMBO", ["V0", "128k", "320k"])


@pytest.mark.parametrize(
    ("class_type", "widgets"),
    [("SaveImage", {}), ("SaveAnimatedWEBP", WEBP_WIDGETS)],
    ids=["first generation", "second"],
)
async def test_an_undeclared_input_makes_an_output_node_run_anew_and_nothing_else(
    server: Any, unique: str, class_type: str, widgets: dict[str, Any]
) -> None:
    listener = await server.listen(unique)

    async def names(**undeclared: str) -> tuple[list[str], list[str]]:
        saving = node(class_type, images=["2", 0], filename_prefix=unique, **widgets, **undeclared)
        prompt_id = await server.submit({**pictures(0x77, 1), "9": saving}, client_id=unique)
        await listener.end_of(prompt_id)
        cached = next(data["nodes"] for kind, data in listener.of(prompt_id) if kind == "execution_cached")
        outputs = (await server.entry(prompt_id))["outputs"]
        return [file["filename"][-10:-4].strip("_.") for file in outputs["9"]["images"]], sorted(cached)

    first, _ = await names()
    assert await names() == (first, ["1", "2", "9"])
    second, cached = await names(comfypod_job="a")
    assert cached == ["1", "2"]
    assert second != first
    assert await names(comfypod_job="a") == (second, ["1", "2", "9"])
    assert (await names(comfypod_job="b"))[1] == ["1", "2"]


@pytest.mark.parametrize("with_metadata", [False, True])
async def test_pictures_for_the_websocket_travel_as_png(server: Any, unique: str, with_metadata: bool) -> None:
    handshake = {"type": "feature_flags", "data": {"supports_preview_metadata": True}} if with_metadata else None
    listener = await server.listen(unique, handshake)
    workflow = {**pictures(0x123456, 2), "9": node("SaveImageWebsocket", images=["2", 0])}
    for _ in range(2):  # It is never taken from the cache.
        listener.frames.clear()
        listener.binary.clear()
        prompt_id = await server.submit(workflow, client_id=unique)
        await listener.end_of(prompt_id)
        assert [picture_of(frame, with_metadata) for frame in listener.binary] == [PNG, PNG]
        values = [data["value"] for kind, data in listener.frames if kind == "progress" and data["node"] == "9"]
        assert values == [0, 1]
        assert order_of_steps(listener) == (["binary 4", "progress"] if with_metadata else ["progress", "binary 1"]) * 2
        assert (await server.entry(prompt_id))["outputs"] == {}
        assert not any(kind == "executed" for kind, _ in listener.of(prompt_id))


def picture_of(frame: bytes, with_metadata: bool) -> bytes:
    """The first bytes of the picture; what is before them is checked."""
    if not with_metadata:
        assert frame[:8] == (1).to_bytes(4, "big") + (2).to_bytes(4, "big")
        return frame[8:14]
    length = int.from_bytes(frame[4:8], "big")
    metadata = json.loads(frame[8 : 8 + length])
    assert (frame[:4], metadata["image_type"]) == ((4).to_bytes(4, "big"), "image/png")
    assert metadata["node_id"] == metadata["real_node_id"] == "9"
    return frame[8 + length : 14 + length]


def order_of_steps(listener: Any) -> list[str]:
    return [kind for kind, _ in listener.frames if kind == "progress" or "binary" in kind]


async def test_folders_of_models_are_told_outside_the_api_prefix(server: Any) -> None:
    folders = await server.json("GET", "/internal/folder_paths")
    assert (await server.call("GET", "/api/internal/folder_paths"))[0] == 404
    assert list(folders) == await server.json("GET", "/models")
    for kind in ("checkpoints", "loras", "vae"):
        own, saved = folders[kind]
        assert own.endswith(f"/models/{kind}")
        assert saved.endswith(f"/output/{kind}")
    assert [path.rpartition("/")[2] for path in folders["diffusion_models"]] == [
        "unet",
        "diffusion_models",
        "diffusion_models",
    ]
    assert len(folders["custom_nodes"]) == 1
    assert (await server.call("GET", "/models/unet"))[0] == 404


async def test_files_of_a_folder_are_listed_with_the_newest_first(server: Any, unique: str) -> None:
    for number in (1, 2):
        await upload(server, f"{unique}-{number}.txt", unique.encode())
        await asyncio.sleep(0.02)  # The order is that of the files' times.
    names = await server.json("GET", "/internal/files/input")
    # Annotated as "NAME [input]" in 0.33.
    assert [name.split()[0] for name in names if unique in name] == [f"{unique}-2.txt", f"{unique}-1.txt"]
    assert (await server.call("GET", "/internal/files/elsewhere"))[0] == 400


async def outputs_of(server: Any, workflow: Workflow) -> dict[str, Any]:
    """Run a workflow that must succeed, with a client, without which 0.8 forgets cached outputs."""
    entry = await server.run(workflow, client_id="media")
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    return dict(entry["outputs"])


async def saved_file(server: Any, saving: Saving, prefix: str) -> dict[str, str]:
    return dict((await outputs_of(server, saving.workflow(prefix)))["9"][saving.key][0])


async def upload(server: Any, name: str, content: bytes) -> str:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("image", content, filename=name, content_type="application/octet-stream")
    answer = await server.json("POST", "/upload/image", data=form)
    assert (answer["subfolder"], answer["type"]) == ("", "input")
    return str(answer["name"])
