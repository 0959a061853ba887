"""`comfypod up`: the whole chain by one command, killed in the middle, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

from comfypod.cli.local_bucket import free_ports
from comfypod.cloud.client import Client
from comfypod.master.engine import open_store

START_SECONDS = 60
JOBS = 4


@contextmanager
def chain(folder: Path, gateway_port: int, page_port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "comfypod", "up", "--local", "--folder", str(folder)]
    command += ["--gateway-port", str(gateway_port), "--page-port", str(page_port)]
    environment = {name: value for name, value in os.environ.items() if name != "DISCORD_TOKEN"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("ready "):
                break
        assert lines[-1] == f"ready http://127.0.0.1:{page_port}/\n", lines
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=START_SECONDS)


def master_of(process: subprocess.Popen[str]) -> psutil.Process:
    return next(
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.cmdline()[1:5] == ["-m", "comfypod", "master", "run"]
    )


def test_what_was_asked_for_is_done_although_its_master_is_killed(tmp_path: Path) -> None:
    gateway_port, page_port = free_ports(2)
    database = f"sqlite:///{tmp_path / 'master.sqlite'}"
    address = f"http://127.0.0.1:{gateway_port}/v2"
    with chain(tmp_path, gateway_port, page_port) as process:
        with closing(open_store(database)) as store:
            key = store.add_key("tester")
        client = Client("any-name", key, address)
        jobs = [client.submit(prompt=f"{number} stars", parameters={"steps": 2}) for number in range(JOBS)]
        deadline = time.monotonic() + START_SECONDS
        while not jobs[0].status().state.is_final and time.monotonic() < deadline:
            time.sleep(0.1)
        master_of(process).kill()
        assert process.wait(timeout=START_SECONDS) == 1  # it says which part has ended, and ends

    with chain(tmp_path, gateway_port, page_port):
        client = Client("any-name", key, address)
        results = [client.job(job.id).wait(timeout_seconds=START_SECONDS) for job in jobs]

    assert [len(result.images) for result in results] == [1] * JOBS
