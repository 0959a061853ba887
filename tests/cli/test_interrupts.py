"""Ctrl-C: once, twice, while a job is submitted, and while one is only waited for."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.cli.conftest import HOLD, CommandLine, ScriptedEndpoint, until, update


@pytest.fixture
def held(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> CommandLine:
    """Commands whose jobs never end by themselves."""
    endpoint.script = (update(0.3, "KSampler 3/10"), HOLD)
    return comfypod


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """The lines of stderr up to the first with this word."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if word in line:
            return said
    pytest.fail(f"{word!r} was not said, but: {said}")


def job_of(said: str) -> str:
    return next(line.split()[1] for line in said.splitlines() if line.startswith("Job "))


def test_ctrl_c_cancels_the_job_and_says_so(held: CommandLine, endpoint: ScriptedEndpoint) -> None:
    process = held.start("run", "--prompt", "a fox")
    job_id = job_of(read_until(process, "KSampler"))
    process.send_signal(signal.SIGINT)
    ended = held.end(process)
    assert ended.code == 130
    assert f"Cancelling job {job_id}" in ended.stderr
    assert f"Job {job_id}: CANCELLED" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert endpoint.state(job_id) == "CANCELLED"


def test_ctrl_c_in_json(held: CommandLine, endpoint: ScriptedEndpoint) -> None:
    process = held.start("run", "--prompt", "a fox", "--json")
    assert process.stdout is not None
    assert any('"KSampler' in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    ended = held.end(process)
    assert ended.code == 130
    event = ended.events[-1]
    assert (event["event"], event["status"]) == ("cancelled", "CANCELLED")
    assert endpoint.state(event["job_id"]) == "CANCELLED"


def test_ctrl_c_twice_gives_up_at_once(held: CommandLine, endpoint: ScriptedEndpoint) -> None:
    process = held.start("run", "--prompt", "a fox")
    job_id = job_of(read_until(process, "KSampler"))
    endpoint.freeze()
    process.send_signal(signal.SIGINT)
    read_until(process, "Cancelling")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    ended = held.end(process)
    assert time.monotonic() - begun < 10
    assert ended.code == 130
    assert f"comfypod cancel {job_id}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_while_submitting_looks_for_the_job_and_cancels_it(
    held: CommandLine, endpoint: ScriptedEndpoint
) -> None:
    endpoint.freeze()
    process = held.start("run", "--prompt", "a fox")
    until(lambda: endpoint.has_unread_request_of(process.pid), "its request")
    process.send_signal(signal.SIGINT)
    said = read_until(process, "Interrupted while submitting")
    endpoint.thaw()
    ended = held.end(process)
    assert ended.code == 130
    job_id = next(line.split()[2] for line in ended.stderr.splitlines() if line.startswith("Cancelling job "))
    assert endpoint.state(job_id) == "CANCELLED"
    assert "Traceback" not in said + ended.stderr


def test_ctrl_c_while_waiting_leaves_the_job_alone_and_says_how_to_go_on(
    held: CommandLine, endpoint: ScriptedEndpoint
) -> None:
    (job_id,) = held("run", "--prompt", "a fox", "--detach").lines
    process = held.start("wait", job_id, "--output", "here")
    read_until(process, "KSampler")
    process.send_signal(signal.SIGINT)
    ended = held.end(process)
    assert ended.code == 130
    assert f"comfypod wait {job_id} --output here" in ended.stderr
    assert "Traceback" not in ended.stderr
    until(lambda: endpoint.state(job_id) == "IN_PROGRESS", "the job, as it was")
