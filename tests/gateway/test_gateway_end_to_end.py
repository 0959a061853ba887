"""The whole chain, each part a process: comfy-sdk, gateway, master, local RunPod, worker, ComfyUI, bucket."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy_sdk
import pytest
from comfy_sdk import events as sdk_events
from PIL import Image

from comfypod import Client
from comfypod.cli.local import LocalEndpoint
from comfypod.cli.services import Service
from comfypod.master.engine import migrate, open_store
from comfypod.master.store import Store
from tests.s3_server import S3Server

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
"""Longest wait for anything in here; far more than any of it takes."""
TEXT_TO_IMAGE = json.loads((ROOT / "workflows" / "text_to_image.json").read_text("utf-8"))["workflow"]


@dataclass
class Chain:
    """What a program needs to know of it, and what a test may look at."""

    url: str
    key: str
    store: Store
    start_master: Callable[[], Service]
    master: Service
    gateway_log: Path


@pytest.fixture(scope="module")
def chain(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """All of it, with one worker."""
    folder = tmp_path_factory.mktemp("chain")
    bucket = {**s3_server.environment, "BUCKET_PREFIX": folder.name}
    database = f"sqlite:///{folder / 'master.sqlite'}"
    migrate(database)
    with ExitStack() as stack:
        endpoint = LocalEndpoint(folder / "runpod.log", {**bucket, "ONCE_LEASE_SECONDS": "5"})
        stack.callback(endpoint.stop)
        environment = {**bucket, "COMFYPOD_DATABASE_URL": database, "RUNPOD_API_KEY": endpoint.api_key}
        environment["RUNPOD_ENDPOINT_BASE_URL"] = endpoint.base_url()

        def service(name: str, *arguments: str) -> Service:
            made = Service(name, arguments, environment, folder / f"{name}.log")
            stack.callback(made.stop)
            return made

        gateway = service("gateway", "gateway", "--port", "0", "--allow-private-webhooks")
        url = gateway.address()

        def start_master() -> Service:
            arguments = ("--endpoint", endpoint.endpoint_id, "--workers", "1", "--name", "one", "--webhook-url", url)
            master = service("master", "master", "run", *arguments)
            master.address()
            return master

        with closing(open_store(database)) as store:
            yield Chain(url, store.add_key("team"), store, start_master, start_master(), gateway.log_file)


@pytest.fixture
def client(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Iterator[comfy_sdk.Comfy]:
    """The official client, unmodified."""
    monkeypatch.setenv("COMFY_BASE_URL", chain.url)
    with comfy_sdk.Comfy(api_key=chain.key) as made:
        yield made


def text_to_image(**inputs: Any) -> dict[str, Any]:
    """The template's workflow with other inputs, by ``NODE_INPUT``."""
    graph = json.loads(json.dumps(TEXT_TO_IMAGE))
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")
    sampler["inputs"] |= {"seed": 5, **inputs}
    return dict(graph)


def until(is_so: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := is_so()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def picture_of(output: comfy_sdk.Output) -> Image.Image:
    return Image.open(io.BytesIO(output.to_bytes()))


def test_a_workflow_runs_with_events_and_its_picture_is_fetched(client: comfy_sdk.Comfy, chain: Chain) -> None:
    job = client.submit(client.workflows.from_json(text_to_image(steps=12)), metadata={"client": "acme"})
    seen = list(job.events())
    values = [item.value for item in seen if isinstance(item, sdk_events.Progress)]
    assert values == sorted(values)
    assert values[-1] == 1.0
    assert isinstance(seen[-2], sdk_events.OutputReady)
    assert seen[-1] == sdk_events.StatusChange("succeeded")
    job.result()
    with picture_of(job.outputs[0]) as picture:
        assert picture.size[0] >= 64
    assert job.get_workflow().graph == text_to_image(steps=12)
    assert job.metadata == {"client": "acme"}
    until(lambda: "/hooks/runpod/… status=200" in chain.gateway_log.read_text("utf-8"))


def test_an_uploaded_picture_is_loaded_and_comes_back_inverted(client: comfy_sdk.Comfy, chain: Chain) -> None:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(content, "PNG")
    photo = client.assets.from_bytes(content.getvalue(), filename="red.png")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": photo}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
    }
    job = client.run(client.workflows.from_json(graph), timeout=SECONDS)
    with picture_of(job.outputs[0]) as picture:
        assert picture.convert("RGB").getpixel((5, 5)) == (0, 255, 255)
    assert [output.node_id for output in job.outputs] == ["3"]


def test_a_running_job_is_cancelled(client: comfy_sdk.Comfy) -> None:
    job = client.submit(client.workflows.from_json(text_to_image(steps=10_000)))
    until(lambda: job.refresh().status == "running")
    job.cancel()
    assert job.wait(SECONDS).status == "canceled"


def test_what_a_worker_refuses_is_told_with_its_reason(client: comfy_sdk.Comfy) -> None:
    graph = {"1": {"class_type": "NoSuchNode", "inputs": {}}}
    with pytest.raises(comfy_sdk.JobFailed) as caught:
        client.run(client.workflows.from_json(graph), timeout=SECONDS)
    assert caught.value.error.code == "invalid_workflow"
    assert "NoSuchNode" in caught.value.error.message


def test_a_retry_with_the_same_key_finds_the_job(client: comfy_sdk.Comfy) -> None:
    workflow = client.workflows.from_json(text_to_image(steps=2))
    job = client.submit(workflow, idempotency_key="order 8")
    with pytest.raises(comfy_sdk.IdempotencyKeyReuse) as caught:
        client.submit(workflow, idempotency_key="order 8")
    found = client.jobs.get(caught.value.details["job_id"])
    assert found.id == job.id
    assert found.result().status == "succeeded"


def test_our_own_client_runs_on_it_too(chain: Chain, tmp_path: Path) -> None:
    with Client("any", chain.key, f"{chain.url}/v2") as client:
        description = client.describe("text_to_image", timeout_seconds=SECONDS)
        assert "prompt" in description["parameters"]
        result = client.submit(prompt="a red barn", parameters={"steps": 2}).wait(timeout_seconds=SECONDS)
        (path,) = result.save(tmp_path)
        with Image.open(path) as picture:
            assert picture.format == "PNG"


def test_a_master_that_is_killed_loses_nothing(client: comfy_sdk.Comfy, chain: Chain) -> None:
    jobs = [client.submit(client.workflows.from_json(text_to_image(steps=20, seed=seed))) for seed in range(3)]
    until(lambda: jobs[0].refresh().status == "running")
    os.kill(chain.master._child.process.pid, signal.SIGKILL)
    chain.master = chain.start_master()
    events: list[sdk_events.Event] = []
    listening = threading.Thread(target=lambda: events.extend(jobs[-1].events()))
    listening.start()
    assert [job.result().status for job in jobs] == ["succeeded"] * 3
    listening.join(SECONDS)
    assert events[-1] == sdk_events.StatusChange("succeeded")
    assert [len(job.outputs) for job in jobs] == [1, 1, 1]
