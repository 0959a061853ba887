"""The model store against servers that behave like Hugging Face, Civitai and a plain host of files."""

import asyncio
import hashlib
import io
import json
import os
import pickle
import re
import signal
import struct
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError, DeadlineExceeded, ModelFetchFailed, ModelSourceUnavailable
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.models.files import ModelFolders
from comfypod.storage.models.lock import LeaseTimes
from comfypod.storage.models.manifest import ModelManifest
from comfypod.storage.models.progress import ModelProgress
from comfypod.storage.models.store import ModelStore
from comfypod.storage.safe_http import SafeHTTP

ROOT = Path(__file__).parents[2]
COMMIT = "a" * 40
TOKEN = "hf_secret"
KIBIBYTE = 1024


def safetensors(payload_bytes: int, seed: int = 0) -> bytes:
    """A valid file of that many bytes of tensors; another seed, another content."""
    payload = hashlib.shake_128(bytes([seed])).digest(payload_bytes)
    tensor = {"dtype": "U8", "shape": [payload_bytes], "data_offsets": [0, payload_bytes]}
    header = json.dumps({"weight": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + payload


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Request:
    method: str
    path: str
    authorization: str | None
    first_byte: int = 0
    last_byte: int | None = None


@dataclass
class FileHost:
    """Serves files with ranges, as a CDN does; can be slow, can stop, and counts what it sends."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    sent_bytes: int = 0
    pause_seconds: float = 0
    block_bytes: int = 64 * KIBIBYTE
    cut_after_bytes: int | None = None
    hold_after_bytes: int | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def gets(self) -> list[Request]:
        """The downloads; a request for one byte only asks for the size."""
        return [request for request in self.requests if request.last_byte != 0]

    def add(self, path: str, content: bytes) -> str:
        self.files[path] = content
        return f"{self.url}/{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        first = int(match[1]) if match else 0
        last = int(match[2]) if match and match[2] else None
        self.requests.append(Request(request.method, path, request.headers.get("Authorization"), first, last))
        if path not in self.files:
            raise web.HTTPNotFound
        content = self.files[path]
        end = len(content) if last is None else min(last + 1, len(content))
        headers = {"ETag": f'"{sha256(content)}"', "Content-Length": str(end - first)}
        if match:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if match else 200, headers=headers)
        await response.prepare(request)
        await self._send(request, response, content[first:end])
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, body: bytes) -> None:
        for start in range(0, len(body), self.block_bytes):
            if self.cut_after_bytes is not None and self.sent_bytes >= self.cut_after_bytes:
                self.cut_after_bytes = None
                assert request.transport is not None
                request.transport.abort()
                return
            if self.hold_after_bytes is not None and self.sent_bytes >= self.hold_after_bytes:
                await self.released.wait()
            block = body[start : start + self.block_bytes]
            try:
                await response.write(block)
            except ConnectionError:
                return
            self.sent_bytes += len(block)
            await asyncio.sleep(self.pause_seconds)


def xet_chunks(content: bytes) -> list[bytes]:
    """Chunks as they lie in a xorb: version, stored size, no compression, size; then the bytes."""
    pieces = [content[start : start + 65536] for start in range(0, len(content), 65536)]
    sizes = [len(piece).to_bytes(3, "little") for piece in pieces]
    return [b"\0" + size + b"\0" + size + piece for size, piece in zip(sizes, pieces, strict=True)]


@dataclass
class FakeHub:
    """Hugging Face's ``/resolve/`` and Civitai's API, whose files lie on another server."""

    cdn: FileHost
    files: dict[str, bytes] = field(default_factory=dict)
    heads: list[Request] = field(default_factory=list)
    required_token: str | None = None
    error_code: str = "RepoNotFound"
    busy: int = 0
    xet_content: bytes | None = None
    """What the content-addressed store has; b"" where it has nothing. None: the repository is not in Xet."""
    xet_transports: list[asyncio.BaseTransport] = field(default_factory=list)
    xet_holds: bool = False
    civitai: dict[int, dict[str, Any]] = field(default_factory=dict)
    url: str = ""

    def add(self, repository: str, file: str, content: bytes) -> None:
        self.files[f"{repository}/{file}"] = content
        self.cdn.add(sha256(content), content)

    def add_civitai(self, version: int, name: str, kind: str, content: bytes) -> None:
        url = self.cdn.add(sha256(content), content)
        file = {"name": name, "primary": True, "sizeKB": len(content) / 1024}
        hashes = {"SHA256": sha256(content).upper()}
        self.civitai[version] = {"url": url, "model": {"type": kind}, "files": [{**file, "hashes": hashes}]}

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        info, authorization = request.match_info, request.headers.get("Authorization")
        self.heads.append(Request(request.method, request.path, authorization))
        if self.busy > 0:
            self.busy -= 1
            raise web.HTTPServiceUnavailable
        if self.required_token is not None and authorization != f"Bearer {self.required_token}":
            raise web.HTTPUnauthorized(headers={"X-Error-Code": self.error_code})
        content = self.files.get(f"{info['owner']}/{info['name']}/{info['file']}")
        if info["revision"] not in {"main", COMMIT}:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RevisionNotFound"})
        if content is None:
            raise web.HTTPNotFound(headers={"X-Error-Code": "EntryNotFound"})
        linked = {"X-Linked-ETag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        location = f"{self.cdn.url}/{sha256(content)}?signature=secret"
        xet = {"X-Xet-Hash": "b" * 64, "X-Xet-Refresh-Route": f"{self.url}/xet-read-token"}
        headers = {"X-Repo-Commit": COMMIT, **linked, **({} if self.xet_content is None else xet)}
        return web.Response(status=302, headers={**headers, "Location": location})

    async def xet_token(self, request: web.Request) -> web.StreamResponse:
        headers = {"X-Xet-Cas-Url": self.url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": "9999999999"}
        return web.Response(headers=headers)

    async def xet_reconstruction(self, request: web.Request) -> web.StreamResponse:
        """One term: all chunks of one xorb (https://huggingface.co/docs/xet, "Download Protocol")."""
        assert request.transport is not None
        self.xet_transports.append(request.transport)
        if not self.xet_content:
            raise web.HTTPBadRequest
        chunks = {"start": 0, "end": len(xet_chunks(self.xet_content))}
        stored = {"start": 0, "end": len(b"".join(xet_chunks(self.xet_content))) - 1}
        term = {"hash": "c" * 64, "unpacked_length": len(self.xet_content), "range": chunks}
        fetch = {"range": chunks, "url": f"{self.url}/xorb", "url_range": stored}
        document = {"offset_into_first_range": 0, "terms": [term], "fetch_info": {"c" * 64: [fetch]}}
        return web.json_response(document)

    async def xet_xorb(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.xet_transports.append(request.transport)
        if self.xet_holds:
            await self.cdn.released.wait()
        assert self.xet_content is not None
        return web.Response(status=206, body=b"".join(xet_chunks(self.xet_content)))

    async def version(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.civitai[int(request.match_info["id"])])

    async def download(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized
        raise web.HTTPFound(self.civitai[int(request.match_info["id"])]["url"])


@asynccontextmanager
async def served(add_routes: Callable[[web.UrlDispatcher], object]) -> AsyncIterator[str]:
    app = web.Application()
    add_routes(app.router)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def host() -> AsyncIterator[FileHost]:
    files = FileHost()
    async with served(lambda router: router.add_route("*", "/{path:.*}", files.handle)) as files.url:
        yield files
        files.released.set()


@pytest.fixture
async def hub(host: FileHost) -> AsyncIterator[FakeHub]:
    fake = FakeHub(host)

    def routes(router: web.UrlDispatcher) -> None:
        router.add_route("*", "/{owner}/{name}/resolve/{revision}/{file:.*}", fake.resolve)
        router.add_get("/xet-read-token", fake.xet_token)
        router.add_get("/v1/reconstructions/{hash}", fake.xet_reconstruction)
        router.add_get("/xorb", fake.xet_xorb)
        router.add_get("/api/v1/model-versions/{id}", fake.version)
        router.add_get("/api/download/models/{id}", fake.download)

    async with served(routes) as fake.url:
        yield fake


@pytest.fixture
async def http() -> AsyncIterator[SafeHTTP]:
    policy = AddressPolicy.from_lists("127.0.0.1", "")
    async with SafeHTTP(policy, connect_timeout_seconds=2, idle_timeout_seconds=5) as session:
        yield session


NewStore = Callable[..., ModelStore]


@pytest.fixture
def new_store(http: SafeHTTP, tmp_path: Path) -> NewStore:
    def new(manifest: str, environment: dict[str, str] | None = None, **options: Any) -> ModelStore:
        parsed = ModelManifest.parse(manifest)
        times = LeaseTimes(heartbeat_seconds=0.1, expiry_seconds=30, poll_seconds=0.02)
        folders = ModelFolders.below([tmp_path / "models"], parsed)
        variables = {"HF_HOME": str(tmp_path / "hf"), **(environment or {})}
        return ModelStore(parsed, folders, http, variables, lease_times=times, **options)

    return new


def entry(name: str, source: str, *more: str, folder: str = "checkpoints") -> str:
    return "\n".join(["[[model]]", f'name = "{name}"', f'folder = "{folder}"', source, *more, ""])


def pinned_to(content: bytes) -> tuple[str, str]:
    return f'sha256 = "{sha256(content)}"', f"size_bytes = {len(content)}"


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def visible(directory: Path) -> list[str]:
    """What ComfyUI could list: everything but hidden files."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(directory).as_posix() for path in files)


def files_in(directory: Path) -> list[str]:
    """Every file, hidden ones too."""
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def soon() -> Deadline:
    return Deadline.after(20)


# --- sources


async def test_a_file_from_an_address_lies_in_its_folder_and_is_not_asked_for_again(
    host: FileHost, new_store: NewStore, tmp_path: Path
) -> None:
    content = safetensors(300 * KIBIBYTE)
    url = host.add("x.safetensors", content)
    store = new_store(entry("sdxl/x.safetensors", f'url = "{url}"', *pinned_to(content)))
    seen: list[ModelProgress] = []

    path = await store.fetch("sdxl/x.safetensors", soon(), seen.append)

    assert path == tmp_path / "models/checkpoints/sdxl/x.safetensors"
    assert path.read_bytes() == content
    assert (seen[-1].stage, seen[-1].received_bytes) == ("downloading", len(content))
    assert await store.fetch("checkpoints/sdxl/x.safetensors", soon()) == path
    assert len(host.gets) == 1
    assert [model.status for model in store.state()] == ["present"]


async def test_a_file_from_the_hub_is_found_verified_and_the_token_stays_with_the_hub(
    hub: FakeHub, host: FileHost, new_store: NewStore
) -> None:
    content = safetensors(100 * KIBIBYTE)
    hub.add("owner/repo", "sub/x.safetensors", content)
    hub.required_token = TOKEN
    hub.busy = 1
    manifest = entry("x.safetensors", 'repository = "owner/repo"', 'file = "sub/x.safetensors"')
    store = new_store(manifest, {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN})

    path = await store.fetch("x.safetensors", soon())

    assert path.read_bytes() == content
    assert {request.authorization for request in hub.heads} == {f"Bearer {TOKEN}"}
    assert f"/owner/repo/resolve/{COMMIT}/sub/x.safetensors" in [request.path for request in hub.heads]
    assert [request.authorization for request in host.gets] == [None]
    verified = await store.verify("x.safetensors")
    assert (verified.sha256, verified.problem) == (sha256(content), None)


@pytest.mark.parametrize(
    ("token", "code", "sentence"),
    [
        (None, "RepoNotFound", "is no .*/owner/repo, or it is private: put a token that may read it in HF_TOKEN"),
        (None, "GatedRepo", "is gated: accept its conditions there with your account; put a token .* in HF_TOKEN"),
        ("hf_other", "GatedRepo", "the token in HF_TOKEN may not read it"),
    ],
)
async def test_a_refusing_hub_is_explained_and_the_token_is_not_shown(
    hub: FakeHub, new_store: NewStore, token: str | None, code: str, sentence: str
) -> None:
    hub.required_token, hub.error_code = TOKEN, code
    environment = {"HF_ENDPOINT": hub.url} | ({"HF_TOKEN": token} if token else {})
    store = new_store(entry("x.safetensors", 'repository = "owner/repo"'), environment)

    with pytest.raises(ModelFetchFailed, match=sentence) as caught:
        await store.fetch("x.safetensors", soon())

    assert not caught.value.retryable
    assert token is None or token not in repr(caught.value) + str(caught.value.details())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [('revision = "v9"', "has no revision 'v9'"), ('file = "y.safetensors"', "has no file 'y.safetensors' at 'main'")],
)
async def test_what_the_hub_does_not_have_is_named(hub: FakeHub, new_store: NewStore, more: str, sentence: str) -> None:
    store = new_store(entry("x.safetensors", 'repository = "owner/repo"', more), {"HF_ENDPOINT": hub.url})
    with pytest.raises(ModelFetchFailed, match=sentence):
        await store.fetch("x.safetensors", soon())


async def test_a_file_that_changed_at_its_source_is_not_downloaded(hub: FakeHub, new_store: NewStore) -> None:
    hub.add("owner/repo", "x.safetensors", safetensors(100))
    manifest = entry("x.safetensors", 'repository = "owner/repo"', f'sha256 = "{"0" * 64}"')
    store = new_store(manifest, {"HF_ENDPOINT": hub.url})
    with pytest.raises(ModelFetchFailed, match="another file by now"):
        await store.fetch("x.safetensors", soon())
    assert hub.cdn.requests == []


async def test_a_hub_that_is_not_there_may_be_later(new_store: NewStore) -> None:
    store = new_store(entry("x.safetensors", 'repository = "owner/repo"'), {"HF_ENDPOINT": "http://127.0.0.1:9"})
    with pytest.raises(ModelSourceUnavailable, match=r"http://127.0.0.1:9 does not answer"):
        await store.fetch("x.safetensors", soon())


async def test_civitai_gets_the_token_and_its_storage_does_not(
    hub: FakeHub, host: FileHost, new_store: NewStore
) -> None:
    content = safetensors(50 * KIBIBYTE)
    hub.add_civitai(42, "style.safetensors", "LORA", content)
    manifest = entry("style.safetensors", "civitai = 42", folder="loras")
    environment = {"CIVITAI_ENDPOINT": hub.url, "CIVITAI_TOKEN": TOKEN}

    path = await new_store(manifest, environment).fetch("style.safetensors", soon())

    assert path.read_bytes() == content
    assert [request.authorization for request in host.gets] == [None]


async def test_a_missing_token_is_asked_for_by_its_name(hub: FakeHub, new_store: NewStore) -> None:
    hub.add_civitai(42, "style.safetensors", "LORA", safetensors(10))
    manifest = entry("style.safetensors", "civitai = 42")
    with pytest.raises(ModelFetchFailed, match="HTTP 401; put a token that may read it in CIVITAI_TOKEN"):
        await new_store(manifest, {"CIVITAI_ENDPOINT": hub.url}).fetch("style.safetensors", soon())
    named = entry("x.safetensors", 'url = "https://example.com/x"', 'token_env = "MY_TOKEN"')
    with pytest.raises(ConfigurationError, match="needs a token in MY_TOKEN, which is not set"):
        await new_store(named).fetch("x.safetensors", soon())


async def test_private_addresses_are_refused(host: FileHost, tmp_path: Path) -> None:
    manifest = ModelManifest.parse(entry("x.safetensors", f'url = "{host.add("x", safetensors(10))}"'))
    async with SafeHTTP(AddressPolicy.from_lists("", "")) as http:
        store = ModelStore(manifest, ModelFolders.below([tmp_path], manifest), http, {})
        with pytest.raises(ModelFetchFailed, match=r"127\.0\.0\.1"):
            await store.fetch("x.safetensors", soon())
    assert host.requests == []


# --- the Hub's fast path


@pytest.fixture
def xet_store(hub: FakeHub, new_store: NewStore) -> ModelStore:
    environment = {"HF_ENDPOINT": hub.url, "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "0"}
    return new_store(entry("x.safetensors", 'repository = "owner/repo"'), environment)


async def test_a_file_in_xet_comes_by_the_fast_path(
    hub: FakeHub, host: FileHost, xet_store: ModelStore, tmp_path: Path
) -> None:
    content = hub.xet_content = safetensors(200 * KIBIBYTE)
    hub.add("owner/repo", "x.safetensors", content)
    seen: list[ModelProgress] = []

    path = await xet_store.fetch("x.safetensors", soon(), seen.append)

    assert path.read_bytes() == content
    assert host.requests == []
    assert ("downloading", len(content)) in [(progress.stage, progress.received_bytes) for progress in seen]
    assert seen[-1].stage == "checking"
    assert not [name for name in files_in(path.parent) if name.endswith((".new", ".hub", ".incomplete"))]
    assert not (tmp_path / "hf").exists()  # in an image, what is written beside the model would stay


async def test_where_the_fast_path_fails_plain_http_is_there(
    hub: FakeHub, host: FileHost, xet_store: ModelStore
) -> None:
    hub.xet_content = b""
    content = safetensors(100 * KIBIBYTE)
    hub.add("owner/repo", "x.safetensors", content)

    path = await xet_store.fetch("x.safetensors", soon())

    assert path.read_bytes() == content
    assert hub.xet_transports
    assert len(host.gets) == 1


async def test_wrong_content_from_the_fast_path_leaves_nothing(
    hub: FakeHub, xet_store: ModelStore, tmp_path: Path
) -> None:
    content = safetensors(100 * KIBIBYTE)
    hub.add("owner/repo", "x.safetensors", content)
    hub.xet_content = safetensors(100 * KIBIBYTE, seed=1)
    with pytest.raises(ModelFetchFailed, match="its sha256 is"):
        await xet_store.fetch("x.safetensors", soon())
    assert files_in(tmp_path / "models") == []


async def test_a_cancelled_fast_path_ends_its_connections(hub: FakeHub, xet_store: ModelStore, tmp_path: Path) -> None:
    hub.xet_content, hub.xet_holds = safetensors(100 * KIBIBYTE), True
    hub.add("owner/repo", "x.safetensors", hub.xet_content)
    task = asyncio.create_task(xet_store.fetch("x.safetensors", soon()))
    await until(lambda: len(hub.xet_transports) >= 2)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: all(transport.is_closing() for transport in hub.xet_transports), 5)
    assert files_in(tmp_path / "models") == []


async def test_the_fast_path_ends_with_the_worker(hub: FakeHub, tmp_path: Path) -> None:
    hub.xet_content, hub.xet_holds = safetensors(100 * KIBIBYTE), True
    hub.add("owner/repo", "x.safetensors", hub.xet_content)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", ROOT / "comfypod/storage/models/hub_child.py"),
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "HF_HOME": str(tmp_path)},
    )
    assert child.stdin is not None
    request = {"repository": "owner/repo", "file": "x.safetensors", "revision": COMMIT, "token": None}
    child.stdin.write(json.dumps({**request, "endpoint": hub.url, "folder": str(tmp_path)}).encode() + b"\n")
    await until(lambda: len(hub.xet_transports) >= 2)
    child.stdin.close()  # as the kernel does when the worker dies
    async with asyncio.timeout(5):
        await child.wait()


# --- several at the same time


async def test_ten_callers_share_one_download(host: FileHost, new_store: NewStore) -> None:
    content = safetensors(500 * KIBIBYTE)
    url = host.add("x.safetensors", content)
    store = new_store(entry("x.safetensors", f'url = "{url}"', *pinned_to(content)))

    paths = await asyncio.gather(*(store.fetch("x.safetensors", soon()) for _ in range(10)))

    assert len({path.read_bytes() for path in paths}) == 1
    assert len(host.gets) == 1


async def test_a_caller_that_is_cancelled_leaves_the_download_to_the_others(
    host: FileHost, new_store: NewStore
) -> None:
    content = safetensors(500 * KIBIBYTE)
    url = host.add("x.safetensors", content)
    host.hold_after_bytes = 128 * KIBIBYTE
    store = new_store(entry("x.safetensors", f'url = "{url}"'))
    first, second = (asyncio.create_task(store.fetch("x.safetensors", soon())) for _ in range(2))
    await until(lambda: host.sent_bytes >= 128 * KIBIBYTE)

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    host.released.set()

    assert (await second).read_bytes() == content
    assert len(host.gets) == 1


@pytest.mark.parametrize("ending", ["cancelled", "deadline"])
async def test_the_last_caller_ends_the_download_and_the_next_one_goes_on(
    host: FileHost, new_store: NewStore, tmp_path: Path, ending: str
) -> None:
    content = safetensors(2000 * KIBIBYTE)
    url = host.add("x.safetensors", content)
    host.hold_after_bytes = 1500 * KIBIBYTE
    store = new_store(entry("x.safetensors", f'url = "{url}"', *pinned_to(content)))
    task = asyncio.create_task(store.fetch("x.safetensors", Deadline.after(1 if ending == "deadline" else 20)))
    await until(lambda: host.sent_bytes >= 1500 * KIBIBYTE)
    await until(lambda: [model.status for model in store.state()] == ["partial"])
    if ending == "cancelled":
        await asyncio.sleep(0.2)  # for the bytes that are under way
        task.cancel()
    with pytest.raises(asyncio.CancelledError if ending == "cancelled" else DeadlineExceeded):
        await task
    assert visible(tmp_path) == []
    assert not any(name.endswith(".lock") for name in files_in(tmp_path))

    host.released.set()
    path = await store.fetch("x.safetensors", soon())

    assert path.read_bytes() == content
    assert host.gets[-1].first_byte >= 1024 * KIBIBYTE


async def test_a_connection_that_breaks_goes_on_where_it_was(host: FileHost, new_store: NewStore) -> None:
    content = safetensors(3000 * KIBIBYTE)
    url = host.add("x.safetensors", content)
    host.cut_after_bytes = 2000 * KIBIBYTE
    store = new_store(entry("x.safetensors", f'url = "{url}"', *pinned_to(content)))
    path = await store.fetch("x.safetensors", soon())
    assert path.read_bytes() == content
    assert host.gets[-1].first_byte > 0


# --- other processes


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "comfypod", "models", *map(str, arguments)]


@dataclass
class Ended:
    code: int
    out: str
    error: str


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[asyncio.subprocess.Process]]]:
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str | Path, **environment: str) -> asyncio.subprocess.Process:
        usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf")}
        variables = {**usual, "DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1", **environment}
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(*command(*arguments), cwd=tmp_path, env=variables, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(30):
        out, error = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), error.decode())


Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


async def test_two_processes_with_one_folder_download_once(host: FileHost, start: Start, tmp_path: Path) -> None:
    content = safetensors(1000 * KIBIBYTE)
    url = host.add("x.safetensors", content)
    host.hold_after_bytes = 500 * KIBIBYTE
    (tmp_path / "models.toml").write_text(entry("x.safetensors", f'url = "{url}"', *pinned_to(content)))
    arguments = ("fetch", "x.safetensors", "--directory", tmp_path / "models")
    first = await start(*arguments)
    await until(lambda: host.sent_bytes > 0)
    second = await start(*arguments)
    assert second.stderr is not None
    async with asyncio.timeout(15):
        assert "another worker is downloading it" in (await second.stderr.readline()).decode()

    host.released.set()

    for process in (first, second):
        result = await ended(process)
        assert (result.code, result.out.strip()) == (0, str(tmp_path / "models/checkpoints/x.safetensors"))
    assert (tmp_path / "models/checkpoints/x.safetensors").read_bytes() == content
    assert len(host.gets) == 1


async def test_after_kill_9_the_next_worker_takes_over_at_once_and_goes_on(
    host: FileHost, start: Start, new_store: NewStore, tmp_path: Path
) -> None:
    content = safetensors(8000 * KIBIBYTE)
    url = host.add("x.safetensors", content)
    host.pause_seconds, host.hold_after_bytes = 0.02, 6000 * KIBIBYTE
    manifest = entry("x.safetensors", f'url = "{url}"', *pinned_to(content))
    (tmp_path / "models.toml").write_text(manifest)
    process = await start("fetch", "--when", "all", "--directory", tmp_path / "models")
    await until(lambda: host.sent_bytes >= 6000 * KIBIBYTE, 20)

    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert visible(tmp_path / "models") == []
    sent_before = host.sent_bytes
    host.hold_after_bytes, host.pause_seconds = None, 0
    path = await new_store(manifest).fetch("x.safetensors", soon())

    assert path.read_bytes() == content
    assert host.gets[-1].first_byte > 0
    assert host.sent_bytes - sent_before < len(content)


async def test_what_a_killed_worker_had_not_checked_yet_is_not_downloaded_again(
    host: FileHost, new_store: NewStore, tmp_path: Path
) -> None:
    content = safetensors(1000)
    manifest = entry("x.safetensors", f'url = "{host.url}/x"', *pinned_to(content))
    folder = tmp_path / "models/checkpoints"
    folder.mkdir(parents=True)
    (folder / ".x.safetensors.new").write_bytes(content)
    path = await new_store(manifest).fetch("x.safetensors", soon())
    assert path.read_bytes() == content
    assert host.requests == []


# --- what is refused


async def test_wrong_content_leaves_nothing(host: FileHost, new_store: NewStore, tmp_path: Path) -> None:
    url = host.add("x.safetensors", safetensors(1000, seed=1))
    store = new_store(entry("x.safetensors", f'url = "{url}"', f'sha256 = "{sha256(safetensors(1000))}"'))
    with pytest.raises(ModelFetchFailed, match=r"its sha256 is .* instead of"):
        await store.fetch("x.safetensors", soon())
    assert files_in(tmp_path) == []


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, pickle.dumps({"weight": 1}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "case",
    [
        ("x.ckpt", b"", "files ending in .ckpt are pickles"),
        ("x.BIN", b"", "files ending in .bin are pickles"),
        ("x.safetensors", zipped("archive/data.pkl"), "an archive that holds a pickle"),
        ("x.safetensors", pickle.dumps([1], protocol=2), "it is a pickle"),
        ("x.onnx", zipped("model/data.pkl"), "an archive that holds a pickle"),
        ("x.onnx", b"PK\x03\x04 and no zip", "it is a broken zip archive"),
        ("x.safetensors", b"<!DOCTYPE html><html>Log in</html>", "a web page or a message in place of the file"),
        ("x.safetensors", b'\n {"error": "Unauthorized"}', "a web page or a message in place of the file"),
        ("x.safetensors", safetensors(1000)[:-1], "lies beyond its end"),
        ("x.safetensors", struct.pack("<Q", 2**63) + b"{}", "its header is longer than the file"),
        ("x.safetensors", struct.pack("<Q", 4) + b"[[[[", "a header that is not valid JSON"),
        ("x.safetensors", struct.pack("<Q", 2) + b"[]", "a header that is not a JSON object"),
        ("x.safetensors", b"abc", "its header is longer than the file"),
        ("x.gguf", b"GGML" + bytes(100), "not a .gguf file"),
    ],
    ids=lambda case: f"{case[0]}: {case[2]}",
)
async def test_a_file_that_is_dangerous_or_broken_is_refused_and_removed(
    host: FileHost, new_store: NewStore, tmp_path: Path, case: tuple[str, bytes, str]
) -> None:
    name, content, problem = case
    store = new_store(entry(name, f'url = "{host.add("file", content)}"'))
    with pytest.raises(ModelFetchFailed, match=re.escape(problem)):
        await store.fetch(name, soon())
    assert files_in(tmp_path) == []
    assert bool(host.requests) == bool(content)  # what its name gives away is not even asked for


async def test_a_pickle_that_is_allowed_by_name_is_fetched(host: FileHost, new_store: NewStore) -> None:
    content = zipped("archive/data.pkl")
    store = new_store(entry("x.ckpt", f'url = "{host.add("x.ckpt", content)}"', "allow_pickle = true"))
    assert (await store.fetch("x.ckpt", soon())).read_bytes() == content


async def test_somebody_elses_file_of_the_wrong_size_is_not_touched(
    host: FileHost, new_store: NewStore, tmp_path: Path
) -> None:
    content = safetensors(100)
    path = tmp_path / "models/checkpoints/x.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    store = new_store(entry("x.safetensors", f'url = "{host.add("x", content)}"', *pinned_to(content)))
    assert [model.status for model in store.state()] == ["wrong size"]
    with pytest.raises(ModelFetchFailed, match="has 4 bytes and was not fetched by comfypod; remove it"):
        await store.fetch("x.safetensors", soon())
    assert path.read_bytes() == b"mine"


async def test_a_file_that_was_fetched_here_follows_the_manifest(host: FileHost, new_store: NewStore) -> None:
    old, new = safetensors(100), safetensors(100, seed=1)
    url = host.add("x.safetensors", old)
    await new_store(entry("x.safetensors", f'url = "{url}"')).fetch("x.safetensors", soon())
    host.files["x.safetensors"] = new
    store = new_store(entry("x.safetensors", f'url = "{url}"', *pinned_to(new)))
    assert [model.status for model in store.state()] == ["outdated"]
    assert (await store.fetch("x.safetensors", soon())).read_bytes() == new


async def test_verify_sees_what_the_size_does_not(host: FileHost, new_store: NewStore) -> None:
    content = safetensors(100)
    store = new_store(entry("x.safetensors", f'url = "{host.add("x", content)}"'))
    assert (await store.verify("x.safetensors")).problem == "it is missing"
    path = await store.fetch("x.safetensors", soon())
    path.write_bytes(content[:-1] + b"?")
    assert "its sha256 is" in str((await store.verify("x.safetensors")).problem)


# --- the disk


def three_models(host: FileHost, *, pinned: str = "") -> str:
    """Models a, b, c of 1,000 bytes of tensors each."""
    names = ("a", "b", "c")
    contents = [safetensors(1000, seed) for seed in range(3)]
    urls = [host.add(f"{name}.safetensors", content) for name, content in zip(names, contents, strict=True)]
    return "\n".join(
        entry(f"{name}.safetensors", f'url = "{url}"', *pinned_to(content), f"pinned = {str(name == pinned).lower()}")
        for name, url, content in zip(names, urls, contents, strict=True)
    )


ROOM_FOR_TWO = 2 * len(safetensors(1000))


def set_used(tmp_path: Path, **moments: int) -> None:
    for name, moment in moments.items():
        os.utime(tmp_path / f"models/checkpoints/.{name}.safetensors.used", (moment, moment))


async def test_the_least_recently_used_model_goes(host: FileHost, new_store: NewStore, tmp_path: Path) -> None:
    store = new_store(three_models(host), budget_bytes=ROOM_FOR_TWO)
    for name in ("a", "b"):
        await store.fetch(f"{name}.safetensors", soon())
    set_used(tmp_path, a=1000, b=2000)
    await store.fetch("a.safetensors", soon())  # used now: b is the older one

    await store.fetch("c.safetensors", soon())

    assert visible(tmp_path / "models/checkpoints") == ["a.safetensors", "c.safetensors"]


async def test_pinned_and_foreign_files_and_those_in_use_stay(
    host: FileHost, new_store: NewStore, tmp_path: Path
) -> None:
    store = new_store(three_models(host, pinned="a"), budget_bytes=ROOM_FOR_TWO)
    for name in ("a", "b"):
        await store.fetch(f"{name}.safetensors", soon())
    set_used(tmp_path, a=1000, b=2000)
    (tmp_path / "models/checkpoints/mine.safetensors").write_bytes(b"mine")

    async with store.using(["b.safetensors"]):
        with pytest.raises(ModelFetchFailed, match=r"MODELS_DISK_BUDGET_BYTES .* are taken by models that are pinned"):
            await store.fetch("c.safetensors", soon())
    assert visible(tmp_path / "models/checkpoints") == ["a.safetensors", "b.safetensors", "mine.safetensors"]

    await store.fetch("c.safetensors", soon())
    assert visible(tmp_path / "models/checkpoints") == ["a.safetensors", "c.safetensors", "mine.safetensors"]


async def test_nothing_goes_in_vain(host: FileHost, new_store: NewStore, tmp_path: Path) -> None:
    large = safetensors(3000)
    manifest = three_models(host, pinned="a") + entry("d.safetensors", f'url = "{host.add("d", large)}"')
    store = new_store(manifest.rstrip() + f"\nsize_bytes = {len(large)}", budget_bytes=ROOM_FOR_TWO)
    for name in ("a", "b"):
        await store.fetch(f"{name}.safetensors", soon())
    with pytest.raises(ModelFetchFailed, match="MODELS_DISK_BUDGET_BYTES"):
        await store.fetch("d.safetensors", soon())
    assert visible(tmp_path / "models/checkpoints") == ["a.safetensors", "b.safetensors"]


async def test_the_budget_holds_for_files_of_unknown_size(host: FileHost, new_store: NewStore, tmp_path: Path) -> None:
    url = host.add("d.safetensors", safetensors(3000))
    store = new_store(entry("d.safetensors", f'url = "{url}"'), budget_bytes=1000)
    with pytest.raises(ModelFetchFailed, match="MODELS_DISK_BUDGET_BYTES"):
        await store.fetch("d.safetensors", soon())
    assert files_in(tmp_path) == []


async def test_what_another_worker_uses_stays(host: FileHost, new_store: NewStore, tmp_path: Path) -> None:
    manifest = three_models(host)
    here, there = (new_store(manifest, budget_bytes=ROOM_FOR_TWO) for _ in range(2))
    for name in ("a", "b"):
        await here.fetch(f"{name}.safetensors", soon())
    set_used(tmp_path, a=1000, b=2000)
    async with there.using(["a.safetensors"]):
        await here.fetch("c.safetensors", soon())
    assert visible(tmp_path / "models/checkpoints") == ["a.safetensors", "c.safetensors"]


async def test_a_disk_that_is_too_small_is_told_before_a_byte_is_taken(host: FileHost, new_store: NewStore) -> None:
    url = host.add("x.safetensors", safetensors(10))
    store = new_store(entry("x.safetensors", f'url = "{url}"', f"size_bytes = {10**18}"))
    with pytest.raises(ModelFetchFailed, match=r"it needs 1000000.0 TB, and .* are free in .*/models/checkpoints"):
        await store.fetch("x.safetensors", soon())
    assert host.requests == []


# --- the command line


async def test_fetch_names_every_failure(host: FileHost, start: Start, tmp_path: Path) -> None:
    good = entry("a.safetensors", f'url = "{host.add("a", safetensors(10))}"', 'when = "boot"')
    bad = [entry(f"{name}.safetensors", f'url = "{host.url}/none"', 'when = "boot"') for name in "bc"]
    (tmp_path / "models.toml").write_text(good + "".join(bad))

    result = await ended(await start("fetch", "--when", "boot", "--directory", "m"))

    assert (result.code, result.out) == (1, "m/checkpoints/a.safetensors\n")
    for name in "bc":
        assert f"model_fetch_failed: The model '{name}.safetensors' could not be fetched" in result.error
    assert "HTTP 404" in result.error


async def test_list_and_verify_tell_how_things_stand(host: FileHost, start: Start, tmp_path: Path) -> None:
    content = safetensors(1000)
    (tmp_path / "m/vae").mkdir(parents=True)
    (tmp_path / "m/vae/here.safetensors").write_bytes(content)
    (tmp_path / "m/vae/short.safetensors").write_bytes(content[:-1])
    source = f'url = "{host.url}/none"'
    names = ("here", "short", "missing")
    entries = [entry(f"{name}.safetensors", source, *pinned_to(content), folder="vae") for name in names]
    (tmp_path / "models.toml").write_text("".join(entries))

    listed = await ended(await start("list", "--json", MODELS_DIRECTORY="m"))
    table = await ended(await start("list", "--directory", "m"))
    verified = await ended(await start("verify", "--directory", "m"))

    assert [model["status"] for model in json.loads(listed.out)] == ["present", "wrong size", "missing"]
    assert re.search(r"short\.safetensors .* vae .* 1\.1 KB .* demand .* wrong size", table.out)
    assert verified.code == 1
    assert "vae/here.safetensors: ok\nvae/short.safetensors: its sha256 is" in verified.out
    assert "missing.safetensors" not in verified.out


async def test_add_pins_a_file_of_the_hub(hub: FakeHub, start: Start, tmp_path: Path) -> None:
    content = safetensors(1000)
    hub.add("owner/repo", "split_files/text_encoders/t5.safetensors", content)
    (tmp_path / "models.toml").write_text("# mine\n" + entry("x.safetensors", f'url = "{hub.url}"'))
    source = "owner/repo/split_files/text_encoders/t5.safetensors"
    variables = {"HF_ENDPOINT": hub.url}

    added = await ended(await start("add", source, "--when", "boot", "--license", 'a "b"', **variables))
    again = await ended(await start("add", source, **variables))

    assert added.code == 0, added.error
    text = (tmp_path / "models.toml").read_text()
    assert text.startswith("# mine\n")
    assert text.endswith("\n" + added.out)
    new = ModelManifest.parse(text).entry("t5.safetensors")
    assert (new.folder, new.revision, new.sha256, new.size_bytes) == (
        "text_encoders",
        COMMIT,
        sha256(content),
        len(content),
    )
    assert (new.when, new.license) == ("boot", 'a "b"')
    assert again.code == 2
    assert "has a model 'text_encoders/t5.safetensors' already" in again.error


async def test_add_takes_the_size_of_a_plain_address(host: FileHost, start: Start, tmp_path: Path) -> None:
    content = safetensors(1000)
    url = host.add("loras/x.safetensors", content)
    added = await ended(await start("add", url, "--print-only"))
    new = ModelManifest.parse(added.out).entry("loras/x.safetensors")
    assert (new.url, new.size_bytes, new.sha256) == (url, len(content), None)
    assert "tells no SHA-256" in added.error
    assert files_in(tmp_path) == []


async def test_add_asks_civitai_for_name_kind_and_content(hub: FakeHub, start: Start, tmp_path: Path) -> None:
    content = safetensors(1000)
    hub.add_civitai(42, "style.safetensors", "LORA", content)
    source = "https://civitai.com/models/7/style?modelVersionId=42"
    added = await ended(await start("add", source, CIVITAI_ENDPOINT=hub.url))
    assert added.code == 0, added.error
    new = ModelManifest.parse(added.out).entry("loras/style.safetensors")
    assert (new.civitai, new.sha256, new.size_bytes) == (42, sha256(content), len(content))
    assert (tmp_path / "models.toml").read_text() == added.out
