"""What RunPod tells of pods, and may tell otherwise one day."""

from __future__ import annotations

from typing import Any

import pytest

from comfypod.cloud.pods.documents import (
    CloudPod,
    GPUType,
    PodSpec,
    end_reason,
    is_about_money,
    is_unknown_field,
    spot_prices,
)

# The example of docs.runpod.io, ``api-reference-v2/openapi.json`` (August 2026), "List pods".
EXAMPLE: dict[str, Any] = {
    "id": "7h9k2m4n6p",
    "name": "pytorch-training",
    "image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
    "args": "",
    "disk": 50,
    "ports": ["8888/http", "22/tcp"],
    "env": {"MODEL_NAME": "llama-3"},
    "status": "RUNNING",
    "actions": ["stop", "restart", "terminate"],
    "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
    "cost": 0.44,
    "runtime": {"uptime": 3600},
    "createdAt": "2026-06-01T12:00:00Z",
    "startedAt": "2026-06-01T12:02:00Z",
}


def test_the_documented_example_is_read() -> None:
    pod = CloudPod.of_rest(EXAMPLE)
    assert (pod.id, pod.gpu, pod.dollars_per_hour, pod.is_live) == ("7h9k2m4n6p", "NVIDIA GeForce RTX 4090", 0.44, True)
    assert pod.started_at is not None
    assert pod.started_at - pod.created_at == 120


def test_what_is_missing_or_new_is_borne() -> None:
    changed = {**EXAMPLE, "gpu": None, "createdAt": "yesterday", "startedAt": None, "env": None, "cost": None}
    pod = CloudPod.of_rest({**changed, "status": "MIGRATING", "new": {}})
    assert (pod.gpu, pod.created_at, pod.started_at, pod.dollars_per_hour) == ("", 0.0, None, 0.0)
    assert pod.is_live  # a word that nobody knows is no end


@pytest.mark.parametrize("status", ["EXITED", "ERROR", "TERMINATED"])
def test_ends_are_ends(status: str) -> None:
    assert not CloudPod.of_rest({**EXAMPLE, "status": status}).is_live


@pytest.mark.parametrize("identifier", ["../x", "", "a/b", "a?b", "x" * 101])
def test_an_id_that_cannot_stand_in_a_path_is_refused(identifier: str) -> None:
    with pytest.raises(ValueError, match="plain"):
        CloudPod.of_rest({**EXAMPLE, "id": identifier})


@pytest.mark.parametrize(
    ("status", "sentence", "reason"),
    [
        ("EXITED", "Outbid: Mon Jun 01 2026 12:00:00 GMT+0000", "outbid"),
        ("TERMINATED", "Outbid: Mon Jun 01 2026 12:00:00 GMT+0000", "outbid"),
        ("EXITED", "Exited by Runpod: Mon Jun 01 2026", "ended by RunPod"),
        ("TERMINATED", "Terminated by RunPod: Mon Jun 01 2026", "ended by RunPod"),
        ("EXITED", "Exited by User: Mon Jun 01 2026", "stopped"),
        ("TERMINATED", "Terminated by User: Mon Jun 01 2026", "terminated"),
        ("EXITED", None, "exited"),
        ("EXITED", "something new", "exited"),
    ],
)
def test_why_a_pod_ended(status: str, sentence: object, reason: str) -> None:
    assert end_reason(status, sentence) == reason


def test_types_and_least_bids() -> None:
    told = {"id": "NVIDIA A40", "memory": 48, "secure": True, "price": {"secure": 0.4}, "availability": "LOW"}
    assert GPUType.of_rest(told) == GPUType("NVIDIA A40", 48 * 10**9, 0.4, is_available=True)
    assert not GPUType.of_rest({**told, "availability": "NONE"}).is_available
    assert not GPUType.of_rest({**told, "price": {"secure": 0}}).is_available
    prices = [{"minimumBidPrice": 0.2}, {"minimumBidPrice": None}, None, {"minimumBidPrice": True}]
    types = [{"id": f"gpu {number}", "lowestPrice": price} for number, price in enumerate(prices)]
    assert spot_prices({"gpuTypes": types}) == {"gpu 0": 0.2}
    assert spot_prices({}) == {}


def test_what_errors_are_about() -> None:
    assert is_about_money("Your balance is too low")
    assert not is_about_money("There are no longer any instances available")
    assert is_unknown_field('Cannot query field "podRentInterruptable" on type "Mutation".', "podRentInterruptable")
    assert not is_unknown_field('Cannot query field "id" on type "Pod".', "podRentInterruptable")


def test_what_is_sent() -> None:
    spec = PodSpec(
        name="n", image="i", gpu="g", command=("run", "a b"), environment={"A": '"'}, disk_bytes=20 * 10**9 + 1
    )
    assert spec.to_rest()["disk"] == spec.to_graphql(0.1)["containerDiskInGb"] == 21
    assert spec.to_rest()["args"] == spec.to_graphql(0.1)["dockerArgs"] == "run 'a b'"
    assert spec.to_graphql(0.1)["env"] == [{"key": "A", "value": '"'}]
    assert "A" not in repr(spec)
