"""``status``, ``wait``, ``cancel``, ``health``, ``run --detach``, and the exit codes of all of them."""

from __future__ import annotations

import json
import os
import resource
import socket

import pytest

from comfypod.cli.exit_codes import ExitCode
from tests.cli.conftest import HOLD, CommandLine, ScriptedEndpoint, artifact, failure, success, until, update


def detached(comfypod: CommandLine) -> str:
    ended = comfypod("run", "--prompt", "a fox", "--detach", "--quiet")
    assert (ended.code, ended.stderr) == (0, "")
    (job_id,) = ended.lines
    return job_id


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def limit_files() -> None:
    """The kernel refuses to write more into one file, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def test_detach_prints_the_id_and_wait_brings_the_files(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.5, "half"), success(artifact(b"a picture")))
    submitted = comfypod("run", "--prompt", "a fox", "--detach")
    assert submitted.code == 0
    (job_id,) = submitted.lines
    assert f"comfypod wait {job_id}" in submitted.stderr
    ended = comfypod("wait", job_id, "--output", "here")
    assert ended.code == 0, ended.stderr
    (path,) = ended.lines
    assert path == f"here/{job_id}/fox_00001_.png"
    assert (comfypod.folder / path).read_bytes() == b"a picture"


def test_the_way_on_names_an_endpoint_that_the_environment_does_not(
    comfypod: CommandLine, endpoint: ScriptedEndpoint
) -> None:
    url = comfypod.environment.pop("RUNPOD_ENDPOINT_BASE_URL")
    del comfypod.environment["RUNPOD_ENDPOINT_ID"]
    ended = comfypod("run", "--prompt", "a fox", "--detach", "--endpoint", "local", "--base-url", url)
    assert ended.code == 0, ended.stderr
    arguments = ended.stderr.rpartition("comfypod ")[2].split()
    assert comfypod(*arguments).code == 0  # as it says


def test_detach_and_wait_in_json(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    (submitted,) = comfypod("run", "--prompt", "a fox", "--detach", "--json").events
    job_id = submitted["job_id"]
    assert submitted == {"event": "submitted", "job_id": job_id, "status": "IN_QUEUE", "detached": True}
    events = comfypod("wait", job_id, "--json").events
    assert [event["event"] for event in events if event["event"] != "progress"] == ["result", "saved"]


def test_status_of_a_running_job(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.42, "KSampler 8/20"), HOLD)
    job_id = detached(comfypod)
    until(lambda: "output" in endpoint.call("GET", f"/status/{job_id}"), "its progress")
    ended = comfypod("status", job_id)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{job_id}  IN_PROGRESS  42%  Running  KSampler 8/20")
    (event,) = comfypod("status", job_id, "--json").events
    assert (event["event"], event["job_id"], event["status"]) == ("status", job_id, "IN_PROGRESS")
    assert event["progress"]["message"] == "KSampler 8/20"
    assert comfypod("status", job_id, "--quiet").stdout == "IN_PROGRESS\n"


def test_status_of_a_failed_job_says_why_and_succeeds(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (failure("prompt_failed", "Node 3 failed"),)
    job_id = detached(comfypod)
    until(lambda: endpoint.state(job_id) == "FAILED", "its failure")
    ended = comfypod("status", job_id)
    assert ended.code == 0
    assert ended.stdout.startswith(f"{job_id}  FAILED  Node 3 failed")
    (event,) = comfypod("status", job_id, "--json").events
    assert (event["status"], event["error"], event["output"]["code"]) == ("FAILED", "Node 3 failed", "prompt_failed")


def test_cancel_of_several_jobs_goes_on_after_a_failure(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    first, second = detached(comfypod), detached(comfypod)
    ended = comfypod("cancel", first, "unknown", second, "--json")
    assert ended.code == 1
    assert ended.stderr.startswith("job_not_found: RunPod does not know job unknown")
    cancelled, error, also_cancelled = ended.events
    assert cancelled == {"event": "cancelled", "job_id": first, "status": "CANCELLED"}
    assert (error["event"], error["job_id"], error["code"]) == ("error", "unknown", "job_not_found")
    assert also_cancelled["job_id"] == second
    assert (endpoint.state(first), endpoint.state(second)) == ("CANCELLED", "CANCELLED")


def test_cancel_of_several_jobs_goes_on_where_nobody_reads(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    first, second = detached(comfypod), detached(comfypod)
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        ended = comfypod(
            "cancel", first, "unknown", second, "--json", preexec=lambda: os.dup2(full.fileno(), 1) and None
        )
    assert ended.code == 1
    assert (endpoint.state(first), endpoint.state(second)) == ("CANCELLED", "CANCELLED")


def test_cancel_for_a_person(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    job_id = detached(comfypod)
    ended = comfypod("cancel", job_id)
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", f"Job {job_id}: CANCELLED\n")


def test_health_counts_jobs_and_workers(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    job_id = detached(comfypod)
    until(lambda: endpoint.state(job_id) == "IN_PROGRESS", "its start")
    ended = comfypod("health")
    assert ended.code == 0
    jobs, workers = ended.lines
    assert jobs.startswith("Jobs: ")
    assert "1 inProgress" in jobs
    assert workers.startswith("Workers: ")
    (event,) = comfypod("health", "--json").events
    assert (event["event"], event["jobs"]["inProgress"]) == ("health", 1)
    assert "workers" in event


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("prompt_failed", ExitCode.JOB_FAILED),
        ("invalid_job_input", ExitCode.JOB_FAILED),
        ("a_code_of_tomorrow", ExitCode.JOB_FAILED),
        ("deadline_exceeded", ExitCode.TIMED_OUT),
    ],
)
def test_a_job_that_fails_has_the_workers_code_and_sentence(
    comfypod: CommandLine, endpoint: ScriptedEndpoint, code: str, exit_code: ExitCode
) -> None:
    endpoint.script = (failure(code, "It went wrong"),)
    ended = comfypod("run", "--prompt", "a fox", "--quiet")
    assert (ended.code, ended.stdout, ended.stderr) == (exit_code, "", f"{code}: It went wrong\n")


def test_a_job_that_somebody_cancels_is_4(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    job_id = detached(comfypod)
    process = comfypod.start("wait", job_id, "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["event"] == "progress"
    assert comfypod("cancel", job_id).code == 0
    ended = comfypod.end(process)
    assert ended.code == 4
    assert ended.events[-1] == {"event": "cancelled", "job_id": job_id, "status": "CANCELLED"}
    assert ended.stderr.startswith("job_cancelled: ")


def test_max_wait_is_5_and_leaves_the_job_alone(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    ended = comfypod("run", "--prompt", "a fox", "--max-wait", "0.5")
    assert ended.code == 5
    (job,) = [line for line in ended.stderr.splitlines() if line.startswith("Job ") and "goes on" in line]
    job_id = job.split()[1]
    assert f"comfypod wait {job_id}" in job
    assert endpoint.state(job_id) == "IN_PROGRESS"


def test_an_unknown_job_is_1(comfypod: CommandLine) -> None:
    for command in ("status", "wait", "cancel"):
        ended = comfypod(command, "unknown")
        assert (ended.code, ended.stdout) == (1, "")
        assert ended.stderr.startswith("job_not_found: RunPod does not know job unknown")  # and nothing before it


def test_an_id_that_is_none_asks_nobody(comfypod: CommandLine) -> None:
    ended = comfypod("wait", "../../health")
    assert ended.code == 1
    assert "job_not_found: " in ended.stderr


def test_no_key_is_2_and_says_what_to_set(comfypod: CommandLine) -> None:
    del comfypod.environment["RUNPOD_API_KEY"]
    ended = comfypod("run", "--prompt", "a fox")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("configuration: ")
    assert "RUNPOD_API_KEY" in ended.stderr


def test_the_key_may_stand_in_runpods_own_file(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    del comfypod.environment["RUNPOD_API_KEY"]
    (comfypod.folder / ".runpod").mkdir()
    (comfypod.folder / ".runpod" / "config.toml").write_text('[default]\napi_key = "s3cret-key"\n', encoding="utf-8")
    assert comfypod("health").code == 0


def test_a_wrong_key_is_2_and_not_shown(comfypod: CommandLine) -> None:
    ended = comfypod("run", "--prompt", "a fox", "--json", RUNPOD_API_KEY="wr0ng-key")
    assert ended.code == 2
    assert ended.stderr.startswith("authentication_failed: ")
    (event,) = ended.events
    assert (event["event"], event["code"], event["job_id"], event["exit_code"]) == (
        "error",
        "authentication_failed",
        None,
        2,
    )
    assert "wr0ng-key" not in ended.stdout + ended.stderr


def test_no_endpoint_is_2_and_names_the_ways(nowhere: CommandLine) -> None:
    ended = nowhere("run", "--prompt", "a fox", RUNPOD_API_KEY="x")
    assert ended.code == 2
    for way in ("--endpoint", "RUNPOD_ENDPOINT_ID", "--local"):
        assert way in ended.stderr


def test_another_endpoints_id_is_2(comfypod: CommandLine) -> None:
    ended = comfypod("run", "--prompt", "a fox", "--endpoint", "another")
    assert ended.code == 2
    assert "endpoint_not_found: " in ended.stderr


def test_a_refused_connection_is_1(nowhere: CommandLine) -> None:
    url = f"http://127.0.0.1:{closed_port()}/v2"
    arguments = ("--endpoint", "x", "--base-url", url, "--patience", "0.3")
    for command in (("run", "--prompt", "a fox"), ("status", "j"), ("health",)):
        ended = nowhere(*command, *arguments, RUNPOD_API_KEY="x")
        assert (ended.code, ended.stdout) == (1, "")
        assert ended.stderr.startswith(f"cloud_unavailable: {url}/x")


def test_a_full_disk_is_1_and_says_how_to_have_the_result(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (success(artifact(bytes(5000))),)
    ended = comfypod("run", "--prompt", "a fox", preexec=limit_files)
    assert ended.code == 1
    assert "saving_failed: " in ended.stderr
    (way,) = [line for line in ended.stderr.splitlines() if "30 minutes" in line]
    arguments = way.rpartition("comfypod ")[2].split()
    assert ended.stdout == ""
    assert comfypod(*arguments).code == 0  # as it says
    assert [path.stat().st_size for path in comfypod.folder.rglob("*.png")] == [5000]
