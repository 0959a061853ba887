"""Every kind of input in every form, every kind of output by every delivery: the table of ``docs/reference/media.md``.

On the built-in engine, or on the ComfyUI that COMFYUI_URL or COMFYUI_COMMAND names.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
import requests
from distant_comfyui import DistantComfyUI
from PIL import Image
from worker_jobs import ROOT, get, job, make_handler

from tests.file_server import FileServer
from tests.s3_server import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, S3Server

PREFIX = {"filename_prefix": "kind/made"}


def picture(color: tuple[int, int, int] = (250, 20, 30)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (48, 32), color).save(content, "PNG")
    return content.getvalue()


def video() -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 20, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return content.getvalue()


def audio() -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        wave = (np.sin(np.arange(16000) / 20) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return content.getvalue()


def latent() -> bytes:
    shape, count = [1, 4, 8, 8], 4 * 8 * 8
    tensors = {
        "latent_tensor": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * count]},
        "latent_format_version_0": {"dtype": "F32", "shape": [0], "data_offsets": [4 * count, 4 * count]},
    }
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + np.zeros(count, np.float32).tobytes()


INPUTS: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "picture": (
        "photo.png",
        picture(),
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], **PREFIX}},
        },
    ),
    "mask": (
        "mask.png",
        picture(),
        {
            "1": {"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "red"}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        },
    ),
    "video": (
        "clip.mp4",
        video(),
        {
            "1": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}},
            "2": {
                "class_type": "SaveVideo",
                "inputs": {"video": ["1", 0], "format": "auto", "codec": "auto", **PREFIX},
            },
        },
    ),
    "audio": (
        "sound.flac",
        audio(),
        {
            "1": {"class_type": "LoadAudio", "inputs": {"audio": "sound.flac"}},
            "2": {"class_type": "SaveAudio", "inputs": {"audio": ["1", 0], **PREFIX}},
        },
    ),
    "latent": (
        "start.latent",
        latent(),
        {
            "1": {"class_type": "LoadLatent", "inputs": {"latent": "start.latent"}},
            "2": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], **PREFIX}},
        },
    ),
}
FORMS = ("base64", "data URI", "address", "bucket")

PIXELS = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 4, "color": 0x3060C0}}
SOUND = {"class_type": "EmptyAudio", "inputs": {"duration": 1.0, "sample_rate": 44100, "channels": 2}}


MOTION = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0xFF0000}},
    "2": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0x0000FF}},
    "3": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
}


def moved(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {**MOTION, "4": {"class_type": class_type, "inputs": {"images": ["3", 0], **inputs, **PREFIX}}}


def made(source: dict[str, Any], class_type: str, name: str, **inputs: Any) -> dict[str, Any]:
    return {"1": source, "2": {"class_type": class_type, "inputs": {name: ["1", 0], **inputs}}}


OUTPUTS: dict[str, tuple[dict[str, Any], str, int]] = {
    # kind: workflow, content type, number of files
    "pictures": (made(PIXELS, "SaveImage", "images", **PREFIX), "image/png", 4),
    "picture through the websocket": (made(PIXELS, "SaveImageWebsocket", "images"), "image/png", 4),
    "preview": (made(PIXELS, "PreviewImage", "images"), "image/png", 4),
    "animated WEBP": (
        moved("SaveAnimatedWEBP", fps=6.0, lossless=True, quality=80, method="default"),
        "image/webp",
        1,
    ),
    "animated PNG": (moved("SaveAnimatedPNG", fps=6.0, compress_level=4), "image/png", 1),
    "video": (
        {
            "1": PIXELS,
            "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 4.0}},
            "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "format": "mp4", "codec": "h264", **PREFIX}},
        },
        "video/mp4",
        1,
    ),
    "WEBM": (made(PIXELS, "SaveWEBM", "images", codec="vp9", fps=4.0, crf=32.0, **PREFIX), "video/webm", 1),
    "audio": (made(SOUND, "SaveAudio", "audio", **PREFIX), "audio/flac", 1),
    "MP3": (made(SOUND, "SaveAudioMP3", "audio", quality="128k", **PREFIX), "audio/mpeg", 1),
    "Opus": (made(SOUND, "SaveAudioOpus", "audio", quality="128k", **PREFIX), "audio/opus", 1),
    "3D": (
        {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
            "2": {"class_type": "EmptyLatentHunyuan3Dv2", "inputs": {"resolution": 64, "batch_size": 1}},
            "3": {
                "class_type": "VAEDecodeHunyuan3D",
                "inputs": {"samples": ["2", 0], "vae": ["1", 2], "num_chunks": 8000, "octree_resolution": 16},
            },
            "4": {"class_type": "VoxelToMeshBasic", "inputs": {"voxel": ["3", 0], "threshold": 0.6}},
            "5": {"class_type": "SaveGLB", "inputs": {"mesh": ["4", 0], **PREFIX}},
        },
        "model/gltf-binary",
        1,
    ),
    "latent": (
        made(
            {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "SaveLatent",
            "samples",
            **PREFIX,
        ),
        "application/octet-stream",
        1,
    ),
}
DELIVERIES = ("inline", "bucket", "the request's bucket", "volume", "inline, from another machine")


@dataclass(frozen=True)
class Servers:
    """A ComfyUI here, the same one as if it ran on another machine, a server of files, and one of buckets."""

    here: str
    distant: str
    files: FileServer
    s3: S3Server


@pytest_asyncio.fixture
async def servers(comfyui_url: str, s3_server: S3Server) -> AsyncIterator[Servers]:
    async with FileServer().running() as files, DistantComfyUI(comfyui_url).running() as distant:
        yield Servers(comfyui_url, distant.url, files, s3_server)


async def needs(comfyui_url: str, workflow: Mapping[str, Any]) -> None:
    """Skip what this ComfyUI has no nodes or no model for."""
    is_real = bool({"COMFYUI_URL", "COMFYUI_COMMAND"} & set(os.environ))
    if is_real and any(node["class_type"] in {"VAEDecodeHunyuan3D", "SaveAudioOpus"} for node in workflow.values()):
        pytest.skip("a real ComfyUI needs a model, or a library, for it")
    for node in workflow.values():
        if not await get(comfyui_url, f"/object_info/{node['class_type']}"):
            pytest.skip(f"this ComfyUI has no {node['class_type']}")


def file_in(form: str, name: str, content: bytes, servers: Servers) -> dict[str, str]:
    if form == "base64":
        return {"name": name, "data": base64.encodebytes(content).decode()}  # with line breaks
    if form == "data URI":
        return {"name": name, "data": f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"}
    if form == "address":
        servers.files.files[name] = content
        return {"name": name, "url": servers.files.url(name)}
    servers.s3.client.put_object(Bucket=BUCKET, Key=f"inputs/{name}", Body=content)
    return {"name": name, "url": f"s3://{BUCKET}/inputs/{name}"}


@pytest.mark.parametrize("place", ["here", "on another machine"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", INPUTS)
async def test_every_input_in_every_form(servers: Servers, kind: str, form: str, place: str) -> None:
    name, content, workflow = INPUTS[kind]
    await needs(servers.here, workflow)
    url = servers.here if place == "here" else servers.distant
    handler = make_handler(url, download_allowed_hosts="127.0.0.1", **servers.s3.environment)
    answer = await handler(job(workflow=workflow, files=[file_in(form, name, content, servers)]))
    assert answer["status"] == "success", answer
    assert answer["warnings"] == []
    if kind == "mask":
        assert "0.98" in str(answer["texts"][0]["value"]) or "0.0196" in str(answer["texts"][0]["value"])
        return
    (artifact,) = [*answer["images"], *answer["files"]]
    saved = base64.b64decode(artifact["data"])
    if kind == "picture":
        with Image.open(io.BytesIO(saved)) as image:
            assert image.convert("RGB").getpixel((5, 5)) == (250, 20, 30)
    elif kind == "latent":
        assert saved[8 : 8 + struct.unpack("<Q", saved[:8])[0]].startswith(b"{")
    else:
        with av.open(io.BytesIO(saved)) as container:
            assert (container.duration or 0) / av.time_base == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("kind", OUTPUTS)
async def test_every_output_by_every_delivery(servers: Servers, tmp_path: Path, kind: str, delivery: str) -> None:
    workflow, content_type, count = OUTPUTS[kind]
    await needs(servers.here, workflow)
    settings = {"volume_output_directory": str(tmp_path / "outputs"), "download_allowed_hosts": "127.0.0.1"}
    request = job(workflow=workflow, outputs={"temporary": kind == "preview"})
    if delivery == "bucket":
        settings |= servers.s3.environment
        request["input"]["delivery"] = "bucket"
    elif delivery == "the request's bucket":
        request["s3Config"] = {
            "accessId": ACCESS_KEY_ID,
            "accessSecret": SECRET_ACCESS_KEY,
            "bucketName": BUCKET,
            "endpointUrl": servers.s3.url,
        }
    elif delivery == "volume":
        request["input"]["delivery"] = "path"
    handler = make_handler(servers.distant if "another machine" in delivery else servers.here, **settings)
    answer = await handler(request)
    assert answer["status"] == "success", answer
    artifacts = [*answer["images"], *answer["files"]]
    assert len(artifacts) == count
    for index, artifact in enumerate(artifacts):
        content = content_of(artifact, delivery, request["id"], servers.s3)
        assert (artifact["content_type"], artifact["size_bytes"]) == (content_type, len(content))
        assert artifact["sha256"] == hashlib.sha256(content).hexdigest()
        assert artifact["index"] == index
        assert artifact["subfolder"] == ("" if kind in {"preview", "picture through the websocket"} else "kind")
        check_kind(kind, artifact, content)


def content_of(artifact: Mapping[str, Any], delivery: str, job_id: str, s3_server: S3Server) -> bytes:
    """The artifact's content, by the way that its type says."""
    if delivery.startswith("inline"):
        assert artifact["type"] == "base64"
        return base64.b64decode(artifact["data"], validate=True)
    key = f"{job_id}/{artifact['node_id']}/{artifact['filename']}"
    if delivery == "volume":
        assert artifact["type"] == "path"
        assert artifact["data"].endswith(f"/outputs/{key}")
        return Path(artifact["data"]).read_bytes()
    assert artifact["type"] == "s3_url"
    assert artifact["url_expires_at"].endswith("Z")
    head = s3_server.client.head_object(Bucket=BUCKET, Key=key)
    assert head["ContentType"] == artifact["content_type"]
    fetched = requests.get(artifact["data"], timeout=10)
    assert fetched.status_code == 200
    return fetched.content


def check_kind(kind: str, artifact: Mapping[str, Any], content: bytes) -> None:
    if kind in {"pictures", "picture through the websocket", "preview"}:
        with Image.open(io.BytesIO(content)) as image:
            assert image.convert("RGB").getpixel((3, 3)) == (0x30, 0x60, 0xC0)
            assert image.size == (artifact["width"], artifact["height"]) == (64, 48)
    elif kind.startswith("animated"):
        with Image.open(io.BytesIO(content)) as image:
            assert getattr(image, "n_frames", 1) == artifact["frames"] == 2
            assert (artifact["width"], artifact["height"]) == (64, 48)
    elif kind in {"video", "WEBM"}:
        with av.open(io.BytesIO(content)) as container:
            assert len(list(container.decode(video=0))) == 4
        assert (artifact["width"], artifact["height"]) == (64, 48)
        assert artifact["duration_seconds"] == pytest.approx(1.0, abs=0.3)
    elif kind == "3D":
        assert content.startswith(b"glTF")
    elif kind in {"audio", "MP3", "Opus"}:
        with av.open(io.BytesIO(content)) as container:
            assert container.streams.audio[0].rate == (48000 if kind == "Opus" else 44100)
        assert artifact["duration_seconds"] == pytest.approx(1.0, abs=0.1)


async def test_texts_come_as_they_are(comfyui_url: str) -> None:
    workflow = {"1": {"class_type": "PreviewAny", "inputs": {"source": "a caption, äöü 🦊"}}}
    await needs(comfyui_url, workflow)
    answer = await make_handler(comfyui_url)(job(workflow=workflow))
    assert answer["status"] == "success", answer
    assert answer["texts"][0]["node_id"] == "1"
    assert "a caption" in str(answer["texts"][0]["value"])


def test_the_table_of_the_documentation_shows_what_is_run() -> None:
    text = (ROOT / "docs" / "reference" / "media.md").read_text(encoding="utf-8")
    tables = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in re.findall(r"(?m)(?:^\|.*\n)+", text)
    ]
    for table, kinds, ways in zip(tables, (INPUTS, OUTPUTS), (FORMS, DELIVERIES), strict=True):
        head, _, *rows = table
        assert tuple(head[1 : 1 + len(ways)]) == ways
        assert {row[0] for row in rows} == set(kinds)
        assert all(cell == "✓" for row in rows for cell in row[1 : 1 + len(ways)])
