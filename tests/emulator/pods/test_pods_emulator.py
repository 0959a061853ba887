"""The emulated pod API, over HTTP: both interfaces, keys, states, endings, faults, and what it costs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfypod.emulator.pods.problems import HOST_FULL, NO_CAPACITY
from tests.batch.providers.pods_site import A40, A4000, PROGRAM, PodsSite, until


@pytest.fixture
def site() -> Iterator[PodsSite]:
    with PodsSite(grace_seconds=0.3) as running:
        yield running


def body(folder: Path | None = None, kind: str = "", **changes: Any) -> dict[str, Any]:
    args = "" if folder is None else shlex.join([sys.executable, "-c", PROGRAM, str(folder), kind])
    return {"name": "x", "image": "i", "gpu": {"id": A4000}, "args": args, **changes}


def created(site: PodsSite, document: dict[str, Any]) -> str:
    status, pod = site.send("POST", "/v2/pods", document)
    assert (status, pod["status"], pod["startedAt"]) == (201, "PROVISIONING", None), pod
    return pod["id"]


def status_of(site: PodsSite, pod: str) -> str:
    return next(item["status"] for item in site.pods() if item["id"] == pod)


def graphql(site: PodsSite, query: str, variables: Any = None, path: str = "/graphql") -> tuple[int, Any]:
    return site.send("POST", path, {"query": query, "variables": variables})


def test_a_pod_from_its_creation_to_its_end(site: PodsSite, tmp_path: Path) -> None:
    pod = created(site, body(tmp_path, env={"GREETING": "hello"}, disk=30))
    until(lambda: status_of(site, pod) == "RUNNING")
    _, told = site.send("GET", f"/v2/pods/{pod}")
    assert (told["cost"], told["gpu"], told["disk"]) == (0.17, {"id": A4000, "count": 1}, 30)
    assert told["actions"] == ["stop", "restart", "terminate"]
    assert told["runtime"]["uptime"] >= 0
    until((tmp_path / "begun").exists)
    environment = eval((tmp_path / "environment").read_text())  # noqa: S307 (our own program wrote it)
    assert environment["GREETING"] == "hello"
    assert (environment["RUNPOD_POD_ID"], environment["RUNPOD_GPU_COUNT"]) == (pod, "1")
    assert site.send("POST", f"/v2/pods/{pod}/action", {"action": "stop"})[0] == 200
    until(lambda: status_of(site, pod) == "EXITED")
    assert (tmp_path / "told").exists()
    _, told = site.send("GET", f"/v2/pods/{pod}")
    assert (told["cost"], told["actions"]) == (0.0, ["start", "terminate"])
    assert site.send("POST", f"/v2/pods/{pod}/action", {"action": "stop"})[0] == 409
    assert site.send("POST", f"/v2/pods/{pod}/action", {"action": "start"})[0] == 200
    until(lambda: status_of(site, pod) == "RUNNING")
    assert site.send("DELETE", f"/v2/pods/{pod}") == (204, None)
    assert site.send("GET", f"/v2/pods/{pod}")[0] == 404
    assert site.send("GET", "/v2/pods") == (200, {"pods": []})
    until(lambda: status_of(site, pod) == "TERMINATED")


@pytest.mark.parametrize(
    ("document", "status", "says"),
    [
        ({"name": "x", "image": "i", "gpu": {"id": A40}, "bogus": 1}, 422, "additional properties 'bogus' not allowed"),
        ({"image": "i", "gpu": {"id": A40}}, 422, "missing property 'name'"),
        ({"name": "x", "gpu": {"id": A40}}, 422, "missing property 'image'"),
        ({"name": "x", "image": "i", "gpu": {"count": 1}}, 422, "missing property 'id'"),
        ({"name": "x", "image": "i", "gpu": {"id": A40}, "disk": 0}, 422, "$.disk"),
        ({"name": "x", "image": "i", "gpu": {"id": A40}, "env": {"a": 1}}, 422, "$.env"),
        ({"name": "x", "image": "i", "gpu": {"id": A40}, "cloud": "ALL"}, 422, "$.cloud"),
        ({"name": "x", "image": "i"}, 400, "exactly one of gpu or cpu"),
        ({"name": "x", "image": "i", "gpu": {"id": "none such"}}, 400, "unknown GPU type"),
        ({"name": "x", "image": "i", "gpu": {"id": A40}, "templateId": "t"}, 400, "not emulated"),
    ],
)
def test_what_is_no_pod_is_refused_as_a_problem(site: PodsSite, document: Any, status: int, says: str) -> None:
    code, problem = site.send("POST", "/v2/pods", document)
    assert code == problem["status"] == status
    assert says in json.dumps(problem)
    assert site.pods() == []


def test_without_capacity_the_answer_is_400_with_the_known_sentence(site: PodsSite) -> None:
    created(site, body(gpu={"id": A40}))
    status, problem = site.send("POST", "/v2/pods", body(gpu={"id": A40}))
    assert (status, problem["detail"]) == (400, NO_CAPACITY)


def test_a_stopped_pod_whose_host_is_full_cannot_start(site: PodsSite) -> None:
    pod = created(site, body(gpu={"id": A40}))
    site.send("POST", f"/v2/pods/{pod}/action", {"action": "stop"})
    until(lambda: status_of(site, pod) == "EXITED")
    created(site, body(gpu={"id": A40}))
    status, problem = site.send("POST", f"/v2/pods/{pod}/action", {"action": "start"})
    assert (status, problem["detail"]) == (400, HOST_FULL)


@pytest.mark.parametrize(("key", "status"), [("", 401), ("key", 401), ("Bearer wrong", 401), ("Bearer key", 200)])
def test_rest_wants_a_bearer(site: PodsSite, key: str, status: int) -> None:
    assert site.send("GET", "/v2/pods", key=key)[0] == status


def test_graphql_takes_the_key_in_the_query_too(site: PodsSite) -> None:
    query = {"query": "{ myself { id } }"}
    assert site.send("POST", "/graphql?api_key=key", query, key="")[0] == 200
    assert site.send("POST", "/graphql?api_key=wrong", query, key="")[0] == 401


def test_a_pod_s_own_key_is_for_itself(site: PodsSite, tmp_path: Path) -> None:
    pod, other = created(site, body(tmp_path)), created(site, body())
    until((tmp_path / "begun").exists)
    own = eval((tmp_path / "environment").read_text())["RUNPOD_API_KEY"]  # noqa: S307
    assert site.send("GET", "/v2/pods", key=f"Bearer {own}")[0] == 403
    assert site.send("DELETE", f"/v2/pods/{other}", key=f"Bearer {own}")[0] == 403
    assert site.send("DELETE", f"/v2/pods/{pod}", key=f"Bearer {own}")[0] == 204


INLINE = """mutation { podRentInterruptable(input: {bidPerGpu: 0.1, cloudType: SECURE, gpuCount: 1, volumeInGb: 40,
  containerDiskInGb: 40, minVcpuCount: 2, minMemoryInGb: 15, gpuTypeId: "NVIDIA RTX A4000", name: "spot",
  imageName: "i", dockerArgs: "", ports: "8888/http", volumeMountPath: "/workspace", env: [{key: "K", value: "v"}]})
  { id imageName env machineId machine { podHostId } } }"""


def test_graphql_rents_for_a_bid_and_tells_of_it(site: PodsSite) -> None:
    status, answer = graphql(site, INLINE)
    pod = answer["data"]["podRentInterruptable"]
    assert (status, pod["env"]) == (200, ["K=v"])
    until(lambda: status_of(site, pod["id"]) == "RUNNING")
    _, answer = graphql(site, f'{{ pod(input: {{podId: "{pod["id"]}"}}) {{ desiredStatus costPerHr }} }}')
    assert answer == {"data": {"pod": {"desiredStatus": "RUNNING", "costPerHr": 0.1}}}
    status, answer = graphql(site, INLINE.replace("0.1,", "0.05,"))
    assert (status, answer["errors"][0]["message"]) == (200, NO_CAPACITY)
    assert graphql(site, f'mutation {{ podTerminate(input: {{podId: "{pod["id"]}"}}) }}')[1] == {
        "data": {"podTerminate": None}
    }
    until(lambda: status_of(site, pod["id"]) == "TERMINATED")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("{ nothing { id } }", 'Cannot query field "nothing" on type "Query"'),
        ("{ myself { nothing } }", 'Cannot query field "nothing"'),
        ("{ myself }", "must have a selection"),
        ("mutation M($input: PodFindAndDeployInterruptableInput!) { podStop(input: $input) { id } }", "Unknown type"),
        ("{", "Syntax Error"),
    ],
)
def test_a_document_that_does_not_fit_is_400(site: PodsSite, query: str, says: str) -> None:
    status, answer = graphql(site, query)
    assert status == 400
    assert says in answer["errors"][0]["message"]


def test_when_spot_is_gone_its_mutations_are_unknown_and_prices_empty(site: PodsSite) -> None:
    assert site.send("POST", "/emulator/switches", {"spot": "gone"})[0] == 200
    status, answer = graphql(site, INLINE)
    assert (status, site.pods()) == (400, [])
    assert answer["errors"][0]["message"] == 'Cannot query field "podRentInterruptable" on type "Mutation".'
    _, answer = graphql(site, "{ gpuTypes { id lowestPrice(input: {gpuCount: 1}) { minimumBidPrice } } }")
    assert [item["lowestPrice"]["minimumBidPrice"] for item in answer["data"]["gpuTypes"]] == [None, None]


@pytest.mark.parametrize("state", ["EXITED", "TERMINATED"])
def test_an_outbid_pod_is_told_and_then_killed(tmp_path: Path, state: str) -> None:
    with PodsSite(grace_seconds=0.3) as site:
        site.send("POST", "/emulator/switches", {"outbid": state})
        args = shlex.join([sys.executable, "-c", PROGRAM, str(tmp_path), "stubborn"])
        variables = {"input": {"bidPerGpu": 0.1, "gpuTypeId": A4000, "name": "s", "imageName": "i", "dockerArgs": args}}
        query = "mutation R($input: PodRentInterruptableInput!) { podRentInterruptable(input: $input) { id } }"
        pod = graphql(site, query, variables)[1]["data"]["podRentInterruptable"]["id"]
        until((tmp_path / "begun").exists)
        site.strike("s", "outbid")
        until(lambda: status_of(site, pod) == state)
        assert (tmp_path / "told").exists()
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "begun").read_text()), 0)
        assert next(item for item in site.pods() if item["id"] == pod)["lastStatusChange"].startswith("Outbid: ")


def test_only_what_is_bid_for_can_be_outbid(site: PodsSite) -> None:
    created(site, body())
    assert site.send("POST", "/emulator/pods/x", {"event": "outbid"})[0] == 409
    assert site.send("POST", "/emulator/pods/x", {"event": "bogus"})[0] == 400
    assert site.send("POST", "/emulator/pods/nobody", {"event": "kill"})[0] == 404


@pytest.mark.parametrize(("switch", "status"), [("restarts", "RUNNING"), ("exits", "EXITED")])
def test_what_a_host_does_when_a_program_ends(site: PodsSite, tmp_path: Path, switch: str, status: str) -> None:
    site.send("POST", "/emulator/switches", {"container_exit": switch})
    pod = created(site, body(tmp_path))
    until((tmp_path / "begun").exists)
    first = (tmp_path / "begun").read_text()
    site.strike("x", "kill")
    if switch == "restarts":
        until(lambda: (tmp_path / "begun").read_text() not in {"", first})
        assert site.pods()[0]["restarts"] >= 1
    until(lambda: status_of(site, pod) == status)


def test_a_machine_that_dies_gives_no_notice(site: PodsSite, tmp_path: Path) -> None:
    pod = created(site, body(tmp_path))
    until((tmp_path / "begun").exists)
    site.strike("x", "lose_machine")
    until(lambda: status_of(site, pod) == "EXITED")
    assert not (tmp_path / "told").exists()
    assert site.pods()[0]["lastStatusChange"].startswith("Exited by Runpod")


def test_a_pod_that_never_starts_costs_all_the_same_and_can_be_ended(site: PodsSite) -> None:
    site.plan("never_starts")
    pod = created(site, body())
    until(lambda: status_of(site, pod) == "STARTING")
    until(lambda: site.pods()[0]["billed_seconds"] >= 1)
    site.send("DELETE", f"/v2/pods/{pod}")
    until(lambda: status_of(site, pod) == "TERMINATED")


def test_a_host_without_a_gpu(site: PodsSite, tmp_path: Path) -> None:
    site.plan("no_gpu:gpu=" + A4000)
    created(site, body(tmp_path))
    until((tmp_path / "begun").exists)
    environment = eval((tmp_path / "environment").read_text())  # noqa: S307
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["RUNPOD_GPU_COUNT"]) == ("-1", "0")


def test_a_program_that_cannot_be_run_makes_an_error(site: PodsSite) -> None:
    pod = created(site, body(args="/no/such/program"))
    until(lambda: status_of(site, pod) in {"ERROR", "RUNNING"})
    site.send("DELETE", f"/v2/pods/{pod}")
    until(lambda: status_of(site, pod) == "TERMINATED")


def test_faults_on_the_wire_strike_as_often_as_planned(site: PodsSite) -> None:
    site.plan("status:route=list,code=429,times=2")
    assert [site.send("GET", "/v2/pods")[0] for _ in range(3)] == [429, 429, 200]
    with pytest.raises(AssertionError):
        site.plan("bogus")
    assert site.send("DELETE", "/emulator/faults") == (200, {"faults": []})


def test_pods_are_billed_by_the_second(site: PodsSite) -> None:
    created(site, body(disk=100))
    until(lambda: site.pods()[0]["billed_seconds"] >= 2)
    told = site.send("GET", "/emulator/state")[1]
    seconds = told["spend"]["billed_seconds"]
    assert told["spend"]["dollars"] == pytest.approx(seconds * (0.17 + 100 * 0.10 / 730) / 3600, abs=1e-6)


def test_stopping_the_emulator_leaves_no_process(tmp_path: Path) -> None:
    with PodsSite(grace_seconds=0.3) as site:
        created(site, body(tmp_path, "stubborn"))
        until((tmp_path / "begun").exists)
        pid = int((tmp_path / "begun").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def test_the_market_can_be_changed_and_nothing_else_of_it(site: PodsSite) -> None:
    assert site.send("POST", "/emulator/market", {"gpu": A40, "capacity": 0})[0] == 200
    assert site.send("POST", "/v2/pods", body(gpu={"id": A40}))[0] == 400
    assert site.send("POST", "/emulator/market", {"gpu": A40, "held": {}})[0] == 400
    assert site.send("POST", "/emulator/market", {"gpu": "none"})[0] == 400
    assert site.send("POST", "/emulator/rivals", {"gpu": A40, "bid": 1})[0] == 409
    assert site.send("POST", "/emulator/switches", {"spot": "bogus"})[0] == 400
