"""Webhooks: what arrives, signed; again when it is not taken; kept when it never is."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web

from comfypod.gateway.webhooks import messages, sender
from comfypod.gateway.webhooks.signing import signature_headers, tenant_secret
from comfypod.master.store.outbox import MAXIMUM_TRIES
from comfypod.master.webhook_token import SECRET_NAME, webhook_url
from tests.gateway.conftest import WORKFLOW, House, OpenHouse, until

JOBS = "/api/v2/jobs"


@dataclass
class Receiver:
    """A program's own server: answers with these statuses in turn, and with the last one from then on."""

    statuses: list[int]
    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.received.append((dict(request.headers), await request.read()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        location = {"Location": self.url} if status == 302 else {}
        return web.Response(status=status, headers=location)


OpenReceiver = Callable[..., Awaitable[Receiver]]


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    application = web.Application()
    application.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses of hours: the schedule itself has a test of its own."""
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(messages, "_PAUSES_SECONDS", (0.01,))


async def submitted(house: House, url: str | None = None) -> str:
    headers = {} if url is None else {"X-Comfypod-Webhook": url}
    document, _ = await house.ask("POST", JOBS, 201, json={"workflow": WORKFLOW}, headers=headers)
    return str(document["id"])


def is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver checks it that has only read standardwebhooks.com."""
    sent = {name.lower(): value for name, value in headers.items()}
    key = base64.b64decode(secret.split("_", 1)[1])
    content = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, sha256).digest()).decode()
    return f"v1,{expected}" in sent["webhook-signature"].split(" ")


def test_a_signature_is_as_the_specification_has_it() -> None:
    """The example of the reference implementation's tests (standard-webhooks, libraries/python)."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signature_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_of_tenants_differ_and_stay() -> None:
    assert tenant_secret(b"root", "a") == tenant_secret(b"root", "a") != tenant_secret(b"root", "b")


async def test_a_job_that_ended_is_told_once_and_signed(house: House) -> None:
    async with receiving(Receiver([200])) as receiver:
        job_id = await submitted(house, receiver.url)
        await house.master.succeed(job_id, pictures={"9": b"picture"})
        await until(lambda: asyncio.sleep(0, receiver.received))
        headers, body = receiver.received[0]
        settings, _ = await house.ask("GET", "/api/comfypod/webhook")
        assert is_signed(settings["secret"], headers, body)
        message = json.loads(body)
        assert message["type"] == "job.succeeded"
        job, _ = await house.ask("GET", f"{JOBS}/{job_id}")
        assert message["data"] == job
        assert message["data"]["outputs"][0]["url"].startswith(house.gateway.url)
        await until(lambda: asyncio.to_thread(lambda: house.store.outbox(job_id)[0].delivered_at))
        await asyncio.sleep(0.1)
        assert len(receiver.received) == 1


async def test_a_tenants_own_webhook_hears_of_jobs_that_name_none(house: House) -> None:
    async with receiving(Receiver([204])) as receiver, receiving(Receiver([204])) as other:
        set_to, _ = await house.ask("PUT", "/api/comfypod/webhook", json={"url": receiver.url})
        assert set_to["url"] == receiver.url
        house.master.fail(await submitted(house))
        house.master.fail(await submitted(house, other.url))
        await until(lambda: asyncio.sleep(0, receiver.received and other.received))
        assert json.loads(receiver.received[0][1])["type"] == "job.failed"
        await house.ask("DELETE", "/api/comfypod/webhook", 204)
        job_id = await submitted(house)
        house.store.cancel(job_id)
        assert house.store.outbox(job_id) == []
        house.store.cancel(await submitted(house, other.url))
        await until(lambda: asyncio.sleep(0, len(other.received) == 2))
        message = json.loads(other.received[1][1])
        assert (message["type"], message["data"]["status"]) == ("job.canceled", "canceled")


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_what_is_not_taken_is_sent_again_as_the_same_message(house: House, status: int) -> None:
    async with receiving(Receiver([status, status, 200])) as receiver:
        house.master.fail(await submitted(house, receiver.url))
        await until(lambda: asyncio.sleep(0, len(receiver.received) == 3))
        identifiers = {headers["webhook-id"] for headers, _ in receiver.received}
        assert len(identifiers) == 1, "the receiver can tell that it knows it"


async def test_what_is_never_taken_is_kept_and_can_be_sent_again(house: House) -> None:
    async with receiving(Receiver([503])) as receiver:
        job_id = await submitted(house, receiver.url)
        house.master.fail(job_id)

        async def dead() -> Any:
            return (await house.ask("GET", "/api/comfypod/dead-letters"))[0]["dead_letters"]

        (letter,) = await until(dead)
        assert (letter["job_id"], letter["type"], letter["attempts"]) == (job_id, "job.failed", MAXIMUM_TRIES)
        assert "503" in letter["cause"]
        stranger = house.store.add_key("stranger")
        none, _ = await house.ask("GET", "/api/comfypod/dead-letters", key=stranger)
        assert none["dead_letters"] == []
        path = f"/api/comfypod/dead-letters/{letter['id']}/replay"
        await house.refusal("POST", path, 404, key=stranger)
        receiver.statuses = [200]
        before = len(receiver.received)
        await house.ask("POST", path, 204)
        await until(lambda: asyncio.sleep(0, len(receiver.received) > before))
        assert not await dead()


async def test_a_receiver_that_does_not_answer_holds_up_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "POST_SECONDS", 0.3)
    writers: list[asyncio.StreamWriter] = []
    hung = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        address = f"http://127.0.0.1:{hung.sockets[0].getsockname()[1]}/hook"
        async with receiving(Receiver([200])) as receiver:
            late = await submitted(house, address)
            house.master.fail(late)
            house.master.fail(await submitted(house, receiver.url))
            await until(lambda: asyncio.sleep(0, receiver.received))
            await until(lambda: asyncio.to_thread(lambda: house.store.outbox(late)[0].cause))
    finally:
        hung.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/hook", "http://localhost:8000/", "http://169.254.169.254/", "ftp://example.com/", "x"]
)
async def test_nothing_is_posted_into_the_gateways_own_network(open_house: OpenHouse, url: str) -> None:
    house = await open_house(allows_private_webhooks=False)
    body = {"workflow": WORKFLOW}
    error = await house.refusal("POST", JOBS, 422, json=body, headers={"X-Comfypod-Webhook": url})
    assert error["code"] == "webhook_refused"
    assert (await house.refusal("PUT", "/api/comfypod/webhook", 422, json={"url": url}))["code"] == "webhook_refused"
    run = {"input": {"prompt": "a fox"}, "webhook": url}
    assert (await house.refusal("POST", "/v2/x/run", 422, json=run))["code"] == "webhook_refused"


async def test_an_address_that_is_private_by_now_is_not_posted_to(open_house: OpenHouse) -> None:
    """It was allowed when the job was submitted, as a name that pointed elsewhere would have been."""
    open_one = await open_house(poll_seconds=0.02)
    async with receiving(Receiver([200])) as receiver:
        job_id = await submitted(open_one, receiver.url)
        await open_one.gateway.stop()
        strict = await open_house(allows_private_webhooks=False)
        strict.master.fail(job_id)
        found = await until(lambda: asyncio.to_thread(lambda: strict.store.outbox(job_id)[0].cause))
        assert "not public" in found
        assert not receiver.received


def test_pauses_grow_to_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses = [messages.pause_seconds(attempts) for attempts in range(1, MAXIMUM_TRIES)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 10
    assert sum(pauses) > 24 * 3600


async def test_runpods_webhook_is_a_hint_and_no_more(house: House) -> None:

    job_id = await submitted(house)
    house.master.submit(job_id)
    secret = house.store.secret(SECRET_NAME)
    lie = {"id": "job-1", "status": "COMPLETED", "output": {"images": []}}
    async with house.http.post(webhook_url(house.gateway.url, secret, job_id), json=lie) as answer:
        assert answer.status == 200
    assert house.store.signals([job_id])[job_id].is_hinted
    assert house.store.get(job_id).state == "submitted", "what it says is not believed"


@pytest.mark.parametrize("place", ["{key}/" + "0" * 64, "{key}/é", "../{key}", "{key}", "x/" + "0" * 64])
async def test_a_hint_without_its_token_is_none(house: House, place: str) -> None:
    job_id = await submitted(house)
    house.master.submit(job_id)
    url = f"{house.gateway.url}/hooks/runpod/{place.format(key=job_id)}"
    async with house.http.post(url, json={}) as answer:
        assert answer.status == 404
    assert not house.store.signals([job_id])[job_id].is_hinted
