"""The client's side of RunPod: states, saved files, and how its failures are told."""

from __future__ import annotations

import base64
import hashlib
import resource
from pathlib import Path
from typing import Any

import pytest

from comfypod.cloud.jobs import JobState, JobStatus
from comfypod.cloud.result import Result, ResultFile
from comfypod.cloud.saving import save_artifacts
from comfypod.errors import (
    CloudUnavailable,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    ProtocolViolation,
    ResultOnVolume,
    SavingFailed,
)


def saved(output: dict[str, Any], folder: Path) -> list[Path]:
    return list(save_artifacts(output, folder))


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
        ({"status": "COMPLETED", "output": {}}, JobFailed),
        ({"status": "COMPLETED", "output": ["a"]}, ProtocolViolation),
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


def test_a_result_that_runpod_dropped_is_told() -> None:
    with pytest.raises(JobFailed, match=r"drops a result of more than 10 MB.*bucket"):
        JobStatus.parse({"id": "a", "status": "COMPLETED"}).result()


def test_numbers_and_texts_that_are_none_are_not_taken_for_such() -> None:
    odd = {"value": "half", "step": True, "steps": float("nan"), "eta_seconds": "soon", "message": 5, "preview": []}
    document = {"delayTime": "5", "executionTime": [], "workerId": 7, "retries": None, "output": odd}
    status = JobStatus.parse({"id": "a", "status": "RUNNING", **document})
    assert (status.delay_ms, status.execution_ms, status.worker_id, status.retries) == (None, None, None, 0)
    progress = status.progress
    assert progress is not None
    assert (progress.value, progress.step, progress.steps, progress.eta_seconds) == (None, None, None, None)
    assert (progress.message, progress.preview) == (None, None)


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_is_final_or_not(state: JobState) -> None:
    assert state.is_final == (state.value not in ("IN_QUEUE", "IN_PROGRESS", "RUNNING"))


def artifact(name: str, content: bytes = b"content", **fields: Any) -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"filename": name, "subfolder": "", "type": "base64", "data": data, **fields}


def test_artifacts_are_saved_whole(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    output = {"images": [artifact("a.png", sha256=digest)], "files": [artifact("b.mp4", subfolder="video")]}
    assert saved(output, tmp_path / "new") == [tmp_path / "new/a.png", tmp_path / "new/video/b.mp4"]
    assert (tmp_path / "new/a.png").read_bytes() == b"content"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "video"]


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/etc/evil", "..\\..\\evil", "C:\\evil", "a/../../evil", "...", "", ".bashrc", "a\n/etc/passwd"],
)
def test_a_name_never_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "outputs"
    (path,) = saved({"images": [artifact(name)]}, folder)
    assert path.resolve().is_relative_to(folder)
    assert path.is_file()
    assert not path.name.startswith(".")
    assert str(path).isprintable()


@pytest.mark.parametrize(
    "damaged",
    [
        {**artifact("a"), "data": "%%%"},
        artifact("a", sha256="0" * 64),
        {**artifact("a"), "data": "é"},
        {"filename": "a", "type": "hologram"},
        {"filename": "a", "type": "s3_url", "data": "http://[no-address"},
    ],
)
def test_a_damaged_artifact_is_refused(damaged: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ProtocolViolation):
        saved({"images": [damaged]}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("images", [5, "a.png", {"0": artifact("a")}, ["a.png"]])
def test_artifacts_that_are_none_are_refused(images: Any, tmp_path: Path) -> None:
    with pytest.raises(ProtocolViolation):
        saved({"images": images}, tmp_path)


def test_a_disk_that_is_full_is_told_and_leaves_no_half_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses to write more
    try:
        with pytest.raises(SavingFailed, match=r"b\.png cannot be written"):
            saved({"images": [artifact("a.png"), artifact("b.png", bytes(2000))]}, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way", encoding="utf-8")
    with pytest.raises(SavingFailed, match="choose another folder"):
        saved({"images": [artifact("a.png")]}, tmp_path / "outputs")


def test_a_result_by_name() -> None:
    output = {
        "images": [artifact("a.png", node_id="9", content_type="image/png", size_bytes=7)],
        "files": [{"filename": "b.mp4", "type": "s3_url", "data": "https://bucket/b.mp4?signature"}],
        "texts": [{"node_id": "1", "key": "text", "value": "a caption"}],
        "warnings": ["careful"],
        "seeds": {"seed": 5},
    }
    result = Result(output)
    (image,), (video,) = result.images, result.files
    assert (image.filename, image.node_id, image.content_type, image.size_bytes) == ("a.png", "9", "image/png", 7)
    assert (image.read(), image.url, video.url) == (b"content", None, "https://bucket/b.mp4?signature")
    assert (result.texts, result.warnings, result.seeds) == (["a caption"], ["careful"], {"seed": 5})
    assert result == output
    assert "signature" not in repr(result)
    empty = Result({"images": None, "warnings": "odd"})
    assert (list(empty.images), list(empty.warnings), empty.seeds) == ([], [], {})


def test_a_file_on_the_volume_cannot_be_read_and_its_path_is_told(tmp_path: Path) -> None:
    left = {"filename": "a.png", "type": "path", "data": "/runpod-volume/outputs/job/9/a.png"}
    with pytest.raises(ResultOnVolume, match=r"/runpod-volume/outputs/job/9/a\.png lies on"):
        ResultFile(left).read()
    assert saved({"images": [left]}, tmp_path) == [Path(left["data"])]


def test_an_address_that_does_not_yield_the_file_is_told_without_its_signature(tmp_path: Path) -> None:
    gone = {"filename": "a.png", "type": "s3_url", "data": "http://127.0.0.1:9/a.png?signature=s3cret"}
    with pytest.raises(CloudUnavailable) as caught:
        Result({"images": [gone]}).save(tmp_path)
    assert "s3cret" not in str(caught.value)
    assert not list(tmp_path.iterdir())
