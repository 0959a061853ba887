"""Inputs that mean harm, or that only a broken client sends: each ends in a clear error, and the worker goes on."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import pickle
import struct
import time
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from worker_jobs import job, make_handler, queue_of, save_color

from comfypod.comfyui.folders import LocalFolders
from comfypod.comfyui.outputs import OutputFile
from comfypod.errors import ProtocolViolation
from comfypod.worker.handler import Handler
from tests.file_server import FileServer

INPUT, WORKFLOW, FETCH, REJECTED = "invalid_job_input", "invalid_workflow", "input_fetch_failed", "prompt_rejected"
LIMIT_BYTES = 1_000_000
LIMIT_PIXELS = 10_000_000


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def png(width: int = 8, height: int = 8) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, *more: bytes) -> bytes:
    """A PNG whose header tells of more pixels than its data has."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def gif_of_frames(count: int, size: int) -> bytes:
    frames = [Image.new("P", (size, size), index % 2) for index in range(2)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=40)
    whole = content.getvalue()
    last = whole.rindex(b"\x21\xf9", 0, len(whole))
    return whole[:-1] + whole[last:-1] * (count - 2) + b";"


def tensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def zipped(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr(name, content)
    return archive.getvalue()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def loads(name: str, content: bytes | str) -> dict[str, Any]:
    """A job that loads a file of this name and content."""
    data = content if isinstance(content, str) else b64(content)
    return {**loads_image(name), "files": [{"name": name, "data": data}]}


def loads_image(name: str) -> dict[str, Any]:
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    return {"workflow": workflow}


def fetches(url: str, name: str = "x.png") -> dict[str, Any]:
    return {**loads_image(name), "files": [{"name": name, "url": url}]}


def named(name: str) -> dict[str, Any]:
    return {"prompt": "x", "files": [{"name": name, "data": b64(png())}]}


def changed(**inputs: Any) -> dict[str, Any]:
    """The plain workflow with inputs of its first node replaced."""
    workflow = save_color(1)
    workflow["1"]["inputs"] |= inputs
    return {"workflow": workflow}


def saved_as(prefix: str) -> dict[str, Any]:
    workflow = save_color(1)
    workflow["3"]["inputs"]["filename_prefix"] = prefix
    return {"workflow": workflow}


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {"a": value}
    return value


def chain(length: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {"0": save_color(1)["1"]}
    for index in range(1, length):
        nodes[str(index)] = {"class_type": "ImageInvert", "inputs": {"image": [str(index - 1), 0]}}
    last = {"images": [str(length - 1), 0], "filename_prefix": "x"}
    return {"workflow": {**nodes, "save": {"class_type": "SaveImage", "inputs": last}}}


def many(count: int) -> dict[str, Any]:
    return {"workflow": {str(index): {"class_type": "EmptyImage", "inputs": {}} for index in range(count)}}


NAMES = {
    "a name that climbs": "../x.png",
    "a name that climbs on the way": "a/../../x.png",
    "a name that climbs as in Windows": "..\\x.png",
    "an absolute name": "/etc/passwd",
    "a name with NUL": "a\x00b.png",
    "a name of 10,000 characters": "a" * 10_000 + ".png",
    "a name of 600 bytes in 200 characters": "狐" * 196 + ".png",
    "a name with a line break": "a\nb.png",
    "a name that reads backwards": "a\u202egnp.exe",
    "a name that is a folder": "a/",
    "a name with an empty part": "a//b.png",
    "a name that is a point": ".",
    "a name of spaces": "   ",
    "an empty name": "",
    "a name as ComfyUI names the output folder": "x.png [output]",
    "a name as ComfyUI names the temporary folder": "x.png[temp]",
}

NOT_PUBLIC = "this host's address is not public"

PRIVATE = {
    "loopback": ("http://127.0.0.1/x.png", NOT_PUBLIC),
    "loopback by name": ("http://localhost/x.png", NOT_PUBLIC),
    "loopback by name with a point": ("http://localhost./x.png", NOT_PUBLIC),
    "loopback in decimal": ("http://2130706433/x.png", NOT_PUBLIC),
    "loopback in octal": ("http://0177.0.0.1/x.png", NOT_PUBLIC),
    "loopback in hexadecimal": ("http://0x7f.0x0.0x0.0x1/x.png", NOT_PUBLIC),
    "loopback in one hexadecimal number": ("http://0x7f000001/x.png", NOT_PUBLIC),
    "loopback shortened": ("http://127.1/x.png", NOT_PUBLIC),
    "loopback in full-width digits": ("http://１２７.０.０.１/x.png", NOT_PUBLIC),  # noqa: RUF001 (that is the point)
    "loopback in IPv6": ("http://[::1]/x.png", NOT_PUBLIC),
    "loopback mapped into IPv6": ("http://[::ffff:127.0.0.1]/x.png", NOT_PUBLIC),
    "loopback mapped into IPv6 in hexadecimal": ("http://[::ffff:7f00:1]/x.png", NOT_PUBLIC),
    "loopback through NAT64": ("http://[64:ff9b::7f00:1]/x.png", NOT_PUBLIC),
    "loopback through 6to4": ("http://[2002:7f00:1::]/x.png", NOT_PUBLIC),
    "loopback with a user": ("http://user:password@127.0.0.1/x.png", "a user name or a password"),
    "any address": ("http://0.0.0.0/x.png", NOT_PUBLIC),
    "any address in IPv6": ("http://[::]/x.png", NOT_PUBLIC),
    "the metadata service": ("http://169.254.169.254/latest/meta-data/iam/security-credentials/", NOT_PUBLIC),
    "the metadata service in decimal": ("http://2852039166/latest/meta-data/", NOT_PUBLIC),
    "the metadata service in IPv6": ("http://[fd00:ec2::254]/latest/meta-data/", NOT_PUBLIC),
    "a private network of class A": ("http://10.0.0.1/x.png", NOT_PUBLIC),
    "a private network of class B": ("http://172.16.0.1/x.png", NOT_PUBLIC),
    "a private network of class C": ("http://192.168.1.1/x.png", NOT_PUBLIC),
    "a carrier's network": ("http://100.64.0.1/x.png", NOT_PUBLIC),
    "multicast": ("http://224.0.0.1/x.png", NOT_PUBLIC),
    "a unique local address": ("http://[fc00::1]/x.png", NOT_PUBLIC),
    "a link-local address with a zone": ("http://[fe80::1%25eth0]/x.png", "not a valid IP address"),
}

ADDRESSES = {
    "a file of the worker": ("file:///etc/passwd", INPUT),
    "gopher": ("gopher://127.0.0.1:6379/_FLUSHALL", INPUT),
    "ftp": ("ftp://example.com/x.png", INPUT),
    "javascript": ("javascript:alert(1)", INPUT),
    "no host": ("http:///x.png", FETCH),
    "a host with a space": ("http://exa mple.com/x.png", FETCH),
    "a line break, for another header": ("http://example.com/x\r\nHost: evil", FETCH),
    "a port that is none": ("http://example.com:99999/x.png", FETCH),
    "an address of 10,000 characters": ("https://example.com/" + "a" * 10_000, INPUT),
    "a bucket, where there is none": ("s3://other/key.png", FETCH),
    "a name that does not resolve": ("http://no-such-host.invalid/x.png", FETCH),
}

CONTENTS = {
    "base64 cut off": ("x.png", b64(png())[:-3], INPUT),
    "base64 with other characters": ("x.png", "%%%%", INPUT),
    "base64 that goes on after its end": ("x.png", "AAA=" * 4, INPUT),
    "a data URI that is not base64": ("x.png", "data:image/png,hello", INPUT),
    "more than the worker accepts": ("x.png", bytes(LIMIT_BYTES + 1), FETCH),
    "nothing": ("x.png", b"", FETCH),
    "a page of HTML named .png": ("x.png", b"<html><body>Sign in</body></html>", FETCH),
    "an archive named .png": ("x.png", zipped("a.txt", b"hello"), FETCH),
    "a program named .png": ("x.png", b"\x7fELF" + bytes(200), FETCH),
    "a picture cut off": ("x.png", png(200, 200)[:-60], FETCH),
    "a picture of 40,000 x 40,000": ("x.png", png_of(40_000, 40_000), FETCH),
    "a picture of 2 billion x 2 billion": ("x.png", png_of(2**31 - 1, 2**31 - 1), FETCH),
    "a text in a picture that grows": (
        "x.png",
        png_of(8, 8, chunk(b"zTXt", b"prompt\x00\x00" + zlib.compress(bytes(100_000_000)))),
        FETCH,
    ),
    "an animation of too many frames": ("x.gif", gif_of_frames(3000, 100), FETCH),
    "a pickle named .png": ("x.png", pickle.dumps(Evil()), FETCH),
    "a pickle named .latent": ("x.latent", pickle.dumps(Evil()), FETCH),
    "a pickle in an archive": ("x.safetensors", zipped("archive/data.pkl", pickle.dumps(Evil())), FETCH),
    "a pickle under its own name": ("x.pt", pickle.dumps({"a": 1}), FETCH),
    "a pickle of unknown kind": ("x.data", pickle.dumps(Evil(), protocol=4), FETCH),
    "tensors with a header that lies": ("x.safetensors", struct.pack("<Q", 2**40) + b"{}", FETCH),
    "tensors beyond the end": (
        "x.latent",
        tensors(b'{"a":{"dtype":"F32","shape":[99],"data_offsets":[0,396]}}'),
        FETCH,
    ),
    "a playlist named .mp4": ("x.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n", FETCH),
    "a text named .mp3": ("x.mp3", b"not a sound" * 50, FETCH),
    "a drawing that grows": (
        "x.svg",
        b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg xmlns="http://www.w3.org/2000/svg">&b;</svg>',
        FETCH,
    ),
}

JOBS: dict[str, tuple[Any, str]] = {
    "100,000 nodes": (many(100_000), WORKFLOW),
    "a chain of 9,000 nodes": (chain(9_000), REJECTED),
    "1,000 deep": ({"workflow": {"1": {"class_type": "EmptyImage", "inputs": nested(1000)}}}, INPUT),
    "100,000 deep": ({"workflow": {"1": {"class_type": "EmptyImage", "inputs": nested(100_000)}}}, INPUT),
    "100,000 deep, as a text": ("[" * 100_000, INPUT),
    "two million values": ({"prompt": "x", "parameters": {"a": [0] * 2_000_000}}, INPUT),
    "NaN": (changed(width=float("nan")), INPUT),
    "infinity": (changed(width=float("-inf")), INPUT),
    "a number of 1,000 digits": (changed(width=10**1000), INPUT),
    "a node that is null": ({"workflow": {"1": None}}, WORKFLOW),
    "a node that is a list": ({"workflow": {"1": [1]}}, WORKFLOW),
    "a class that is a list": ({"workflow": {"1": {"class_type": ["A"], "inputs": {}}}}, WORKFLOW),
    "a class of 100,000 characters": ({"workflow": {"1": {"class_type": "A" * 100_000, "inputs": {}}}}, WORKFLOW),
    "inputs that are a list": ({"workflow": {"1": {"class_type": "EmptyImage", "inputs": []}}}, WORKFLOW),
    "a node that needs itself": (
        {"workflow": {"1": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}},
        REJECTED,
    ),
    "a link to nothing": (
        {"workflow": {"1": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}}}},
        REJECTED,
    ),
    "a link to a slot that is not there": (
        {"workflow": {**save_color(1), "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 99]}}}},
        REJECTED,
    ),
    "a picture of 10^18 pixels": (changed(width=10**9, height=10**9), REJECTED),
    "a page's workflow of nonsense": ({"workflow": {"nodes": [None, 5, {"id": {}}], "links": "x"}}, WORKFLOW),
    "a file of the worker as a picture": (loads_image("/etc/passwd"), WORKFLOW),
    "a file above the input folder": (loads_image("../../../etc/passwd"), WORKFLOW),
    "a parameter of 9,000,000 characters": ({"prompt": "x", "parameters": {"steps": "A" * 9_000_000}}, INPUT),
    "a parameter with a name of 9,000,000 characters": ({"prompt": "x", "parameters": {"A" * 9_000_000: 1}}, INPUT),
    "a node with an id of 9,000,000 characters": ({"workflow": {"A" * 9_000_000: {}}}, WORKFLOW),
    "100,000 files that are none": ({"prompt": "x", "files": [{}] * 100_000}, INPUT),
    "20,000 files": ({"prompt": "x", "files": [{"name": str(i), "data": ""} for i in range(20_000)]}, INPUT),
    "5,000 nodes of unknown classes": (
        {"workflow": {str(i): {"class_type": f"Unknown{i}", "inputs": {}} for i in range(5000)}},
        WORKFLOW,
    ),
    "a file that another job left": (loads_image("ComfyUI_00001_.png [output]"), WORKFLOW),
    "a prefix that climbs": (saved_as("../../x"), WORKFLOW),
    "an absolute prefix": (saved_as("/etc/x"), WORKFLOW),
    "a prefix that climbs as in Windows": (saved_as("..\\..\\x"), WORKFLOW),
    "a prefix with NUL": (saved_as("a\x00b"), "prompt_failed"),
    "a prefix of 10,000 characters": (saved_as("a" * 10_000), "prompt_failed"),
    "a template outside its folder": ({"workflow": "../test_input"}, INPUT),
    "a template by its absolute path": ({"workflow": "/etc/passwd"}, INPUT),
    "a parameter that is Python's": ({"workflow": save_color(1), "parameters": {"1.__class__": 1}}, WORKFLOW),
    "outputs of a node that is not there": ({"workflow": save_color(1), "outputs": {"nodes": ["../9"]}}, WORKFLOW),
    "files that are one file twice": ({"prompt": "x", "files": [{"name": "a", "data": ""}] * 2}, INPUT),
    "a file with two sources": ({"prompt": "x", "files": [{"name": "a", "data": "", "url": "https://a"}]}, INPUT),
    "the volume, where there is none": ({"workflow": save_color(1), "delivery": "path"}, INPUT),
    "a bucket to write to, where there is none": ({"workflow": save_color(1), "delivery": "bucket"}, INPUT),
    **{name: (named(value), INPUT) for name, value in NAMES.items()},
    **{name: (fetches(url), FETCH) for name, (url, _) in PRIVATE.items()},
    **{name: (fetches(url), code) for name, (url, code) in ADDRESSES.items()},
    **{name: (loads(file, content), code) for name, (file, content, code) in CONTENTS.items()},
}


@pytest.fixture
def handler(comfyui_url: str, tmp_path: Path) -> Handler:
    return make_handler(
        comfyui_url,
        maximum_input_bytes=str(LIMIT_BYTES),
        maximum_image_pixels=str(LIMIT_PIXELS),
        volume_output_directory=str(tmp_path / "no" / "volume"),
    )


async def check(handler: Handler, given: Any, code: str, says: str = "") -> dict[str, Any]:
    """Run it: a clear error of this code, soon; nothing runs afterwards, and the next job succeeds."""
    begun = time.monotonic()
    answer = await handler({"id": "hostile-u1", "input": given})
    assert time.monotonic() - begun < 10
    assert (answer["status"], answer["code"]) == ("error", code), answer
    assert says in answer["error"]
    assert 10 < len(answer["error"]) < 5000
    assert len(json.dumps(answer)) < 2_000_000
    assert "Traceback" not in answer["error"]
    json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
    good = await handler(job(workflow=save_color(0x00FF00)))
    assert good["status"] == "success"
    return answer


@pytest.mark.parametrize("name", JOBS)
async def test_it_is_refused_and_the_worker_goes_on(handler: Handler, comfyui_url: str, name: str) -> None:
    given, code = JOBS[name]
    answer = await check(handler, given, code, PRIVATE[name][1] if name in PRIVATE else "")
    assert answer["retryable"] is False or name not in PRIVATE
    assert not any((await queue_of(comfyui_url)).values())


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FileServer]:
    async with FileServer().running() as running:
        yield running


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("odd/endless", "1,000,000"),
        ("odd/longer", ""),
        ("odd/bomb", ""),
        ("odd/loop", "redirect"),
        ("odd/redirect", "127.0.0.1:9"),
        ("status/404", "404"),
        ("status/403", "403"),
    ],
)
async def test_a_server_that_means_harm_is_left(comfyui_url: str, server: FileServer, path: str, says: str) -> None:
    handler = make_handler(
        comfyui_url, maximum_input_bytes=str(LIMIT_BYTES), download_allowed_hosts=f"127.0.0.1:{server.port}"
    )
    answer = await check(handler, fetches(server.url(path)), FETCH)
    assert says in answer["error"]


async def test_a_server_that_never_ends_is_left_at_the_deadline(comfyui_url: str, server: FileServer) -> None:
    handler = make_handler(comfyui_url, download_allowed_hosts=f"127.0.0.1:{server.port}")
    given = {**fetches(server.url("odd/slow")), "timeout_seconds": 0.7}
    answer = await asyncio.wait_for(handler({"id": "slow-u1", "input": given}), 5)
    assert (answer["status"], answer["code"]) == ("timeout", "deadline_exceeded")


async def test_a_server_at_a_private_address_is_not_asked(handler: Handler, server: FileServer) -> None:
    server.files["x.png"] = png()
    await check(handler, fetches(server.url("x.png")), FETCH, NOT_PUBLIC)
    assert server.requests == []


async def test_a_denied_host_is_not_asked(comfyui_url: str, server: FileServer) -> None:
    server.files["x.png"] = png()
    handler = make_handler(
        comfyui_url, download_allowed_hosts="127.0.0.1", download_denied_hosts=f"127.0.0.1:{server.port}"
    )
    await check(handler, fetches(server.url("x.png")), FETCH)
    assert server.requests == []


S3 = {"accessId": "id", "accessSecret": "a-secret-of-the-caller", "bucketName": "mine"}


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ("text", INPUT),
        ([], "success"),
        ({}, "success"),
        ({"accessId": "id"}, INPUT),
        ({**S3, "endpointUrl": "file:///etc"}, INPUT),
        ({**S3, "endpointUrl": "http://169.254.169.254"}, "upload_failed"),
        ({**S3, "endpointUrl": "http://127.0.0.1:9000"}, "upload_failed"),
        ({**S3, "endpointUrl": "http://[::1]:9000"}, "upload_failed"),
        ({**S3, "endpointUrl": "http://127.0.0.1:9000", "objectPath": "../../x"}, INPUT),
    ],
)
async def test_a_bucket_of_the_callers_own_reaches_no_private_address(handler: Handler, config: Any, code: str) -> None:
    answer = await handler({**job(workflow=save_color(2)), "s3Config": config})
    assert answer.get("code", answer["status"]) == code, answer
    if code == "upload_failed":
        assert "not public" in answer["error"]
        assert answer["retryable"] is False
    assert "a-secret-of-the-caller" not in json.dumps(answer)


def test_no_name_of_an_output_file_leads_out_of_its_folder(tmp_path: Path) -> None:
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    folders = LocalFolders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", {})
    for file in (
        OutputFile("1", 0, "secret.png", "..", "output"),
        OutputFile("1", 0, "../secret.png", "", "output"),
        OutputFile("1", 0, "secret.png", str(tmp_path), "output"),
        OutputFile("1", 0, "x.png", "", "elsewhere"),
    ):
        with pytest.raises(ProtocolViolation):
            folders.path_of(file)
    (tmp_path / "volume").mkdir()
    (tmp_path / "output" / "video").symlink_to(tmp_path / "volume")  # an operator's
    file = OutputFile("1", 0, "a.mp4", "video", "output")
    assert folders.path_of(file) == tmp_path / "output" / "video" / "a.mp4"
