"""Every refusal: its status, its code, and whether the comfy-sdk takes it as what it is."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import comfy_low.errors
import comfy_sdk
import pytest

from comfypod.errors import StoreUnavailable
from comfypod.gateway.options import Limits
from comfypod.master.quotas import Quota
from comfypod.master.store import Store
from comfypod.master.store.schema import REQUESTS
from tests.gateway.conftest import TENANT, WORKFLOW, House, OpenHouse

JOBS = "/api/v2/jobs"


async def submitted(client: comfy_sdk.AsyncComfy, graph: dict[str, Any] = WORKFLOW, **more: Any) -> comfy_sdk.AsyncJob:
    return await client.submit(client.workflows.from_json(graph), **more)


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic dGVhbTp4", "Bearer " + "x" * 500])
async def test_without_a_tenants_key_nothing_is_told(house: House, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("GET", JOBS), ("POST", JOBS), ("GET", "/api/v2/assets/x"), ("POST", "/v2/x/run")):
        async with house.http.request(method, house.gateway.url + path, headers=headers) as answer:
            assert answer.status == 401
            assert (await answer.json())["error"]["code"] == "unauthorized"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_revoked_key_is_nobodys(house: House) -> None:
    client = await house.sdk()
    await submitted(client)
    (access,) = house.store.keys(TENANT)
    house.store.revoke(access.identifier)
    with pytest.raises(comfy_sdk.Unauthorized):
        await submitted(client)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"workflow": {}}, "invalid_workflow"),
        ({}, "invalid_workflow"),
        ({"workflow": "text_to_image"}, "invalid_workflow"),
        ({"workflow": {"1": {"class_type": 3, "inputs": {}}}}, "invalid_workflow"),
        ({"workflow": {"nodes": [], "links": [], "last_node_id": 3}}, "workflow_format_ui"),
        ({"workflow": WORKFLOW, "webhook_url": "https://example.com"}, "invalid_request"),
        ({"workflow": WORKFLOW, "inputs": {}}, "invalid_request"),
        ({"workflow": WORKFLOW, "extra_data": {}}, "invalid_request"),
        ({"workflow": WORKFLOW, "extra_data": {"client_id": "x"}}, "invalid_request"),
        ({"workflow": WORKFLOW, "metadata": {"no spaces": "x"}}, "metadata_invalid"),
        ({"workflow": WORKFLOW, "metadata": {"key": 7}}, "metadata_invalid"),
        ({"workflow": WORKFLOW, "metadata": {"key": "x" * 257}}, "metadata_invalid"),
        ({"workflow": WORKFLOW, "metadata": {str(number): "" for number in range(17)}}, "metadata_invalid"),
        ({"workflow": WORKFLOW, "metadata": []}, "metadata_invalid"),
        ({"workflow": {"1": {"class_type": "A", "inputs": {"x": {"__type": "core/ASSET"}}}}}, "missing_asset"),
    ],
)
async def test_what_cannot_be_a_job_is_refused(house: House, body: dict[str, Any], code: str) -> None:
    assert (await house.refusal("POST", JOBS, 422, json=body))["code"] == code
    assert house.store.list(tenant=TENANT) == []


async def test_a_refusal_names_the_node(house: House) -> None:
    error = await house.refusal("POST", JOBS, 422, json={"workflow": {"7": {"inputs": {}}}})
    assert "7" in error["details"]["node_errors"]


async def test_the_sdk_knows_the_refusals(house: House) -> None:
    client = await house.sdk()
    with pytest.raises(comfy_sdk.InvalidWorkflow):
        await submitted(client, {"1": {"class_type": "A"}})
    with pytest.raises(comfy_sdk.MissingAsset):
        await submitted(
            client, {"1": {"class_type": "A", "inputs": {"x": {"__type": "core/ASSET", "info": {"id": "no"}}}}}
        )
    with pytest.raises(comfy_sdk.NotFound):
        await client.jobs.get("0" * 32)
    with pytest.raises(comfy_sdk.ComfyError) as caught:
        await submitted(client, metadata={"a b": "c"})
    assert caught.value.code == "metadata_invalid"
    with pytest.raises(comfy_low.errors.WorkflowFormatUi):
        await client._low.post_jobs({"nodes": [], "links": [], "version": 0.4})


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=1e3"])
async def test_a_limit_that_is_none_is_refused(house: House, query: str) -> None:
    assert (await house.refusal("GET", f"{JOBS}?{query}", 422))["code"] == "invalid_request"


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%00", "é", "/../"])
async def test_a_cursor_that_is_none_is_refused(house: House, cursor: str) -> None:
    assert (await house.refusal("GET", JOBS, 400, params={"cursor": cursor}))["code"] == "invalid_cursor"


async def test_a_filter_that_is_none_is_refused(house: House) -> None:
    four = {f"metadata[{name}]": "1" for name in "abcd"}
    assert (await house.refusal("GET", JOBS, 400, params=four))["code"] == "invalid_metadata_filter"
    odd = {"metadata[no spaces]": "1"}
    assert (await house.refusal("GET", JOBS, 400, params=odd))["code"] == "invalid_metadata_filter"


@pytest.mark.parametrize("job_id", ["x", "0" * 32, "..%2f..", "%00", "é" * 32])
async def test_what_is_no_job_is_not_found(house: House, job_id: str) -> None:
    for method, part in (("GET", ""), ("GET", "/workflow"), ("GET", "/events"), ("POST", "/cancel"), ("GET", "/logs")):
        assert (await house.refusal(method, f"{JOBS}/{job_id}{part}", 404))["code"] == "not_found"


async def test_a_quota_says_when_to_come_back(open_house: OpenHouse) -> None:
    house = await open_house(Quota(at_once=1))
    client = await house.sdk()
    job = await submitted(client)
    error, answer = await house.ask("POST", JOBS, 429, json={"workflow": WORKFLOW})
    assert error["error"]["code"] == "rate_limited"
    assert int(answer.headers["Retry-After"]) >= 1
    house.store.cancel(job.id)
    await submitted(client)


async def test_the_sdk_comes_back_when_the_queue_has_room_with_the_same_key(open_house: OpenHouse) -> None:
    house = await open_house(maximum_queued=1)
    client = await house.sdk()
    first = await submitted(client)
    assert (await house.refusal("POST", JOBS, 429, json={"workflow": WORKFLOW}))["code"] == "queue_full"
    waiting = asyncio.create_task(submitted(client, idempotency_key="kept over the refusals"))
    await asyncio.sleep(0.2)
    house.store.cancel(first.id)
    assert (await asyncio.wait_for(waiting, 15)).status == "queued", "a refusal frees its key"


async def test_without_a_master_a_job_may_be_refused(open_house: OpenHouse) -> None:
    house = await open_house(requires_master=True)
    client = await house.sdk()
    error, answer = await house.ask("POST", JOBS, 429, json={"workflow": WORKFLOW})
    assert (error["error"]["code"], answer.headers["Retry-After"]) == ("deployment_not_ready", "5")
    house.master.alive()
    assert (await submitted(client)).status == "queued"


async def test_streams_of_one_tenant_are_counted(open_house: OpenHouse) -> None:
    house = await open_house(limits=Limits(streams_at_once=1))
    client = await house.sdk()
    job = await submitted(client)
    path = f"{JOBS}/{job.id}/events"
    headers = {"Authorization": f"Bearer {house.key}"}
    async with house.http.get(house.gateway.url + path, headers=headers) as stream:
        assert stream.status == 200
        error, answer = await house.ask("GET", path, 429)
        assert error["error"]["code"] == "too_many_streams"
        assert answer.headers["Retry-After"]
        other = house.store.add_key("other")
        await house.refusal("GET", path, 404, key=other)
    house.store.cancel(job.id)
    assert [item.status async for item in job.events()] == ["canceled"]


async def test_an_idempotency_key_is_of_one_tenant_one_day_and_held_over_restarts(open_house: OpenHouse) -> None:
    house = await open_house()
    headers = {"Idempotency-Key": "order 7"}
    body = {"workflow": WORKFLOW}
    first, _ = await house.ask("POST", JOBS, 201, json=body, headers=headers)
    again = await open_house()
    error = await again.refusal("POST", JOBS, 422, json={"workflow": {"1": WORKFLOW["9"]}}, headers=headers)
    assert (error["code"], error["details"]["job_id"]) == ("idempotency_key_reuse", first["id"])
    await house.ask("POST", JOBS, 201, json=body, headers=headers, key=house.store.add_key("other"))

    aged = datetime.now(UTC) - timedelta(hours=25)

    with house.store.engine.begin() as connection:
        connection.execute(REQUESTS.update().where(REQUESTS.c.key == first["id"]).values(created_at=aged))
    second, _ = await house.ask("POST", JOBS, 201, json=body, headers=headers)
    error = await house.refusal("POST", JOBS, 422, json=body, headers=headers)
    assert error["details"]["job_id"] == second["id"] != first["id"]


async def test_of_many_submissions_with_one_key_one_makes_a_job(house: House) -> None:
    async def submit() -> int:
        headers = {"Authorization": f"Bearer {house.key}", "Idempotency-Key": "same"}
        async with house.http.post(house.gateway.url + JOBS, json={"workflow": WORKFLOW}, headers=headers) as answer:
            return answer.status

    statuses = await asyncio.gather(*(submit() for _ in range(12)))
    assert sorted(statuses) == [201] + [422] * 11
    assert len(house.store.list(tenant=TENANT)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "x" * 256},
        {"Idempotency-Key": ""},
        {"X-Comfypod-User": "two words"},
        {"X-Comfypod-Priority": "urgent"},
    ],
)
async def test_a_header_that_is_none_is_refused(house: House, headers: dict[str, str]) -> None:
    body = {"workflow": WORKFLOW}
    assert (await house.refusal("POST", JOBS, 422, json=body, headers=headers))["code"] == "invalid_request"


async def test_user_and_priority_are_taken_from_headers(house: House) -> None:
    headers = {"X-Comfypod-User": "mia", "X-Comfypod-Priority": "high"}
    await house.ask("POST", JOBS, 201, json={"workflow": WORKFLOW}, headers=headers)
    assert (house.submitted().user, house.submitted().priority) == ("mia", "high")


@pytest.mark.parametrize("body", [b"", b"nothing", b"[]", b'{"workflow": NaN}', b"[" * 100_000, b"\xff\xfe"])
async def test_a_body_that_is_no_object_is_refused(house: House, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await house.refusal("POST", JOBS, 422, data=body, headers=headers))["code"] == "invalid_request"


async def test_deep_documents_and_large_ones_are_refused(open_house: OpenHouse) -> None:
    house = await open_house(limits=Limits(json_bytes=20_000))
    deep: Any = 1
    for _ in range(150):
        deep = {"x": deep}
    body = {"workflow": {"1": {"class_type": "A", "inputs": {"x": deep}}}}
    assert (await house.refusal("POST", JOBS, 422, json=body))["code"] == "invalid_request"
    assert (await house.refusal("POST", JOBS, 413, json={"x": "y" * 30_000}))["code"] == "payload_too_large"


async def test_a_compressed_body_is_refused(house: House) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert (await house.refusal("POST", JOBS, 422, data=b"x", headers=headers))["code"] == "invalid_request"


async def test_a_slow_body_is_cut(open_house: OpenHouse) -> None:
    house = await open_house(limits=Limits(answer_seconds=0.2))

    async def slow() -> Any:
        yield b'{"workflow": '
        await asyncio.sleep(5)
        yield b"{}}"

    assert (await house.refusal("POST", JOBS, 408, data=slow()))["code"] == "deadline_exceeded"


async def test_an_address_or_a_method_that_is_not_there(house: House) -> None:
    assert (await house.refusal("GET", "/api/v2/nothing", 404))["code"] == "not_found"
    error, answer = await house.ask("PATCH", JOBS, 405)
    assert error["error"]["code"] == "invalid_request"
    assert "POST" in answer.headers["Allow"]


async def test_every_answer_has_its_trace(house: House) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    _, answer = await house.ask("POST", JOBS, 201, json={"workflow": WORKFLOW}, headers=headers)
    assert answer.headers["X-Comfy-Request-Id"] == trace
    assert house.submitted().trace_id == trace
    _, refused = await house.ask("GET", f"{JOBS}/x", 404)
    assert len(refused.headers["X-Comfy-Request-Id"]) == 32
    assert refused.headers["X-Comfy-Request-Id"] != trace


async def test_a_database_that_is_away_is_told_as_such(house: House) -> None:

    class Away:
        def tenant_of(self, _secret: str) -> None:
            raise StoreUnavailable("the disk /secret/place is full")

    desk = house.gateway._desk
    original, desk.store = desk.store, cast("Store", Away())
    error = await house.refusal("GET", JOBS, 503)
    desk.store = original
    assert error["code"] == "upstream_unreachable"
    assert "/secret/place" not in str(error)


@pytest.mark.parametrize("host", ["a b", "[", "x:99999999", "é", "", "a/b", "user@x", "?", "1:2:3"])
async def test_an_odd_host_breaks_nothing(house: House, host: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.gateway.port)
    body = json.dumps({"workflow": WORKFLOW}).encode()
    head = (
        f"POST {JOBS} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {house.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert b" 500 " not in answer.split(b"\r\n")[0]
