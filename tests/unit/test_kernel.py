"""Settings, deadlines, delays, logs, children."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comfypod import logs
from comfypod.child import Child
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ConfigurationError, DeadlineExceeded, PromptRejected
from comfypod.retry import backoff_seconds
from comfypod.settings import Settings

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_settings_have_defaults_and_read_the_environment() -> None:
    settings = Settings.from_environment({"JOB_TIMEOUT_SECONDS": "90", "COMFYUI_URL": " ", "PATH": "/bin"})
    assert settings.job_timeout_seconds == 90
    assert settings.comfyui_url is None


def test_every_bad_setting_is_named_and_no_value_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(
            {"JOB_TIMEOUT_SECONDS": "soon", "WORKER_CONCURRENCY": "-3", "COMFYUI_URL": "127.0.0.1:8188"}
        )
    text = str(caught.value)
    assert "COMFYUI_URL" in text
    assert "JOB_TIMEOUT_SECONDS" in text
    assert "WORKER_CONCURRENCY" in text
    assert "soon" not in text


def test_a_secret_setting_does_not_show() -> None:
    settings = Settings.from_environment({"COMFY_ORG_API_KEY": "s3cret"})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.model_dump_json()


async def test_a_deadline_ends_what_takes_too_long() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        async with Deadline.after(0.01).enforce("execute"):
            await asyncio.sleep(60)
    assert caught.value.phase == "execute"
    assert caught.value.seconds == 0.01


async def test_a_timeout_inside_is_not_taken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with Deadline.after(60).enforce("execute"):
            raise TimeoutError
    assert not isinstance(caught.value, ComfyPodError)


async def test_a_deadline_that_stands_still_leaves_what_it_had() -> None:
    deadline = Deadline.after(0.2)
    deadline.pause()
    left = deadline.remaining_seconds
    async with deadline.enforce("queue"):
        await asyncio.sleep(0.3)
        assert deadline.remaining_seconds == left
        deadline.resume()
        assert 0.1 < deadline.remaining_seconds <= left
    with pytest.raises(DeadlineExceeded):
        async with deadline.enforce("execute"):
            await asyncio.sleep(60)


async def test_a_deadline_ends_a_body_that_it_spared_while_it_stood_still() -> None:
    deadline, spared = Deadline.after(0.05), asyncio.Event()

    async def work() -> None:
        async with deadline.enforce("execute"):
            deadline.pause()
            await asyncio.sleep(0.1)
            spared.set()
            deadline.resume()
            await asyncio.sleep(60)

    with pytest.raises(DeadlineExceeded):
        await work()
    assert spared.is_set()


async def test_a_deadline_lets_cancellation_pass() -> None:
    async def wait() -> None:
        async with Deadline.after(60).enforce("execute"):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_delays_grow_to_a_limit_and_are_spread() -> None:
    delays = list(itertools.islice(backoff_seconds(first=1, factor=2, longest=8), 200))
    assert all(0 <= delay <= 8 for delay in delays)
    assert delays[0] <= 1
    assert len(set(delays)) > 100


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_line_has_the_event_its_fields_and_the_job(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings.from_environment({"LOG_FORMAT": log_format}))
    with logs.job_context("job-1", TRACE_ID):
        logs.event("something_happened", seconds=3, text="two words")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    if log_format == "json":
        record = json.loads(line)
        assert (record["event"], record["job_id"], record["seconds"]) == ("something_happened", "job-1", 3)
        assert record["trace_id"] == TRACE_ID
    else:
        assert f'something_happened job_id=job-1 trace_id={TRACE_ID} seconds=3 text="two words"' in line


@pytest.fixture(autouse=True)
def _log_as_before() -> object:
    handlers, level, propagate = logs.log.handlers[:], logs.log.level, logs.log.propagate
    yield
    logs.log.handlers[:], logs.log.propagate = handlers, propagate
    logs.log.setLevel(level)


def test_a_refusal_says_what_is_installed() -> None:
    error = PromptRejected(
        {"message": "Prompt outputs failed validation"},
        {
            "4": {
                "class_type": "CheckpointLoaderSimple",
                "errors": [
                    {
                        "type": "value_not_in_list",
                        "extra_info": {
                            "input_name": "ckpt_name",
                            "received_value": "x.safetensors",
                            "input_config": [["a.safetensors", "b.safetensors"], {}],
                        },
                    }
                ],
            }
        },
    )
    assert str(error) == (
        "ComfyUI refused the workflow: node 4 (CheckpointLoaderSimple): "
        "ckpt_name 'x.safetensors' is not available here; choose one of: a.safetensors, b.safetensors"
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ({}, "no reason was given"),
        ({"message": 5, "details": None}, "5"),
        ({"message": "Prompt has no outputs", "details": ""}, "Prompt has no outputs"),
        ({"type": "missing_node_type", "message": "Node 'X' not found.", "details": "#1"}, "install the node pack"),
    ],
)
def test_a_refusal_without_node_errors_says_what_comfyui_said(error: dict[str, str], says: str) -> None:
    assert says in str(PromptRejected(error, {}))


@pytest.mark.parametrize(
    "node_errors",
    [{"1": None}, {"1": {"errors": [None, {"type": "value_not_in_list", "extra_info": 5}]}}, {"1": {"errors": None}}],
)
def test_a_refusal_of_another_shape_still_makes_a_sentence(node_errors: dict[str, object]) -> None:
    assert str(PromptRejected({"message": "no"}, node_errors)).startswith("ComfyUI refused the workflow: ")


def test_a_child_goes_on_when_nobody_can_take_its_output() -> None:
    def full_disk(line: str) -> None:
        raise OSError(28, "No space left on device")

    # More than a pipe holds: a child that is not read would block for ever.
    child = Child([sys.executable, "-c", "for _ in range(5000): print('x' * 99)"], on_line=full_disk)
    assert child.process.wait(10) == 0
    child.stop(grace_seconds=1)
    assert child.last_lines[-1] == "x" * 99


def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started() -> None:
    script = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(grandchild.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    lines: list[str] = []
    child = Child([sys.executable, "-c", script], on_line=lines.append)
    deadline = Deadline.after(10)
    while not lines and deadline.remaining_seconds:
        time.sleep(0.01)
    child.stop(grace_seconds=0.2)
    assert child.exit_code == -signal.SIGKILL
    assert _is_gone(int(lines[0]))


def test_a_child_and_what_it_started_end_when_its_parent_is_killed() -> None:
    script = (
        "import os, sys, time\n"
        "from comfypod.child import Child\n"
        "child = Child(['/bin/sh', '-c', 'sleep 600 & echo $!; wait'], on_line=lambda line: None)\n"
        "while not child.last_lines:\n"
        "    time.sleep(0.01)\n"
        "if os.fork() == 0:\n"  # as the SDK's heartbeat, which outlives its parent for a while
        "    os.close(1)\n"
        "    time.sleep(8)\n"
        "    os._exit(0)\n"
        "print(child.process.pid, child.last_lines[0], flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert isinstance(parent.stdout, io.TextIOBase)
        pids = parent.stdout.readline().split()
        parent.kill()
    assert len(pids) == 2
    for pid in pids:
        assert _is_gone(int(pid))


def _is_gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = Deadline.after(seconds)
    while deadline.remaining_seconds:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # a zombie: only its parent's entry is left
        time.sleep(0.01)
    return False
