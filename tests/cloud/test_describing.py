"""`Client.describe` against the local RunPod, with a worker of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfypod import Client, JobState
from comfypod.errors import DeadlineExceeded, InvalidWorkflow, JobFailed, ProtocolViolation
from tests.cloud.local_runpod import LocalRunPod, Worker, picture

WORKFLOW = {"6": {"class_type": "A", "inputs": {"text": "a"}}}
DESCRIPTION = {"workflow": WORKFLOW, "parameters": {}, "nodes": {}, "problems": []}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalRunPod]:
    platform = LocalRunPod()
    yield platform
    platform.stop()


@pytest.fixture
def client(platform: LocalRunPod) -> Iterator[Client]:
    with Client("ep", "key", platform.base_url, patience_seconds=5) as client:
        yield client


def test_the_workers_description_is_returned(client: Client, platform: LocalRunPod) -> None:
    inputs: list[dict[str, Any]] = []
    seen: list[JobState] = []

    def describe(job_input: dict[str, Any], tell: Callable[[Any], None]) -> Any:
        inputs.append(job_input)
        return {"output": {"status": "success", "description": DESCRIPTION, "images": [], "warnings": []}}

    with Worker(platform, describe):
        told = client.describe(WORKFLOW, on_progress=lambda status: seen.append(status.state))
    assert told == DESCRIPTION
    assert {name: inputs[0][name] for name in ("workflow", "describe")} == {"workflow": WORKFLOW, "describe": True}
    assert seen[-1] is JobState.COMPLETED


def test_a_workflow_that_cannot_be_described_is_the_workers_error(client: Client, platform: LocalRunPod) -> None:
    output = {"status": "error", "code": "invalid_workflow", "retryable": False, "details": {}}

    def refuse(job_input: dict[str, Any], tell: Callable[[Any], None]) -> Any:
        return {"error": "it cannot be converted", "output": output}

    with Worker(platform, refuse), pytest.raises(JobFailed) as caught:
        client.describe(WORKFLOW)
    assert isinstance(caught.value, InvalidWorkflow)


def test_a_worker_that_knows_no_descriptions_is_told(client: Client, platform: LocalRunPod) -> None:
    with Worker(platform, picture), pytest.raises(ProtocolViolation, match="older than this client"):
        client.describe("text_to_image")


def test_what_nobody_waits_for_any_more_is_cancelled(client: Client, platform: LocalRunPod) -> None:
    before = client.health()["jobs"]["inQueue"]
    with pytest.raises(DeadlineExceeded):
        client.describe(WORKFLOW, timeout_seconds=0.3)
    assert client.health()["jobs"]["inQueue"] == before
