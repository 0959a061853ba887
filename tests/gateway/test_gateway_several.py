"""Several gateways on one database, here Postgres: any of them answers for all, and each webhook is sent by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import pytest

from comfypod.gateway.webhooks import sender
from comfypod.master.quotas import Quota
from comfypod.master.store import Store
from tests.gateway.conftest import TENANT, WORKFLOW, House, OpenHouse, until
from tests.gateway.test_gateway_webhooks import Receiver, receiving
from tests.postgres_server import PostgresServer

JOBS = "/api/v2/jobs"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """In place of SQLite."""
    url = postgres.create_database()
    Store.migrate(url)
    yield url
    postgres.drop_database(url)


@pytest.fixture
async def houses(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> list[House]:
    """Three gateways; the keys of the last one are the tenant's newest."""
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.02)
    return [await open_house(Quota(at_once=5)) for _ in range(3)]


async def test_a_job_of_one_gateway_is_seen_from_the_others(houses: list[House]) -> None:
    first, second, third = houses
    body = {"workflow": WORKFLOW, "metadata": {"client": "acme", "order": "7"}}
    headers = {"Idempotency-Key": "same"}
    job, _ = await first.ask("POST", JOBS, 201, json=body, headers=headers)
    error = await second.refusal("POST", JOBS, 422, json=body, headers=headers)
    assert error["details"]["job_id"] == job["id"]

    authorization = {"Authorization": f"Bearer {third.key}"}
    async with third.http.get(f"{third.gateway.url}{JOBS}/{job['id']}/events", headers=authorization) as stream:
        assert await stream.content.readuntil(b"\n\n")
        second.master.run(job["id"], 0.5)
        await first.master.succeed(job["id"], pictures={"9": b"picture"})
        rest = await stream.content.read()
    assert rest.index(b"event: output") < rest.index(b'"succeeded"')
    found, _ = await second.ask("GET", f"{JOBS}?metadata[client]=acme&metadata[order]=7")
    assert [item["id"] for item in found["jobs"]] == [job["id"]]
    none, _ = await second.ask("GET", f"{JOBS}?metadata[client]=other")
    assert none["jobs"] == []


async def test_a_quota_is_of_all_gateways_together(houses: list[House]) -> None:
    async def submit(house: House) -> int:
        headers = {"Authorization": f"Bearer {house.key}"}
        async with house.http.post(house.gateway.url + JOBS, json={"workflow": WORKFLOW}, headers=headers) as answer:
            return answer.status

    statuses = await asyncio.gather(*(submit(house) for house in houses for _ in range(4)))
    assert sorted(statuses) == [201] * 5 + [429] * 7


async def test_each_webhook_is_sent_once_whoever_sends(houses: list[House]) -> None:
    first = houses[0]
    async with receiving(Receiver([200])) as receiver:
        made = []
        for _ in range(5):
            headers = {"X-Comfypod-Webhook": receiver.url}
            job, _ = await first.ask("POST", JOBS, 201, json={"workflow": WORKFLOW}, headers=headers)
            made.append(job["id"])
        for key in made:
            first.master.fail(key)
        await until(lambda: asyncio.to_thread(lambda: all(first.store.outbox(key)[0].delivered_at for key in made)))
        told = sorted(json.loads(body)["data"]["id"] for _, body in receiver.received)
    assert told == sorted(made)


async def test_files_of_one_gateway_are_those_of_all(houses: list[House]) -> None:
    first, second, _ = houses
    form = aiohttp.FormData()
    form.add_field("file", b"bytes", filename="a.txt")
    asset, _ = await first.ask("POST", "/api/v2/assets", 201, data=form)
    await second.ask("HEAD", f"/api/v2/assets/by-hash/{asset['hash']}")
    again, _ = await second.ask("POST", "/api/v2/assets/from-hash", json={"hash": asset["hash"], "file_path": "a.txt"})
    assert again["id"] == asset["id"], "it says the same of the same bytes"
    other, _ = await second.ask("POST", "/api/v2/assets/from-hash", 201, json={"hash": asset["hash"], "tags": ["x"]})
    assert other["id"] != asset["id"]
    assert first.store.asset(TENANT, other["id"]) is not None
