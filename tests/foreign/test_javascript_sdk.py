"""The local RunPod as users of npm's runpod-sdk 1.1.2 meet it, under Node.js."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign.clients import ClientError, ClientProcess, EndpointAddress
from tests.foreign.contract import ClientContract
from tests.foreign.node import NODE, installed_modules
from tests.foreign.snippets import picture_of, snippet

PACKAGE = Path(__file__).with_name("javascript")
BUILD = Path(__file__).parents[2] / "build" / "javascript"


def test_the_lock_file_names_no_registry() -> None:
    text = (PACKAGE / "package-lock.json").read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"]*", text) == []
    packages = json.loads(text)["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which scripts find runpod-sdk."""
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "node_modules").symlink_to(installed_modules(PACKAGE, BUILD))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[ClientProcess]:
    script = shutil.copy(PACKAGE / "client.mjs", folder)
    with ClientProcess([str(NODE), str(script)], folder) as client:
        yield client


class TestRunpodSdk(ClientContract):
    def test_run_sync_tells_how_it_ended(self, client: ClientProcess) -> None:
        answer = client.call("whole_run_sync", {"input": {"text": "now"}}, 20_000)
        outcome = {name: answer[name] for name in ("status", "started", "completed", "succeeded", "output")}
        assert outcome == {
            "status": "COMPLETED",
            "started": True,
            "completed": True,
            "succeeded": True,
            "output": {"echo": {"text": "now"}},
        }

    def test_run_sync_goes_on_waiting_with_status_sync(self, client: ClientProcess, tmp_path: Path) -> None:
        """The answer of /runsync is held for one second here, the job runs for longer."""
        note = tmp_path / "note"
        body = {"input": {"do": "hold", "note": str(note)}, "policy": {"executionTimeout": 2000}}
        answer = client.call("whole_run_sync", body, 1_500)
        assert (answer["status"], answer["completed"], answer["succeeded"]) == ("TIMED_OUT", True, False)

    def test_a_failed_job_has_not_succeeded(self, client: ClientProcess) -> None:
        answer = client.call("whole_run_sync", {"input": {"do": "raise"}}, 20_000)
        assert (answer["status"], answer["completed"], answer["succeeded"]) == ("FAILED", True, False)
        assert "no such checkpoint" in answer["error"]

    def test_a_wrong_key_raises(self, client: ClientProcess, endpoint: EndpointAddress) -> None:
        client.use(endpoint._replace(api_key="rpa_wrong"))
        with pytest.raises(ClientError, match="401"):
            client.health()

    def test_the_how_to_makes_a_picture(self, picture_endpoint: EndpointAddress, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "node_modules").symlink_to(folder / "node_modules")
        (tmp_path / "picture.mjs").write_text(snippet("JavaScript"), encoding="utf-8")
        assert picture_of([str(NODE), "picture.mjs"], picture_endpoint, tmp_path) == (64, 64)
