"""Pods on this machine outlive whoever started them, and are found again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfypod.batch.providers.local import LocalProvider
from comfypod.batch.providers.processes import HeldProcess, ProcessIdentity
from comfypod.errors import ProviderUnavailable
from tests.batch.providers.conftest import local_offer
from tests.batch.providers.pods_site import until, wish

STARTER = """
import pathlib, sys
from comfypod.batch.documents import PodWish
from comfypod.batch.providers.local import LocalProvider
LocalProvider(pathlib.Path(sys.argv[1])).create(PodWish.model_validate_json(sys.argv[2]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Whose pods end with the test, however that ends."""
    yield tmp_path / "pods"
    provider = LocalProvider(tmp_path / "pods", grace_seconds=0.3)
    for pod in provider.pods():
        provider.end(pod)


def test_a_pod_outlives_its_starter_and_is_ended_by_another(folder: Path, tmp_path: Path) -> None:
    wanted = wish(tmp_path / "disk", local_offer())
    subprocess.run([sys.executable, "-c", STARTER, str(folder), wanted.model_dump_json()], check=True, timeout=60)
    until((tmp_path / "disk/begun").exists)
    other = LocalProvider(folder, grace_seconds=0.3)
    assert other.create(wanted).state == "running"
    (pod,) = other.pods("b1")
    assert (pod.state, pod.end_reason) == ("running", None)
    other.end(pod)
    (ended,) = other.pods("b1")
    assert (ended.state, ended.end_reason) == ("ended", "terminated")


def test_how_a_pod_ended_is_told(folder: Path, tmp_path: Path) -> None:
    provider = LocalProvider(folder, [local_offer()])
    provider.create(wish(tmp_path / "short", local_offer(), kind="short"))
    killed = provider.create(wish(tmp_path / "killed", local_offer(), number=1))
    until((tmp_path / "killed/begun").exists)
    os.kill(int(killed.identifier), signal.SIGKILL)
    until(lambda: all(pod.state == "ended" for pod in provider.pods()))
    assert [pod.end_reason for pod in provider.pods()] == ["exited with code 0", "killed by signal 9"]
    again = LocalProvider(folder)
    assert [pod.end_reason for pod in again.pods()] == ["exited with code 0", "killed by signal 9"]


def test_what_a_pod_started_is_ended_with_it(folder: Path, tmp_path: Path) -> None:
    child = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    provider = LocalProvider(folder, [local_offer()], grace_seconds=0.3)
    wanted = wish(tmp_path / "disk", local_offer()).model_copy(update={"command": (sys.executable, "-c", child)})
    pod = provider.create(wanted)
    pid = int(until(provider.log_file(pod).read_text))
    provider.end(pod)
    until(lambda: not _runs(pid))


def test_a_number_that_was_given_to_another_process_is_left_alone(folder: Path, tmp_path: Path) -> None:
    provider = LocalProvider(folder, [local_offer()], grace_seconds=0.3)
    pod = provider.create(wish(tmp_path / "disk", local_offer(), kind="short"))
    until(lambda: provider.pods()[0].state == "ended")
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as other:
        try:
            state = folder / pod.name / "pod.json"
            state.write_text(json.dumps({**json.loads(state.read_text()), "pid": other.pid, "end_reason": None}))
            found = LocalProvider(folder, grace_seconds=0.3)
            assert found.pods()[0].state == "ended"
            found.end(pod)
            assert other.poll() is None
        finally:
            other.kill()


def test_a_command_that_is_not_released_never_begins(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()", str(tmp_path / "begun")]
    held = HeldProcess(command, dict(os.environ), tmp_path, tmp_path / "log")
    assert held.identity.is_alive
    held.forsake()
    assert not held.identity.is_alive
    assert not (tmp_path / "begun").exists()
    assert not ProcessIdentity(os.getpid(), "another start").is_alive


def test_nothing_secret_is_written(folder: Path, tmp_path: Path) -> None:
    provider = LocalProvider(folder, [local_offer()])
    provider.end(provider.create(wish(tmp_path / "disk", local_offer())))
    assert all(b"secret" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_pod_does_not_take_itself_for_one_of_runpod(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "somebody")
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    provider = LocalProvider(folder, [local_offer()], grace_seconds=0.3)
    provider.create(wish(tmp_path / "disk", local_offer()))
    until((tmp_path / "disk/begun").exists)
    assert "RUNPOD_" not in (tmp_path / "disk/environment").read_text()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProviderUnavailable):
        LocalProvider(tmp_path / "file").create(wish(tmp_path / "disk", local_offer()))


def _runs(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
