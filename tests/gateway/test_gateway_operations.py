"""What those see who run the gateway: health, readiness, metrics, the interface described; and how it stops."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfypod.errors import ConfigurationError
from comfypod.gateway.options import GatewayOptions, Limits
from comfypod.master.engine import migrate
from tests.gateway.conftest import WORKFLOW, House, OpenHouse, until
from tests.s3_server import S3Server


async def plain(house: House, path: str, status: int = 200) -> str:
    """What somebody without a key is answered."""
    async with house.http.get(house.gateway.url + path) as answer:
        assert answer.status == status
        return await answer.text()


async def test_it_is_healthy_at_once_and_ready_with_a_master(house: House) -> None:
    assert '"healthy"' in await plain(house, "/health")
    assert "no master" in await plain(house, "/ready", 503)
    house.master.alive()
    assert '"ready"' in await plain(house, "/ready")


async def test_metrics_count_requests_webhooks_and_streams(house: House) -> None:
    await house.ask("POST", "/api/v2/jobs", 201, json={"workflow": WORKFLOW})
    await house.ask("GET", "/api/v2/jobs/x", 404)
    metrics = await plain(house, "/metrics")
    assert 'comfypod_requests{state="queued"} 1' in metrics
    assert 'comfypod_requests{state="failed"} 0' in metrics
    assert "comfypod_masters 0" in metrics
    assert 'comfypod_gateway_answers_total{method="POST",status="2xx"} 1' in metrics
    assert 'comfypod_gateway_answers_total{method="GET",status="4xx"} 1' in metrics
    assert "comfypod_gateway_streams 0" in metrics
    sample = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+')
    for line in metrics.splitlines():
        assert line.startswith("# ") or sample.fullmatch(line), line
    age = float(re.findall(r"^comfypod_queue_age_seconds (.+)$", metrics, re.MULTILINE)[0])
    assert 0 <= age < 10
    assert "team" not in metrics, "no names of tenants"


async def test_every_route_is_described_and_no_other(house: House) -> None:
    document = (await house.ask("GET", "/api/v2/openapi.json"))[0]
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods if method != "head"
    }
    served = {
        (route.method, route.resource.canonical)
        for route in house.gateway._runner.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert described == served


async def test_the_description_holds_together(house: House) -> None:
    document = (await house.ask("GET", "/api/v2/openapi.json"))[0]
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len({*names})

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for reference in references(document):
        _, *parts = reference.split("/")
        place: Any = document
        for part in parts:
            place = place[part]


async def test_a_job_is_as_it_is_described(house: House) -> None:
    document = (await house.ask("GET", "/api/v2/openapi.json"))[0]
    job, _ = await house.ask("POST", "/api/v2/jobs", 201, json={"workflow": WORKFLOW})
    await house.master.succeed(job["id"], pictures={"9": b"picture"})
    job, _ = await house.ask("GET", f"/api/v2/jobs/{job['id']}")
    schemas = document["components"]["schemas"]
    assert set(job) == {*schemas["Job"]["properties"]}
    assert set(job["outputs"][0]) == {*schemas["Output"]["properties"]}


async def test_the_interface_can_be_read_as_a_page(house: House) -> None:
    page = await plain(house, "/")
    assert "GET /api/v2/jobs/{id}/events" in page
    assert "<script" not in page


async def test_stopping_ends_streams_and_lets_answers_end(open_house: OpenHouse) -> None:
    house = await open_house()
    job, _ = await house.ask("POST", "/api/v2/jobs", 201, json={"workflow": WORKFLOW})
    headers = {"Authorization": f"Bearer {house.key}"}
    async with house.http.get(f"{house.gateway.url}/api/v2/jobs/{job['id']}/events", headers=headers) as stream:
        assert b"status" in await stream.content.readline()
        begun = time.monotonic()
        await house.gateway.stop()
        await stream.content.read()  # to its proper end: a cut one would raise
        assert time.monotonic() - begun < 5
    assert house.store.get(job["id"]).state == "queued", "the job goes on"


async def test_a_silent_stream_says_that_it_is_there(open_house: OpenHouse) -> None:

    house = await open_house(limits=Limits(comment_seconds=0.05))
    job, _ = await house.ask("POST", "/api/v2/jobs", 201, json={"workflow": WORKFLOW})
    headers = {"Authorization": f"Bearer {house.key}"}
    async with house.http.get(f"{house.gateway.url}/api/v2/jobs/{job['id']}/events", headers=headers) as stream:
        await stream.content.readuntil(b": still here\n\n")
    await until(lambda: asyncio.sleep(0, house.gateway._operations._counters.open_streams == 0))


async def test_a_port_that_is_taken_is_told(house: House, open_house: OpenHouse) -> None:
    with pytest.raises(ConfigurationError, match="--port"):
        await open_house(port=house.gateway.port)


@pytest.mark.parametrize("url", ["comfy.example", "ftp://x", "https://x/path", "https://x?y", "https://[x"])
def test_a_public_address_must_be_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match="public-url"):
        GatewayOptions(public_url=url).check()


async def test_addresses_are_those_that_programs_know(open_house: OpenHouse) -> None:
    house = await open_house(public_url="https://comfy.example/")
    job, _ = await house.ask("POST", "/api/v2/jobs", 201, json={"workflow": WORKFLOW})
    assert job["urls"]["self"] == f"https://comfy.example/api/v2/jobs/{job['id']}"


def test_the_command_serves_until_it_is_told_to_stop(s3_server: S3Server, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'comfypod.sqlite'}"
    migrate(url)
    command = [sys.executable, "-m", "comfypod", "gateway", "--database", url, "--port", "0"]
    process = subprocess.Popen(
        command, env={**os.environ, **s3_server.environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+\n", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=20)
        assert process.returncode == 0, output
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [({}, "BUCKET_ENDPOINT_URL: is missing"), ({"BUCKET_NAME": "x"}, "BUCKET_ENDPOINT_URL: is missing")],
)
def test_the_command_says_what_is_missing(environment: dict[str, str], sentence: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "comfypod", "gateway", "--database", f"sqlite:///{tmp_path / 'x'}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BUCKET_")}
    ended = subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert sentence in ended.stderr
