"""The coordinator over HTTP: what pods are told, and the place for results."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfypod.batch.coordinator.desk import Desk
from comfypod.batch.coordinator.renting import PodOptions
from comfypod.batch.coordinator.server import Server, ServerOptions
from comfypod.batch.coordinator.service import CoordinatorOptions, coordinating, take_over, this_process
from comfypod.batch.coordinator.tokens import new_token
from comfypod.batch.documents import Orders, Pulse, Welcome, Work
from comfypod.batch.store import BatchStore
from comfypod.errors import BatchInUse
from tests.batch.coordinator.making import CHECKPOINTS, CONDITION, Clock, begin, one_each, start_pod, success
from tests.batch.coordinator.test_keeper import Provider

A, B = CHECKPOINTS


class Service:
    """A server with a batch, and a client of it."""

    def __init__(self, store: BatchStore, folder: Path) -> None:
        self.store = store
        self.batch = begin(store, one_each(20))
        self.pod = start_pod(store, self.batch, 0)
        self.folder = folder
        self.desk = Desk(store, self.batch.number)
        self.server = Server(ServerOptions(results_folder=folder), self.desk)
        self.token = new_token()
        store.add_token(self.batch.number, self.token)

    async def start(self) -> None:
        await self.server.start()
        self.client = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.token}"})

    async def stop(self) -> None:
        await self.client.close()
        await self.server.stop()
        await self.desk.close()

    async def post(self, call: str, body: Any, pod: str | None = None) -> tuple[int, Any]:
        url = f"{self.server.url}/v1/pods/{pod or self.pod}/{call}"
        document = body if isinstance(body, dict) else body.model_dump(mode="json")
        async with self.client.post(url, json=document) as response:
            return response.status, await response.json()

    async def put(self, name: str, content: bytes, **headers: str) -> tuple[int, str | None, Any]:
        given = {"If-None-Match": "*", "X-Content-SHA256": hashlib.sha256(content).hexdigest()}
        async with self.client.put(
            f"{self.server.url}/v1/results/{name}", data=content, headers=given | headers
        ) as response:
            body = await response.json() if response.status >= 400 else None
            return response.status, response.headers.get("ETag"), body


@pytest.fixture
async def service(store: BatchStore, tmp_path: Path) -> AsyncIterator[Service]:
    made = Service(store, tmp_path / "results")
    await made.start()
    yield made
    await made.stop()


async def test_a_pods_way_from_hello_to_bye(service: Service) -> None:
    status, body = await service.post("hello", CONDITION)
    welcome = Welcome.model_validate(body)
    assert status == 200
    assert [asset.key for asset in welcome.assets] == [A]
    assert welcome.results == {"kind": "http", "url": f"{service.server.url}/v1/results"}
    assert welcome.offer is not None
    work = Work.model_validate((await service.post("lease", {"items": 4, "present": [A]}))[1])
    identifiers = [item.identifier for item in work.items]
    assert [dict(item.job) for item in work.items] == [{"prompt": f"picture {row}"} for row in (0, 2, 4, 6)]
    orders = Orders.model_validate((await service.post("pulse", Pulse(in_hand=tuple(identifiers), present=(A,))))[1])
    assert (orders.state, orders.revoked) == ("running", ())
    records = {"records": [success(name).model_dump(mode="json") for name in identifiers[:2]]}
    assert await service.post("records", records) == (
        200,
        {"accepted": identifiers[:2], "already": [], "refused": []},
    )
    assert (await service.post("records", records))[1]["already"] == identifiers[:2]
    assert await service.post("bye", {"reason": "outbid", "spool_items": 0}) == (200, {})
    status, body = await service.post("lease", {"items": 1, "present": []})
    assert (status, body["error"]["code"], body["error"]["retryable"]) == (410, "pod_ended", False)


async def test_who_has_no_token_and_what_makes_no_sense_is_refused(service: Service) -> None:
    for authorization in ("", "Bearer", "Bearer wrong", f"Basic {service.token}", f"bearer{service.token}"):
        url = f"{service.server.url}/v1/pods/{service.pod}/lease"
        async with service.client.post(url, json={"items": 1}, headers={"Authorization": authorization}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, "unauthorized")
    assert (await service.post("lease", {"items": 1}, pod="comfypod-batch1-9-9"))[0] == 404
    assert (await service.post("lease", {"items": 1}, pod="a%00b"))[0] == 404
    for call, body in (
        ("lease", {"items": -1}),
        ("lease", {"items": 10**9}),
        ("lease", {"items": "many"}),
        ("records", {"records": [{"identifier": "x"}]}),
        ("records", {"records": [success("x").model_dump(mode="json")] * 501}),
        ("pulse", {}),
        ("hello", {"gpu": "x"}),
    ):
        status, answer = await service.post(call, body)
        assert (status, answer["error"]["code"]) == (400, "invalid_request"), (call, answer)
    for body in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000):
        async with service.client.post(f"{service.server.url}/v1/pods/{service.pod}/lease", data=body) as response:
            assert response.status == 400
    async with service.client.get(f"{service.server.url}/v1/nothing") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")
    async with aiohttp.request("GET", f"{service.server.url}/health") as response:
        assert response.status == 200


async def test_a_token_of_a_later_coordinator_opens_it_too(service: Service) -> None:
    later = new_token()
    service.store.add_token(service.batch.number, later)
    url = f"{service.server.url}/v1/pods/{service.pod}/lease"
    async with service.client.post(url, json={"items": 1}, headers={"Authorization": f"Bearer {later}"}) as response:
        assert response.status == 200
    raw = service.store._database.url.database
    assert raw is not None
    content = b"".join(path.read_bytes() for path in Path(raw).parent.glob("*.sqlite*"))
    assert later.encode() not in content


async def test_a_result_is_stored_once_and_whole(service: Service) -> None:
    digest = hashlib.sha256(b"first").hexdigest()
    assert (await service.put("fox/image.png", b"first"))[:2] == (201, f'"{digest}"')
    assert (await service.put("fox/image.png", b"second"))[:2] == (412, f'"{digest}"')
    assert (service.folder / "fox/image.png").read_bytes() == b"first"
    async with service.client.head(f"{service.server.url}/v1/results/fox/image.png") as response:
        assert (response.status, response.headers["Content-Length"], response.headers["ETag"]) == (
            200,
            "5",
            f'"{digest}"',
        )
    async with service.client.head(f"{service.server.url}/v1/results/fox/other.png") as response:
        assert response.status == 404
    status, _, body = await service.put("fox/b.png", b"content", **{"X-Content-SHA256": digest})
    assert (status, body["error"]["code"]) == (400, "wrong_sha256")
    many = await asyncio.gather(*(service.put("race/image.png", bytes([number]) * 100_000) for number in range(8)))
    assert sorted(status for status, _, _ in many) == [201] + [412] * 7
    names = sorted(str(path.relative_to(service.folder)) for path in service.folder.rglob("*") if path.is_file())
    assert names == ["fox/image.png", "race/image.png"], "nothing half of it"


@pytest.mark.parametrize(
    "name",
    [
        *("image.png", "a/../b.png", "..%2F..%2Fetc/passwd", "a/.hidden", ".partial/x", "a//b", "a/b\\c", "C:/x"),
        *("a/con.png", "a/b.", "a/" + "x" * 201, "a/\x01", "/".join("abcdefghi"), "a/", "%00/a"),
    ],
)
async def test_names_that_lead_elsewhere_are_refused(service: Service, name: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.server.port)
    path = name.encode().replace(b"\x01", b"%01").replace(b"\\", b"%5C")
    digest = hashlib.sha256(b"x").hexdigest().encode()
    writer.write(b"PUT /v1/results/" + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n")
    writer.write(b"If-None-Match: *\r\nX-Content-SHA256: " + digest + b"\r\n")
    writer.write(b"Authorization: Bearer " + service.token.encode() + b"\r\n\r\nx")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert answer.split(b" ", 2)[1] in {b"400", b"404"}, answer
    assert [path for path in service.folder.rglob("*") if path.is_file()] == []


async def test_a_result_without_its_hash_or_its_condition_is_refused(service: Service) -> None:
    assert (await service.put("a/b.png", b"x", **{"If-None-Match": ""}))[0] == 400
    assert (await service.put("a/b.png", b"x", **{"X-Content-SHA256": "12"}))[0] == 400


async def test_a_coordinator_that_comes_back_has_the_same_address_and_its_pods_their_leases(
    store: BatchStore, clock: Clock, tmp_path: Path
) -> None:
    batch = begin(store, one_each(20))
    options = CoordinatorOptions(
        server=ServerOptions(results_folder=tmp_path / "results"), pods=PodOptions(image="", command=())
    )
    async with coordinating(store, batch, options, Provider(clock)):
        first = store.of(batch.number)
        assert first.owner == this_process()
        with pytest.raises(BatchInUse):
            store.hold(batch.number, "another")
    pod = start_pod(store, batch, 0)
    held = store.lease(batch.number, pod, 3, [A]).items
    clock.now += 5000  # nobody was there
    async with coordinating(store, store.of(batch.number), options, Provider(clock)):
        assert store.of(batch.number).address == first.address
        assert store.expire(batch.number) == 0
        assert (
            store.pulse(batch.number, pod, Pulse(in_hand=tuple(i.identifier for i in held), present=())).revoked == ()
        )
    assert store.of(batch.number).owner is None


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(store: BatchStore) -> None:
    batch = begin(store, one_each(2))
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie, as a shell leaves one for a moment
    store.hold(batch.number, f"{socket.gethostname()}:{process.pid}")
    take_over(store, batch, this_process())
    process.wait()
    assert store.of(batch.number).owner == this_process()
    with pytest.raises(BatchInUse):
        take_over(store, batch, f"{socket.gethostname()}:{os.getppid()}")
