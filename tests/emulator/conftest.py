"""Shared by the tests of the built-in ComfyUI engine: a server on a free port, and a player of recordings."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image
from yarl import URL

from comfypod.emulator.comfyui import ComfyUIEmulator
from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import Input, NodeClass, NodeContext, NodeResult

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts" / "0.8.0"
DEADLINE_SECONDS = 20.0

MODELS = """
[[model]]
name = "tiny_sd15.safetensors"
folder = "checkpoints"
"""

EngineFactory = Callable[..., Awaitable[ComfyUIEmulator]]


@pytest.fixture
async def start_engine(tmp_path: Path) -> AsyncIterator[EngineFactory]:
    """Start a server below ``tmp_path/engine``; it is stopped after the test."""
    (tmp_path / "models.toml").write_text(MODELS)
    started: list[ComfyUIEmulator] = []

    async def start(**options: Any) -> ComfyUIEmulator:
        engine = ComfyUIEmulator(tmp_path / "engine", models_file=tmp_path / "models.toml", **options)
        await engine.start()
        started.append(engine)
        return engine

    yield start
    for engine in started:
        await engine.stop()


class Gate:
    """Lets the recorded sleepers and samplers take only those steps that the recording has reached."""

    def __init__(self) -> None:
        self._allowed: dict[str, int] = {}
        self._changed = threading.Condition()

    def allow(self, key: str, steps: int) -> None:
        with self._changed:
            self._allowed[key] = max(steps, self._allowed.get(key, 0))
            self._changed.notify_all()

    def wait(self, key: str, step: int, context: NodeContext) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self._changed:
            while self._allowed.get(key, 0) < step:
                context.check_interrupted()
                assert time.monotonic() < deadline, f"step {step} of {key} was never allowed"
                self._changed.wait(0.005)


def lab_nodes(gate: Gate) -> dict[str, NodeClass]:
    """The nodes of the recordings that are not ComfyUI's, and a KSampler whose pace the player sets."""

    def sleep(context: NodeContext, image: Any, seconds: float, mode: str, nonce: int = 0) -> NodeResult:
        steps = max(1, int(seconds / 0.1))
        for step in range(1, steps + 1):
            gate.wait(gate_key(context.prompt), step, context)
            context.report_progress(step, steps)
        return NodeResult((image,))

    def sample(context: NodeContext, steps: int, latent_image: Any, **_: Any) -> NodeResult:
        for step in range(1, steps + 1):
            gate.wait(gate_key(context.prompt), step, context)
            preview = Image.new("RGB", (8, 8), (step, 0, 0)) if context.previews_wanted else None
            context.report_progress(step, steps, preview)
        return NodeResult((latent_image,))

    def noise(_: NodeContext, width: int, height: int, batch: int, nonce: int, **_kind: str) -> NodeResult:
        shape = (batch, height, width, 3)
        return NodeResult((np.random.default_rng(nonce).random(shape, dtype=np.float32),))

    def hum(_: NodeContext, seconds: float) -> NodeResult:
        time_seconds = np.arange(int(seconds * 44100), dtype=np.float32) / 44100
        wave = np.sin(time_seconds * 2 * np.pi * 220).astype(np.float32)
        return NodeResult(({"waveform": np.tile(wave, (1, 2, 1)), "sample_rate": 44100},))

    def validate(_: Any, mode: str) -> bool | str:
        if mode == "raise":
            raise RuntimeError("validator crashed")
        return "lab says no" if mode == "reject" else True

    return {
        "KSampler": replace(NODE_CLASSES["KSampler"], run=sample),
        "LabSleep": NodeClass(
            "LabSleep",
            sleep,
            required={
                "image": Input("IMAGE"),
                "seconds": Input("FLOAT", {"default": 1.0, "min": 0, "max": 3600}),
                "mode": Input(["checked", "blind", "check_only"]),
            },
            optional={"nonce": Input("INT", {"default": 0})},
            outputs=("IMAGE",),
        ),
        "LabNoise": NodeClass(
            "LabNoise",
            noise,
            required={
                **{name: Input("INT", {"default": 1}) for name in ("width", "height", "batch", "nonce")},
                "kind": Input(["noise", "photo"]),
            },
            outputs=("IMAGE",),
        ),
        "LabAudio": NodeClass("LabAudio", hum, required={"seconds": Input("FLOAT")}, outputs=("AUDIO",)),
        "LabValidate": NodeClass(
            "LabValidate",
            lambda _, mode: NodeResult((mode,)),
            required={"mode": Input("STRING", {"default": "ok"})},
            outputs=("STRING",),
            output_node=True,
            validate=validate,
        ),
    }


def gate_key(workflow: Mapping[str, Any]) -> str:
    """Return the same key before and after validation, which turns 5 into 5.0."""
    return json.dumps(json.loads(json.dumps(workflow), parse_int=float), sort_keys=True)


@dataclass
class Connection:
    """One websocket of a played recording, with all frames it got."""

    socket: aiohttp.ClientWebSocketResponse
    frames: list[dict[str, Any]] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None

    async def read(self) -> None:
        async for frame in self.socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                self.frames.append(json.loads(frame.data))
            else:
                self.frames.append(describe_binary(frame.data))


def describe_binary(frame: bytes) -> dict[str, Any]:
    """Return a frame in the words of the recordings, where its fields are decoded."""
    event = int.from_bytes(frame[:4], "big")
    if event == 1:
        return {"type": "binary 1", "image_type": int.from_bytes(frame[4:8], "big"), "image": _picture(frame[8:])}
    length = int.from_bytes(frame[4:8], "big")
    metadata = json.loads(frame[8 : 8 + length])
    return {"type": f"binary {event}", "metadata": metadata, "image": _picture(frame[8 + length :])}


def _picture(content: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(content)) as image:
        return {"format": str(image.format).lower(), "width": image.width, "height": image.height}


class Player:
    """Plays the requests of a recording against a server and collects every difference in what comes back."""

    def __init__(self, name: str, url: str, gate: Gate) -> None:
        lines = (TRANSCRIPTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        self.events = [json.loads(line) for line in lines]
        for event in self.events:
            if event["type"] == "ws.text" and "raw" in event:  # NaN, which no other JSON reader takes.
                event["json"] = json.loads(event["raw"])
        self.answers = {event["id"]: event for event in self.events if event["type"] == "http.response"}
        self.url = url
        self.gate = gate
        self.on_note: dict[str, Callable[[], None]] = {}
        self.before_request: dict[int, Callable[[], None]] = {}
        self.stop_at_note: str | None = None
        self.ignored_frames: frozenset[str] = frozenset()
        self.unordered = False
        self.differences: list[str] = []
        self.connections: dict[str, Connection] = {}
        self.expected: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.same: dict[str, str] = {"http://127.0.0.1:8210": url}
        self.workflows: dict[str, str] = {}
        self.submitted: list[str] = []
        self._learn_workflows()

    def _learn_workflows(self) -> None:
        """Find the workflow behind every recorded prompt id, and let run freely what was recorded without progress."""
        watched = {
            event["json"]["data"]["prompt_id"]
            for event in self.events
            if event["type"] == "ws.text" and event["json"]["type"] == "progress"
        }
        for event in self.events:
            answer = self.answers.get(event.get("id"), {}).get("body") or {}
            prompt_id = (answer.get("json") or {}).get("prompt_id") if isinstance(answer.get("json"), dict) else None
            if event["type"] == "http.request" and prompt_id is not None:
                key = gate_key(event["body"].get("json", {}).get("prompt", {}))
                self.workflows[prompt_id] = key
                if prompt_id not in watched:
                    self.gate.allow(key, 10**9)

    async def play(self) -> list[str]:
        """Play to the end; return the differences, empty if there are none."""
        async with aiohttp.ClientSession() as session:
            for event in self.events:
                if event["type"] == "note" and self.stop_at_note and self.stop_at_note in event["text"]:
                    break
                await self._step(session, event)
            await self._catch_up()
            async with session.get(f"{self.url}/queue"):
                pass  # A round trip, so that a surplus frame would have arrived.
            for name, connection in self.connections.items():
                await connection.socket.close()
                self._compare_frames(name, connection)
        return self.differences

    async def _step(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "note":
            await self._catch_up()
            for text, action in self.on_note.items():
                if text in event["text"]:
                    action()
        elif kind == "http.request":
            await self._catch_up()
            await self._request(session, event)
        elif kind.startswith("ws."):
            await self._websocket_step(session, event)

    async def _websocket_step(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        kind, name = event["type"], event["conn"]
        if kind == "ws.text":
            self._expect_text(name, event["json"])
        elif kind == "ws.binary":
            fields = {key: event[key] for key in ("image_type", "metadata", "image") if key in event}
            self.expected[name].append({"type": f"binary {event['event']}", **fields})
        elif kind == "ws.open":
            await self._catch_up()
            await self._wait_until_idle(session, name)
            socket = await session.ws_connect(self.url + event["path"])
            self.connections[name] = Connection(socket)
            self.connections[name].reader = asyncio.create_task(self.connections[name].read())
            await self._wait_for_greeting(name)
        elif kind == "ws.send":
            text = event["raw"] if "raw" in event else json.dumps(event["json"])
            await self.connections[name].socket.send_str(text)
        elif kind == "ws.refused":
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(self.url + "/ws?clientId=x", headers={"Origin": "http://evil.example"})
        elif kind in {"ws.client_close", "ws.client_abort"}:
            await self._catch_up()
            await self._leave(session, self.connections[name], abruptly=kind == "ws.client_abort")

    async def _wait_for_greeting(self, name: str) -> None:
        """Wait for the status and the running node, which must not end before it is told."""
        frames = [event["json"] for event in self.events if event["type"] == "ws.text" and event["conn"] == name]
        replayed = len(frames) > 1 and frames[1]["type"] == "executing" and "prompt_id" not in frames[1]["data"]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(self.connections[name].frames) < 1 + replayed:
            assert time.monotonic() < deadline, f"{name} was not greeted"
            await asyncio.sleep(0.002)

    async def _leave(self, session: aiohttp.ClientSession, connection: Connection, *, abruptly: bool) -> None:
        if abruptly:
            transport = connection.socket.get_extra_info("socket")
            assert transport is not None
            response = connection.socket._response
            assert response.connection is not None
            assert response.connection.transport is not None
            response.connection.transport.abort()
        else:
            await connection.socket.close()
        for _ in range(3):  # Round trips, after which the server has seen the end of the connection.
            async with session.get(f"{self.url}/queue"):
                pass

    def _expect_text(self, name: str, document: dict[str, Any]) -> None:
        self.expected[name].append(document)
        data = document["data"]
        if document["type"] == "progress_state":  # Comes before "progress" and is never missing.
            steps = max(node["value"] for node in data["nodes"].values())
            self.gate.allow(self.workflows[data["prompt_id"]], int(steps))

    async def _catch_up(self) -> None:
        """Wait until every connection has got as many frames as in the recording at this point."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        for name, connection in self.connections.items():
            while len(self._relevant(connection.frames)) < len(self._relevant(self.expected[name])):
                assert time.monotonic() < deadline, (
                    f"{name}: waited for more than {self._relevant(connection.frames)[-3:]}"
                )
                await asyncio.sleep(0.002)
            if self.expected[name]:
                recorded, ours = self.expected[name][0]["data"], connection.frames[0]["data"]
                self.same |= {recorded["sid"]: ours["sid"]} if recorded["sid"] != ours["sid"] else {}

    def _relevant(self, frames: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [frame for frame in frames if frame["type"] not in self.ignored_frames]

    async def _request(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        self.before_request.get(event["id"], lambda: None)()
        if event["id"] not in self.answers:
            return
        if event["path"] == "/prompt" and isinstance((event["body"] or {}).get("json"), dict):
            self.submitted.append(gate_key(event["body"]["json"].get("prompt", {})))
        headers = {key: self.same.get(value, value) for key, value in event["headers"].items()}
        path = event["path"]
        for recorded, ours in self.same.items():
            path = path.replace(recorded, ours)
        body = event["body"] or {}
        data = _request_body(
            {**event, "body": {**body, "json": self._translated(body["json"])} if "json" in body else body}
        )
        if isinstance(data, aiohttp.FormData):
            headers.pop("content-type", None)
        url = self.url + path
        await self._wait_for_history(session, event, url)
        async with session.request(event["method"], _raw(url), data=data, headers=headers) as response:
            content = await response.read()
            self._compare_answer(event, self.answers[event["id"]], response, content)

    async def _wait_until_idle(self, session: aiohttp.ClientSession, name: str) -> None:
        """Wait for prompts whose end nobody heard, if the recording waited for them before it opened a connection."""
        frames = (event["json"] for event in self.events if event["type"] == "ws.text" and event["conn"] == name)
        if next(frames)["data"]["status"]["exec_info"]["queue_remaining"] != 0:
            return
        for key in self.submitted:
            self.gate.allow(key, 10**9)
        await self._poll(session, f"{self.url}/prompt", lambda answer: answer["exec_info"]["queue_remaining"] == 0)

    async def _wait_for_history(self, session: aiohttp.ClientSession, event: dict[str, Any], url: str) -> None:
        """Wait for as many entries as in the recording, which asked until they were there."""
        answer = self.answers[event["id"]]["body"] or {}
        recorded = answer.get("json")
        if not event["path"].startswith("/history") or event["method"] != "GET" or not recorded:
            return
        for prompt_id in recorded:
            self.gate.allow(self.workflows[prompt_id], 10**9)
        await self._poll(session, url, lambda entries: len(entries) >= len(recorded))

    async def _poll(self, session: aiohttp.ClientSession, url: str, good: Callable[[Any], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            async with session.get(_raw(url)) as response:
                if good(await response.json()):
                    return
            assert time.monotonic() < deadline, f"waited in vain for {url}"
            await asyncio.sleep(0.005)

    def _compare_answer(
        self, request: dict[str, Any], recorded: dict[str, Any], response: aiohttp.ClientResponse, content: bytes
    ) -> None:
        label = f"{request['method']} {request['path']} #{request['id']} ({request.get('note')})"
        if recorded["status"] != response.status:
            self._differ(label, recorded["status"], f"{response.status} {content[:300]!r}")
            return
        for header in ("content-type", "content-disposition", "accept-ranges", "allow"):
            if header in recorded["headers"] and recorded["headers"][header] != response.headers.get(header):
                self._differ(f"{label} {header}", recorded["headers"][header], response.headers.get(header))
        for header in ("etag", "last-modified"):
            if header in recorded["headers"]:
                self.same[recorded["headers"][header]] = response.headers[header]
        self._compare_body(label, recorded["body"] or {}, content)

    def _compare_body(self, label: str, recorded: dict[str, Any], content: bytes) -> None:
        if "json" in recorded:
            ours = json.loads(content)
            if isinstance(recorded["json"], dict) and "prompt_id" in recorded["json"]:
                self._learn_id(recorded["json"]["prompt_id"], ours["prompt_id"])
            expected, found = self.normal(recorded["json"]), normal_form(ours)
            if expected != found:
                self._differ(label, expected, found)
        elif "image" in recorded:
            picture, expected = _picture(content), recorded["image"]
            if {key: picture[key] for key in expected} != expected:
                self._differ(label, expected, picture)
        elif "text" in recorded and recorded["text"] != content.decode():
            self._differ(label, recorded["text"], content[:300])
        elif recorded.get("size") == 0 and content:
            self._differ(label, "empty", content[:300])

    def _learn_id(self, recorded: str, ours: str) -> None:
        if len(recorded) == 36 and recorded != ours:
            self.same[recorded] = ours

    def normal(self, recorded: Any) -> Any:
        """Return a recorded document with our ids and without what differs from run to run."""
        return normal_form(self._translated(recorded))

    def _translated(self, recorded: Any) -> Any:
        text = json.dumps(recorded)
        for theirs, ours in self.same.items():
            text = text.replace(json.dumps(theirs)[1:-1], json.dumps(ours)[1:-1])
        return json.loads(text)

    def _compare_frames(self, name: str, connection: Connection) -> None:
        for part, split in (("status", True), ("frames", False)):
            expected = [self.normal(frame) for frame in self._relevant(self.expected[name])]
            found = [normal_form(frame) for frame in self._relevant(connection.frames)]
            expected = [frame for frame in expected if (frame["type"] == "status") is split]
            found = [frame for frame in found if (frame["type"] == "status") is split]
            if split:
                # How often the same number is repeated depends on who is faster, the next request or the worker.
                expected, found = without_repeats(expected), without_repeats(found)
            if self.unordered:
                expected.sort(key=partial(json.dumps, sort_keys=True))
                found.sort(key=partial(json.dumps, sort_keys=True))
            for index, (theirs, ours) in enumerate(zip(expected, found, strict=False)):
                if theirs != ours:
                    self._differ(f"{name} {part} {index}", theirs, ours)
                    break
            if len(expected) != len(found):
                self._differ(f"{name} {part}", f"{len(expected)} frames", f"{len(found)} frames")

    def _differ(self, label: str, expected: Any, found: Any) -> None:
        place = ""
        if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() != found.keys():
            expected, found = list(expected), list(found)
        while isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
            key = next(key for key in expected if expected[key] != found[key])
            expected, found, place = expected[key], found[key], f"{place}.{key}"
        label += f" at {place}" if place else ""
        self.differences.append(f"{label}\n   recorded: {expected}\n   here:     {found}")


def without_repeats(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [frame for index, frame in enumerate(frames) if index == 0 or frame != frames[index - 1]]


def _raw(url: str) -> Any:
    return URL(url, encoded=True)


def _request_body(event: dict[str, Any]) -> Any:
    body = event["body"] or {}
    if "multipart" in body:
        form = aiohttp.FormData(quote_fields="percent-encodes" in event.get("note", ""))
        for part in body["multipart"]:
            _add_part(form, part)
        return form
    if "json" in body:
        return json.dumps(body["json"]).encode()
    if "base64" in body:
        return base64.b64decode(body["base64"])
    if "omitted" in body:
        return io.BytesIO(b"0" * body["size"])
    return body.get("text", "").encode() if body else None


def _add_part(form: aiohttp.FormData, part: dict[str, Any]) -> None:
    if "value" in part:
        form.add_field(part["name"], part["value"])
        return
    content = base64.b64decode(part["base64"]) if "base64" in part else b"\0" * part["size"]
    content_type = part.get("content_type") or "application/octet-stream"
    form.add_field(part["name"], io.BytesIO(content), filename=part["filename"], content_type=content_type)


VOLATILE_NUMBERS = {"timestamp", "create_time", "execution_start_time", "execution_end_time"}
SETS = {"executed", "current_inputs", "current_outputs", "dependent_outputs"}
VOLATILE_PATHS = re.compile(r"'/[^']*/([^'/]+)'")
# What ComfyUI tells the users of its page about a node; the engine has no page.
PROSE = frozenset({"tooltip", "description"})
# How many samplers there are to choose from changes with every version of ComfyUI.
CHOICES_COUNT = re.compile(r"\(list of length \d+\)")
TEMPORARY_NAME = re.compile(r"ComfyUI_temp_[a-z]{5}_\d{5}_")


def normal_form(value: Any, key: str = "") -> Any:
    """Return a document without what differs from run to run: times, tracebacks, random names, orders of sets."""
    if key in VOLATILE_NUMBERS:
        return 0
    if key in SETS:
        return sorted(value)
    if key == "jobs":
        value = sorted(value, key=lambda job: str(job["id"]))  # Jobs of the same millisecond have no order.
    if isinstance(value, dict):
        return {
            name: bool(item) if name == "traceback" else normal_form(item, name)
            for name, item in value.items()
            if name not in PROSE
        }
    if isinstance(value, list):
        items = [normal_form(item) for item in value if not (isinstance(item, dict) and item.keys() <= {"tooltip"})]
        # The last element of a queue item is a set in ComfyUI.
        return [*items[:4], sorted(items[4])] if key == "prompt" and len(items) == 5 else items
    return _normal_text(value) if isinstance(value, str) else value


def _normal_text(text: str) -> str:
    text = CHOICES_COUNT.sub("(list)", TEMPORARY_NAME.sub("ComfyUI_temp_", text))
    return VOLATILE_PATHS.sub(r"'\1'", text)


@pytest.fixture
def recording(start_engine: EngineFactory) -> Callable[..., Awaitable[Player]]:
    """Prepare a recording to be played against a server of its own."""

    async def prepare(name: str, **options: Any) -> Player:
        gate = Gate()
        engine = await start_engine(node_classes={**NODE_CLASSES, **lab_nodes(gate)}, **options)
        return Player(name, engine.url, gate)

    return prepare
