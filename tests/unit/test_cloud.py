"""The client's side of RunPod: states, saved files, and how its failures are told."""

from __future__ import annotations

import base64
import hashlib
import json
import resource
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from comfypod.cloud.client import Client
from comfypod.cloud.endpoint import Endpoint
from comfypod.cloud.jobs import JobState, JobStatus
from comfypod.cloud.saving import save_artifacts
from comfypod.errors import (
    AuthenticationFailed,
    CloudUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    EndpointNotFound,
    InvalidJobInput,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobTimedOut,
    ProtocolViolation,
    RequestRefused,
    SavingFailed,
)


def test_a_running_job_shows_its_progress_and_an_ended_one_its_result() -> None:
    running = JobStatus.parse({"id": "a", "status": "IN_PROGRESS", "output": {"value": 0.5}})
    assert running.progress == {"value": 0.5}
    ended = JobStatus.parse({"id": "a", "status": "COMPLETED", "output": {"value": 1}, "delayTime": 5})
    assert ended.progress is None
    assert ended.result() == {"value": 1}
    assert ended.delay_ms == 5


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"status": "CANCELLED"}, JobCancelled),
        ({"status": "TIMED_OUT"}, JobTimedOut),
        ({"status": "FAILED", "error": "no"}, JobFailed),
        ({"status": "FAILED"}, JobFailed),
        ({"status": "COMPLETED"}, JobFailed),
    ],
)
def test_a_job_without_a_result_raises(document: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        JobStatus.parse({"id": "a", **document}).result()


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"id": "a", "status": "DANCING"}, {"status": "FAILED"}, {"id": "../../a", "status": "FAILED"}],
)
def test_an_answer_that_is_none_is_told(document: Any) -> None:
    with pytest.raises(ProtocolViolation):
        JobStatus.parse(document)


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_is_final_or_not(state: JobState) -> None:
    assert state.is_final == (state.value not in ("IN_QUEUE", "IN_PROGRESS", "RUNNING"))


def artifact(name: str, content: bytes = b"content", **fields: Any) -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"filename": name, "subfolder": "", "type": "base64", "data": data, **fields}


def test_artifacts_are_saved_whole(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    output = {"images": [artifact("a.png", sha256=digest)], "files": [artifact("b.mp4", subfolder="video")]}
    assert save_artifacts(output, tmp_path / "new") == [tmp_path / "new/a.png", tmp_path / "new/video/b.mp4"]
    assert (tmp_path / "new/a.png").read_bytes() == b"content"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "video"]


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/evil", "..\\..\\evil", "C:\\evil", "a/../../evil", "...", "", ".bashrc"]
)
def test_a_name_never_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "outputs"
    (path,) = save_artifacts({"images": [artifact(name)]}, folder)
    assert path.resolve().is_relative_to(folder)
    assert path.is_file()
    assert not path.name.startswith(".")


@pytest.mark.parametrize(
    "damaged",
    [
        {**artifact("a"), "data": "%%%"},
        artifact("a", sha256="0" * 64),
        {"filename": "a", "type": "hologram"},
    ],
)
def test_a_damaged_artifact_is_refused(damaged: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ProtocolViolation):
        save_artifacts({"images": [damaged]}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_told_and_leaves_no_half_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses to write more
    try:
        with pytest.raises(SavingFailed, match=r"b\.png cannot be written"):
            save_artifacts({"images": [artifact("a.png"), artifact("b.png", bytes(2000))]}, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way", encoding="utf-8")
    with pytest.raises(SavingFailed, match="choose another folder"):
        save_artifacts({"images": [artifact("a.png")]}, tmp_path / "outputs")


class PlannedAnswers(BaseHTTPRequestHandler):
    """Answers the planned statuses in order, and remembers what was asked."""

    plan: ClassVar[list[tuple[int, Any]]] = []
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(f"{self.command} {self.path}")
        status, document = self.plan.pop(0)
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 (the base class's naming)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def platform() -> Iterator[type[PlannedAnswers]]:
    PlannedAnswers.plan, PlannedAnswers.asked = [], []
    yield PlannedAnswers
    assert not PlannedAnswers.plan, "answers were planned that nobody asked for"


@pytest.fixture
def base_url(platform: type[PlannedAnswers]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), platform)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v2"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def endpoint(base_url: str) -> Iterator[Endpoint]:
    endpoint = Endpoint("ep", "key", base_url, patience_seconds=0.5)
    yield endpoint
    endpoint.close()


QUEUED = {"id": "job-1", "status": "IN_QUEUE"}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationFailed),
        (404, EndpointNotFound),
        (400, RequestRefused),
        (413, RequestRefused),
        (500, CloudUnavailable),
    ],
)
def test_a_refused_job_is_told_and_posted_once(
    endpoint: Endpoint, platform: type[PlannedAnswers], status: int, error: type[Exception]
) -> None:
    platform.plan += [(status, {})]
    with pytest.raises(error):
        endpoint.run({"input": {"prompt": "x"}})
    assert platform.asked == ["POST /v2/ep/run"]


def test_a_busy_platform_is_asked_again(endpoint: Endpoint, platform: type[PlannedAnswers]) -> None:
    platform.plan += [(429, {}), (200, QUEUED), (502, {}), (200, {**QUEUED, "status": "COMPLETED"})]
    assert endpoint.run({"input": {"prompt": "x"}}).state is JobState.IN_QUEUE
    assert endpoint.status("job-1").state is JobState.COMPLETED


def test_a_job_that_is_not_there_is_told(endpoint: Endpoint, platform: type[PlannedAnswers]) -> None:
    platform.plan += [(404, {}), (404, {})]
    with pytest.raises(JobNotFound):
        endpoint.status("job-1")
    with pytest.raises(JobNotFound):
        endpoint.cancel("job-1")


def test_the_health_of_an_endpoint(endpoint: Endpoint, platform: type[PlannedAnswers]) -> None:
    health = {"jobs": {"inQueue": 1}, "workers": {"running": 2}}
    platform.plan += [(503, {}), (200, health), (404, {})]
    assert endpoint.health() == health
    with pytest.raises(EndpointNotFound):
        endpoint.health()


def test_a_platform_that_is_away_is_told_in_the_end() -> None:
    endpoint = Endpoint("ep", "key", "http://127.0.0.1:9/v2", patience_seconds=0.1)
    with pytest.raises(CloudUnavailable):
        endpoint.status("job-1")
    endpoint.close()


def test_an_answer_that_is_no_json_object_is_told(endpoint: Endpoint, platform: type[PlannedAnswers]) -> None:
    platform.plan += [(200, ["IN_QUEUE"])]
    with pytest.raises(ProtocolViolation):
        endpoint.status("job-1")


def test_a_base_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Endpoint("ep", "key", "localhost:8000")


def test_a_job_is_followed_to_its_end(base_url: str, platform: type[PlannedAnswers]) -> None:
    running = {"id": "job-1", "status": "IN_PROGRESS", "output": {"value": 0.5}}
    platform.plan += [
        (200, QUEUED),
        (200, QUEUED),
        (200, running),
        (200, {**QUEUED, "status": "COMPLETED", "output": {"a": 1}}),
    ]
    seen: list[JobState] = []
    with Client("ep", "key", base_url) as client:
        job = client.submit({"prompt": "x"})
        assert job.wait(lambda status: seen.append(status.state)) == {"a": 1}
    assert seen == [JobState.IN_QUEUE, JobState.IN_PROGRESS, JobState.COMPLETED]


def test_waiting_has_an_end(base_url: str, platform: type[PlannedAnswers]) -> None:
    platform.plan += [(200, QUEUED), (200, QUEUED)]
    with Client("ep", "key", base_url) as client, pytest.raises(DeadlineExceeded):
        client.submit({"prompt": "x"}).wait(timeout_seconds=0)


def test_an_empty_input_is_never_sent(base_url: str, platform: type[PlannedAnswers]) -> None:
    with Client("ep", "key", base_url) as client, pytest.raises(InvalidJobInput):
        client.submit({})
    assert platform.asked == []
