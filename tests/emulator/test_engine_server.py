"""The engine as a server: what the recordings do not show, hostile requests, start and stop."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from comfypod.emulator.comfyui import ComfyUIEmulator
from comfypod.emulator.nodes.base import Input, NodeClass, NodeContext, NodeResult

EngineFactory = Callable[..., Awaitable[ComfyUIEmulator]]
DEADLINE_SECONDS = 10.0


def show(context: NodeContext, text: str) -> NodeResult:
    return NodeResult(ui={"text": [text]})


def wait_for_interrupt(context: NodeContext) -> NodeResult:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        context.check_interrupted()
        time.sleep(0.002)
    raise TimeoutError("never interrupted")


CLASSES = {
    "Show": NodeClass("Show", show, required={"text": Input("STRING", {"multiline": True})}, output_node=True),
    "Wait": NodeClass("Wait", wait_for_interrupt, output_node=True),
    "Odd": NodeClass("Odd", lambda _: NodeResult(ui={"odd": [object()]}), output_node=True),
    "Load": NodeClass(
        "Load",
        lambda _, name: NodeResult((name,)),
        required={"name": Input(lambda catalog: catalog.models("checkpoints"))},
        outputs=("MODEL",),
        display_name="Load it",
        category="loaders",
    ),
}


def workflow(text: str = "hello") -> dict[str, Any]:
    return {"1": {"class_type": "Show", "inputs": {"text": text}}}


WAITING = {"1": {"class_type": "Wait", "inputs": {}}}


class Client:
    """A plain HTTP client of one server."""

    def __init__(self, engine: ComfyUIEmulator, session: aiohttp.ClientSession) -> None:
        self.engine = engine
        self.session = session

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        url = URL(self.engine.url + path, encoded=True)
        async with self.session.request(method, url, **options) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(content) if is_json else content

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.call("GET", path)

    async def submit(self, prompt: dict[str, Any], **fields: Any) -> str:
        status, answer = await self.call("POST", "/prompt", json={"prompt": prompt, **fields})
        assert status == 200, answer
        return str(answer["prompt_id"])

    async def until(self, path: str, good: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            _, answer = await self.get(path)
            if good(answer):
                return answer
            assert time.monotonic() < deadline, f"waited in vain for {path}, got {answer}"
            await asyncio.sleep(0.005)

    async def result(self, prompt_id: str) -> dict[str, Any]:
        history = await self.until(f"/history/{prompt_id}", bool)
        return dict(history[prompt_id])


@pytest.fixture
async def client(start_engine: EngineFactory) -> AsyncIterator[Client]:
    engine = await start_engine(node_classes=CLASSES, maximum_body_bytes=200_000)
    async with aiohttp.ClientSession() as session:
        yield Client(engine, session)


async def test_it_says_what_it_is(client: Client) -> None:
    _, stats = await client.get("/system_stats")
    assert stats["system"]["comfyui_version"] == "0.8.0"
    assert stats["system"]["comfypod_emulator"] is True
    assert stats["system"]["ram_total"] >= stats["system"]["ram_free"] > 0
    assert stats["devices"][0]["type"] == "cpu"
    status, greeting = await client.get("/")
    assert status == 200
    assert b"built-in engine" in greeting


async def test_a_client_chosen_id_is_kept_with_all_its_answers_under_both_prefixes(client: Client) -> None:
    assert await client.submit(workflow(), prompt_id="my-own-id") == "my-own-id"
    entry = await client.result("my-own-id")
    assert entry["outputs"] == {"1": {"text": ["hello"]}}
    assert (await client.get("/api/history/my-own-id"))[1] == {"my-own-id": entry}
    assert (await client.get("/api/jobs/my-own-id"))[1]["status"] == "completed"


async def test_keys_of_accounts_are_not_shown(client: Client) -> None:
    secret = {"api_key_comfy_org": "sk-1", "auth_token_comfy_org": "sk-2", "other": 1}
    prompt_id = await client.submit(workflow(), extra_data=secret)
    entry = await client.result(prompt_id)
    assert "sk-" not in json.dumps(entry)
    assert entry["prompt"][3]["other"] == 1


async def test_classes_are_described_with_the_models_that_are_there(client: Client, tmp_path: Path) -> None:
    own = tmp_path / "engine" / "models" / "checkpoints" / "mine" / "own.safetensors"
    own.parent.mkdir(parents=True)
    own.touch()
    own.with_name("readme.txt").touch()
    _, described = await client.get("/object_info")
    assert list(described) == list(CLASSES)
    assert described["Load"] == {
        "input": {"required": {"name": [["mine/own.safetensors", "tiny_sd15.safetensors"]]}},
        "input_order": {"required": ["name"]},
        "output": ["MODEL"],
        "output_is_list": [False],
        "output_name": ["MODEL"],
        "name": "Load",
        "display_name": "Load it",
        "description": "",
        "python_module": "nodes",
        "category": "loaders",
        "output_node": False,
    }
    assert (await client.get("/models/checkpoints"))[1] == ["mine/own.safetensors", "tiny_sd15.safetensors"]


async def test_embeddings_are_listed_without_suffix(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "engine" / "models" / "embeddings"
    (folder / "easy.v2.pt").touch()
    assert (await client.get("/embeddings"))[1] == ["easy.v2"]


@pytest.mark.parametrize("path", ["/models/..", "/models/%2e%2e", "/models/..%2f..", "/models/checkpoints%2f.."])
async def test_model_folders_cannot_be_left(client: Client, path: str) -> None:
    assert (await client.get(path))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nosuch", 404), ("POST", "/nosuch", 405), ("DELETE", "/queue", 405), ("PUT", "/prompt", 405)],
)
async def test_unknown_routes(client: Client, method: str, path: str, status: int) -> None:
    assert (await client.call(method, path))[0] == status


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"prompt":' * 30_000, b"\xff\xfe{}", b"NaN", b'"text"', b"1" * 100_000],
    ids=["deep list", "deep object", "utf-16", "NaN", "text", "long number"],
)
async def test_no_body_brings_the_server_down(client: Client, body: bytes) -> None:
    for path in ("/prompt", "/queue", "/history", "/free"):
        assert (await client.call("POST", path, data=io.BytesIO(body)))[0] in {400, 413, 500}
    assert (await client.get("/queue"))[0] == 200


async def test_a_body_above_the_limit_is_refused(client: Client) -> None:
    status, text = await client.call("POST", "/prompt", data=io.BytesIO(b" " * 200_001))
    assert (status, text) == (413, b"Maximum request body size 200000 exceeded.")


async def test_a_client_id_that_is_a_number_or_empty_reaches_nobody_and_harms_nobody(client: Client) -> None:
    async with client.session.ws_connect(client.engine.url + "/ws?clientId=x") as watcher:
        for strange in (5, ""):
            entry = await client.result(await client.submit(workflow(str(strange)), client_id=strange))
            assert entry["status"]["completed"] is True
        kinds = [json.loads((await watcher.receive(DEADLINE_SECONDS)).data)["type"] for _ in range(1 + 2 * 3)]
        assert set(kinds) == {"status"}


@pytest.mark.parametrize(
    ("strange", "cause"), [(["x"], "unhashable type: 'list'"), ({"x": 1}, "unhashable type: 'dict'")]
)
async def test_a_client_id_that_is_a_list_or_an_object_ends_the_server(
    client: Client, strange: Any, cause: str
) -> None:
    async with client.session.ws_connect(client.engine.url + "/ws?clientId=watcher") as watcher:
        await client.submit(workflow(), client_id=strange)
        await assert_dead(client, watcher, cause)


async def test_an_output_that_is_not_json_ends_the_server_when_it_is_sent(client: Client) -> None:
    async with client.session.ws_connect(client.engine.url + "/ws?clientId=me") as watcher:
        await client.submit({"1": {"class_type": "Odd", "inputs": {}}}, client_id="me")
        kinds = await assert_dead(client, watcher, "Object of type object is not JSON serializable")
    assert kinds[-1] == "executing"


async def test_an_output_that_is_not_json_is_sent_to_nobody_and_makes_the_history_unreadable(client: Client) -> None:
    prompt_id = await client.submit({"1": {"class_type": "Odd", "inputs": {}}}, client_id="somebody")
    await client.until("/prompt", lambda answer: answer["exec_info"]["queue_remaining"] == 0)
    assert (await client.get(f"/history/{prompt_id}"))[0] == 500
    assert not client.engine.died.done()


async def assert_dead(client: Client, watcher: aiohttp.ClientWebSocketResponse, cause: str) -> list[str]:
    """Check that the server is as gone as a process that has exited; return what the watcher was told before."""
    error = await asyncio.wait_for(asyncio.shield(client.engine.died), DEADLINE_SECONDS)
    assert str(error) == cause
    kinds = [json.loads(frame.data)["type"] async for frame in watcher]
    assert watcher.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get("/queue")
    return kinds


async def test_an_interrupt_names_the_running_prompt_and_the_next_one_runs(client: Client) -> None:
    first = await client.submit(WAITING, client_id="me")
    second = await client.submit(workflow(), client_id="me")
    await client.until("/queue", lambda queue: [item[1] for item in queue["queue_running"]] == [first])
    await client.call("POST", "/interrupt", json={"prompt_id": second})
    await client.call("POST", "/interrupt", json={"prompt_id": first})
    assert (await client.result(first))["status"]["messages"][-1][0] == "execution_interrupted"
    assert (await client.result(second))["status"]["completed"] is True


async def test_freed_memory_makes_a_prompt_run_again(client: Client) -> None:
    for expected, request in ((["1"], {"unload_models": True}), ([], {"free_memory": True})):
        await client.result(await client.submit(workflow(), client_id="me"))
        assert (await client.call("POST", "/free", json=request))[0] == 200
        entry = await client.result(await client.submit(workflow(), client_id="me"))
        assert entry["status"]["messages"][1][1]["nodes"] == expected


async def test_a_second_connection_of_a_client_is_silenced_by_the_end_of_the_first(client: Client) -> None:
    old = await client.session.ws_connect(client.engine.url + "/ws?clientId=same")
    new = await client.session.ws_connect(client.engine.url + "/ws?clientId=same")
    assert json.loads((await new.receive(DEADLINE_SECONDS)).data)["data"]["sid"] == "same"
    await old.close()
    await client.result(await client.submit(workflow(), client_id="same"))
    with pytest.raises(TimeoutError):
        await new.receive(timeout=0.1)
    await new.close()


@pytest.mark.parametrize(
    "query",
    [
        "filename=%00.png",
        "filename=" + "x" * 5000,
        "filename=x.png&subfolder=%00",
        "filename=x.png&subfolder=" + "y/" * 3000,
        "filename=..%2f..%2fetc%2fpasswd",
        "filename=passwd&subfolder=%2fetc",
        "filename=passwd&subfolder=..%2f..%2f..%2fetc",
        "filename=%20[output]",
        "filename=[temp]",
        "filename=x.png&type=models",
        "filename=x.png&type=__class__",
    ],
)
async def test_no_query_shows_what_it_should_not(client: Client, query: str) -> None:
    assert (await client.get(f"/view?{query}"))[0] in {400, 403, 404}


async def test_a_name_cannot_forge_a_header(client: Client, tmp_path: Path) -> None:
    name = 'a"\n\\b.txt'
    (tmp_path / "engine" / "output" / name).write_text("x")
    url = URL(client.engine.url + "/view").with_query(filename=name)
    async with client.session.get(url) as response:
        assert response.status == 200
        assert response.headers["Content-Disposition"] == 'filename="a___b.txt"'


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("wish", ["preview=webp", "channel=rgb", "channel=a"])
async def test_a_decompression_bomb_is_not_opened(client: Client, tmp_path: Path, wish: str) -> None:
    (tmp_path / "engine" / "output" / "bomb.png").write_bytes(bomb())
    assert (await client.get(f"/view?filename=bomb.png&{wish}"))[0] == 500


def form(filename: str, content: bytes = b"x", **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False)
    data.add_field("image", io.BytesIO(content), filename=filename)
    for name, value in fields.items():
        data.add_field(name, value)
    return data


@pytest.mark.parametrize(
    ("filename", "fields"),
    [
        ("../up.txt", {}),
        ("a/../../up.txt", {}),
        ("up.txt", {"subfolder": "../.."}),
        ("up.txt", {"subfolder": "/elsewhere"}),
        (".", {}),
        ("up.txt", {"type": "models"}),
        ("x" * 300, {}),
    ],
)
async def test_no_upload_leaves_its_folder(
    client: Client, tmp_path: Path, filename: str, fields: dict[str, str]
) -> None:
    before = everything_below(tmp_path)
    status, _ = await client.call("POST", "/upload/image", data=form(filename, **fields))
    assert status in {400, 500}
    assert everything_below(tmp_path) == before


def everything_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


async def test_an_absolute_name_stays_below_the_folder(client: Client, tmp_path: Path) -> None:
    status, _ = await client.call("POST", "/upload/image", data=form(str(tmp_path / "outside.txt")))
    assert status == 200, "aiohttp drops the leading slash, so the rest is a path below the folder"
    (stored,) = [path for path in everything_below(tmp_path) if path.name == "outside.txt"]
    assert stored.is_relative_to(tmp_path / "engine" / "input")


async def test_the_name_of_an_upload_can_be_used_as_it_is_returned(client: Client, tmp_path: Path) -> None:
    first = await client.call("POST", "/upload/image", data=form("a.txt", b"1", subfolder="in"))
    second = await client.call("POST", "/upload/image", data=form("a.txt", b"2", subfolder="in"))
    again = await client.call("POST", "/upload/image", data=form("a.txt", b"2", subfolder="in"))
    assert [answer["name"] for _, answer in (first, second, again)] == ["a.txt", "a (1).txt", "a (1).txt"]
    assert (tmp_path / "engine" / "input" / "in" / "a (1).txt").read_bytes() == b"2"


async def test_jobs_are_filtered_and_paged(client: Client) -> None:
    running = await client.submit(WAITING)
    waiting = [await client.submit(workflow(str(number))) for number in range(3)]
    await client.until("/queue", lambda queue: len(queue["queue_running"]) == 1)
    _, pending = await client.get("/api/jobs?status=pending")
    assert {job["id"] for job in pending["jobs"]} == set(waiting)
    _, page = await client.get("/api/jobs?limit=2&offset=1")
    assert page["pagination"] == {"offset": 1, "limit": 2, "total": 4, "has_more": True}
    assert (await client.get(f"/api/jobs/{running}"))[1]["status"] == "in_progress"
    assert (await client.get("/api/jobs/unknown"))[0] == 404
    for wrong in ("status=dreaming", "limit=many", "limit=0"):
        assert (await client.get(f"/api/jobs?{wrong}"))[0] == 400


async def test_stop_ends_a_running_prompt_and_closes_the_connections(tmp_path: Path) -> None:
    before = workers()
    engine = ComfyUIEmulator(tmp_path, node_classes=CLASSES)
    await engine.start()
    assert len(workers()) == len(before) + 1
    async with aiohttp.ClientSession() as session:
        client = Client(engine, session)
        socket = await session.ws_connect(engine.url + "/ws")
        (tmp_path / "temp" / "preview.png").touch()
        await client.submit(WAITING)
        await client.until("/queue", lambda queue: bool(queue["queue_running"]))
        # Somebody who reads has the close answered, as every real client does.
        reading = asyncio.create_task(_read_to_the_end(socket))
        await asyncio.wait_for(engine.stop(), DEADLINE_SECONDS)
        assert await asyncio.wait_for(reading, DEADLINE_SECONDS) == aiohttp.WSCloseCode.OK
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get("/queue")
    assert not (tmp_path / "temp").exists()
    assert workers() == before


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "comfypod-prompt-worker"}


async def _read_to_the_end(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        pass
    return socket.close_code


async def test_a_taken_port_is_an_error(client: Client, tmp_path: Path) -> None:
    port = URL(client.engine.url).port
    assert port is not None
    other = ComfyUIEmulator(tmp_path / "other", node_classes=CLASSES)
    with pytest.raises(OSError, match="address already in use"):
        await other.start(port=port)
    await other.stop()  # Harmless, so that a caller may always do it.


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("not toml", ValueError),
        ("[[model]]\nname = 1", TypeError),
        ("model = 5", TypeError),
        ('model = ["x"]', TypeError),
    ],
)
def test_a_broken_list_of_models_is_named(tmp_path: Path, text: str, error: type[Exception]) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(error):
        ComfyUIEmulator(tmp_path, node_classes=CLASSES, models_file=tmp_path / "models.toml")


def test_an_unknown_preview_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none, auto"):
        ComfyUIEmulator(tmp_path, node_classes=CLASSES, preview_method="sharp")
