"""What is sent: the input from what a program has at hand, and the body around it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from comfypod.cloud import inputs
from comfypod.cloud.inputs import LARGEST_BODY_BYTES, Policy, Submission, make_job_input
from comfypod.errors import InvalidJobInput
from comfypod.schema.job import PLAIN_KEY, JobInput

NODE = {"class_type": "SaveImage", "inputs": {}}
WORKFLOW = {"9": NODE}


def body_of(job_input: dict[str, Any], policy: Policy = Policy(), key: str | None = None) -> dict[str, Any]:  # noqa: B008
    body = json.loads(Submission.of(job_input, policy, key).body)
    assert isinstance(body, dict)
    return body


def test_a_workflow_is_a_document_a_file_or_a_name(tmp_path: Path) -> None:
    exported, page, template = (tmp_path / name for name in ("a.json", "page.json", "t.json"))
    exported.write_text(json.dumps(WORKFLOW), encoding="utf-8")
    page.write_text(json.dumps({"nodes": [], "links": []}), encoding="utf-8")
    template.write_text(json.dumps({"name": "portrait", "parameters": {}, "workflow": WORKFLOW}), encoding="utf-8")
    assert make_job_input(WORKFLOW) == {"workflow": WORKFLOW}
    assert make_job_input(exported) == make_job_input(str(exported)) == {"workflow": WORKFLOW}
    assert make_job_input(page) == {"workflow": {"nodes": [], "links": []}}
    assert make_job_input(template) == {"workflow": "portrait"}, "a template is on the worker already"
    assert make_job_input("portrait") == {"workflow": "portrait"}


def test_a_node_may_have_any_id() -> None:
    odd = {"workflow": NODE, "name": NODE, "prompt": NODE}
    assert make_job_input(odd) == {"workflow": odd}


@pytest.mark.parametrize(
    ("workflow", "says"),
    [
        ("missing.json", "missing.json cannot be read"),
        ("folder/portrait", "folder/portrait cannot be read"),
        ({"prompt": "a fox"}, "send it with submit_input"),
        ({"workflow": "portrait"}, "send it with submit_input"),
        (5, "give its document"),
    ],
)
def test_what_is_no_workflow_is_refused(workflow: Any, says: str) -> None:
    with pytest.raises(InvalidJobInput, match=says):
        make_job_input(workflow)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{broken", "is not JSON"),
        ("[]", "holds no workflow"),
        ('{"input": {"prompt": "x"}}', "is a whole job; send"),
        ('{"workflow": {"1": {}}}', "is a whole job's input"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_holds_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidJobInput, match=says):
        make_job_input(path)


def test_files_are_paths_contents_or_addresses(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"content")
    data = base64.b64encode(b"content").decode()
    by_name = {"a.png": photo, "b.png": str(photo), "c.png": b"content", "d.mp4": "https://x/d", "e": "s3://b/e"}
    assert make_job_input(prompt="x", files=by_name)["files"] == [
        {"name": "a.png", "data": data},
        {"name": "b.png", "data": data},
        {"name": "c.png", "data": data},
        {"name": "d.mp4", "url": "https://x/d"},
        {"name": "e", "url": "s3://b/e"},
    ]
    ready = {"name": "f.png", "data": data}
    assert make_job_input(prompt="x", files=[photo, str(photo), ready])["files"] == [
        {"name": "photo.png", "data": data},
        {"name": "photo.png", "data": data},
        ready,
    ]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.png": "missing.png"}, "'missing.png' cannot be read"),
        ({"a.png": "no\0name"}, "cannot be read"),
        ({"a.png": None}, "'a.png' must be a path"),
        (["https://x/a.png"], "needs the name"),
        ("photo.png", "give a list of paths"),
        (b"content", "give a list of paths"),
        (5, "give a list of paths"),
        ([5], "5 is no path"),
    ],
)
def test_what_is_no_file_is_refused(files: Any, says: str) -> None:
    with pytest.raises(InvalidJobInput, match=says):
        make_job_input(prompt="x", files=files)


def test_what_is_sent_is_what_the_worker_reads(tmp_path: Path) -> None:
    job_input = make_job_input(
        WORKFLOW,
        files={"a.png": b"content"},
        previews=True,
        parameters={"9.filename_prefix": "fox"},
        outputs={"format": "webp"},
        delivery="inline",
        timeout_seconds=60,
        allow_partial=True,
        progress={"later": 1},
    )
    request = JobInput.parse(body_of(job_input, key="order-7")["input"])
    assert (request.workflow, request.delivery, request.timeout_seconds) == (WORKFLOW, "inline", 60)
    assert (request.outputs.format, request.progress.previews, request.allow_partial) == ("webp", True, True)
    assert [(file.name, file.data) for file in request.files] == [("a.png", base64.b64encode(b"content").decode())]
    assert request.idempotency_key == "order-7"
    assert request.warnings() == ["progress.later: unknown field, ignored"]


def test_what_is_not_given_is_not_sent() -> None:
    assert make_job_input(prompt="x", parameters=None, outputs=None, allow_partial=None) == {"prompt": "x"}
    assert set(body_of({"prompt": "x"})) == {"input"}


def test_what_runpod_is_told_besides() -> None:
    policy = Policy("https://me/hook", 900, 0.5, low_priority=True, s3_config={"accessSecret": "s3cret"})
    assert body_of({"prompt": "x"}, policy) | {"input": None} == {
        "input": None,
        "webhook": "https://me/hook",
        "policy": {"executionTimeout": 900_000, "ttl": 500, "lowPriority": True},
        "s3Config": {"accessSecret": "s3cret"},
    }
    assert "s3cret" not in repr(policy)
    assert "s3cret" not in repr(Submission.of({"prompt": "x"}, policy, None))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "60"])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidJobInput, match="execution_timeout_seconds"):
        body_of({"prompt": "x"}, Policy(execution_timeout_seconds=seconds))


@pytest.mark.parametrize("job_input", [{}, None])
def test_an_empty_input_is_refused(job_input: Any) -> None:
    with pytest.raises(InvalidJobInput, match="RunPod never gives such a job to a worker"):
        body_of(job_input)
    with pytest.raises(InvalidJobInput, match="a workflow"):
        make_job_input()
    with pytest.raises(InvalidJobInput, match="a workflow"):
        make_job_input(previews=True, delivery="inline")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}, Path("a")])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidJobInput, match="is no JSON"):
        body_of({"prompt": "x", "parameters": {"seed": value}})


@pytest.mark.parametrize("key", ["two words", "a\n", "ż", "k" * 201, 5])
def test_a_key_that_is_none_is_refused(key: Any) -> None:
    with pytest.raises(InvalidJobInput, match="idempotency_key"):
        body_of({"prompt": "x"}, key=key)
    with pytest.raises(InvalidJobInput, match="idempotency_key"):
        body_of({"prompt": "x", "idempotency_key": key})


def test_more_than_runpod_takes_is_refused_with_what_to_do() -> None:
    around = len(Submission.of({"prompt": ""}, Policy(), "k").body)
    fits = Submission.of({"prompt": "x" * (LARGEST_BODY_BYTES - around)}, Policy(), "k")
    assert len(fits.body) == LARGEST_BODY_BYTES == 10_000_000
    with pytest.raises(InvalidJobInput, match=r"10,000,001 bytes .* at most 10,000,000; put large files into a bucket"):
        Submission.of({"prompt": "x" * (LARGEST_BODY_BYTES - around + 1)}, Policy(), "k")


def test_client_and_worker_take_the_same_keys() -> None:
    assert inputs._PLAIN_KEY.pattern == PLAIN_KEY
