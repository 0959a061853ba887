"""The whole of it: jobs at once for an endpoint without workers, the real SDK's workers, each with a ComfyUI."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.fleet import brings_back, emulated, run, save_picture, workflow
from comfypod.cli.top import Observer
from comfypod.cloud.client import Client
from comfypod.cloud.configuration import Connection
from comfypod.deadline import Deadline

ROOT = Path(__file__).parents[2]


@pytest.mark.fact("C4-queue-delay")
@pytest.mark.fact("C4-idle-timeout")
def test_an_endpoint_grows_to_its_maximum_does_every_job_and_shrinks_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    report = run(20, tmp_path / "{worker}.log", ["--max-workers", "3", "--idle-timeout", "2", "--cost", "0.01"])
    assert report.done == 20, "every job brought its own picture"
    assert (report.timeline[0][1], report.most_workers, report.workers_left) == (0, 3, 0)
    # The last worker may be there only when nothing is left to do.
    assert len(report.by_worker) >= 2, "and no worker did all of them"

    spend = report.states["spend"]
    assert report.seconds <= spend["billed_seconds"] <= 3 * (report.seconds + 1)
    assert spend["dollars"] == pytest.approx(spend["billed_seconds"] * 0.01)

    logs = [path.read_text(encoding="utf-8") for path in tmp_path.glob("local-*.log")]
    assert len(logs) == 3
    for pattern in (r"listens on (http://\S+)", r"--base-directory (\S+)"):
        [*found] = [set(re.findall(pattern, log)) for log in logs]
        assert all(len(values) == 1 for values in found), "one ComfyUI per worker, never restarted"
        assert len(set.union(*found)) == 3, "none shares its port or its folder with another"
    assert not [line for log in logs for line in log.splitlines() if " ERROR " in line]

    assert report.picture is not None
    save_picture(report.picture, tmp_path / "top.svg")
    assert "local&#160;emulation" in (tmp_path / "top.svg").read_text(encoding="utf-8")


@pytest.mark.fact("C4-flashboot")
def test_flashboot_revives_a_worker_with_its_comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    options = ["--max-workers", "1", "--flash-boot", "--idle-timeout", "1"]
    with emulated(tmp_path / "log", *options) as base_url, Client("local", "local", base_url) as client:
        cold = client.submit(workflow(1))
        assert brings_back(cold, 1)
        with Observer(Connection("local", "local", base_url)) as observer:
            deadline = Deadline.after(20)
            while [worker["state"] for worker in observer.look()["workers"]] != ["frozen"]:
                deadline.check("waiting for the worker to be frozen")
                time.sleep(0.05)
            warm = client.submit(workflow(2))
            assert brings_back(warm, 2), "the connections between its processes have outlived the frost"
            jobs = {job["id"]: job for job in observer.look()["recent_jobs"]}
    assert jobs[warm.id]["workerId"] == jobs[cold.id]["workerId"]
    assert jobs[warm.id]["retries"] == 0
    assert jobs[warm.id]["delayTime"] * 3 < jobs[cold.id]["delayTime"], "nothing had to boot"


def test_ctrl_c_ends_the_workers_and_says_what_was_spent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "comfypod", "emulate", "runpod", "--port", "0", "--min-workers", "1"]
    process = subprocess.Popen(
        [*command, "--log", str(log), "--cost", "0.5"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("ready http://127.0.0.1:")
        assert any("worker_started" in line for line in process.stderr)
        started = psutil.Process(process.pid).children(recursive=True)
        assert started
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    told = re.search(r"^Spent: (\d+) s of workers, \$([\d.]+); jobs: 0 completed", stderr, re.MULTILINE)
    assert told is not None
    assert int(told[1]) >= 1
    assert float(told[2]) == int(told[1]) * 0.5
    assert psutil.wait_procs(started, timeout=5)[1] == []
