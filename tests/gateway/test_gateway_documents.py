"""What the gateway makes of requests, and of what programs say: no server is needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from comfy_low.models import Asset as SdkAsset
from comfy_low.models import Job as SdkJob

from comfypod.errors import InvalidCursor, MissingAsset
from comfypod.gateway.assets.documents import AssetFile, asset_document, bucket_key_of, output_asset_document
from comfypod.gateway.job_documents import job_document, progress_document, status_of
from comfypod.gateway.jobs.events import Narrator
from comfypod.gateway.jobs.listing import Page, cursor_after
from comfypod.gateway.jobs.submission import JobCall
from comfypod.gateway.links import Links
from comfypod.gateway.operations.counters import Counters
from comfypod.gateway.operations.metrics import StoreFigures, metrics_text
from comfypod.gateway.operations.page import openapi_page
from comfypod.gateway.outputs import outputs_of, parse_output_id
from comfypod.gateway.runpod.documents import status_document
from comfypod.gateway.tracing import trace_id_of
from comfypod.gateway.watch import Snapshot
from comfypod.master.documents import Preview, Request
from comfypod.master.records import Asset
from comfypod.master.states import ACTIVE, ENDED, State

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
LINKS = Links("https://comfy.example")
KEY = "0" * 31 + "1"


def a_request(**fields: Any) -> Request:
    given = {
        "key": KEY,
        "tenant": "team",
        "user": "team",
        "idempotency_key": "x",
        "priority": "normal",
        "turn": 1,
        "state": "queued",
        "run": 1,
        "attempt": 0,
        "version": 1,
        "workflow_hash": "0" * 16,
        "created_at": NOW,
        "queued_at": NOW,
        **fields,
    }
    return Request(**given)


def a_file(name: str, content_type: str | None = None) -> dict[str, Any]:
    told = {"content_type": content_type} if content_type else {}
    return {"node_id": "9", "filename": name, "size_bytes": 3, "bucket_key": f"once/{KEY}/{name}", **told}


@pytest.mark.parametrize("state", [*ACTIVE, *ENDED])
def test_every_state_is_one_that_the_sdk_takes(state: State) -> None:
    error = {"code": "lost", "message": "The worker died"}
    ended_at = NOW if state in ENDED else None
    for cancelled_at in (None, NOW):
        request = a_request(state=state, error=error, cancel_requested_at=cancelled_at, ended_at=ended_at)
        SdkJob.model_validate(job_document(request, 0, LINKS))
        assert (status_of(request) == "canceling") == (cancelled_at is not None and state in ACTIVE)


def test_what_went_wrong_in_an_attempt_is_not_told_while_another_follows() -> None:
    waiting = a_request(state="waiting", attempt=1, error={"code": "lost", "message": "The worker died"})
    assert job_document(waiting, None, LINKS)["error"] is None
    assert "error" not in status_document(waiting, lambda key: (key, None))


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [
        ("a.png", "image/png", "image"),
        ("a.webm", "video/webm", "video"),
        ("a.flac", "audio/flac", "audio"),
        ("a.txt", "text/plain", "text"),
        ("a.latent", "application/octet-stream", "latent"),
        ("a.glb", "model/gltf-binary", "file"),
        ("a.safetensors", None, "file"),
        ("a.mp4", None, "video"),
    ],
)
def test_every_kind_of_file_is_an_output(name: str, content_type: str | None, kind: str) -> None:
    request = a_request(state="succeeded", output={"files": [a_file(name, content_type)]})
    (output,) = outputs_of(request)
    assert output.kind == kind
    assert parse_output_id(output.identifier) == (KEY, 0)
    SdkJob.model_validate(job_document(request, None, LINKS))
    SdkAsset.model_validate(output_asset_document(output, request, LINKS))


def test_texts_are_outputs_whatever_they_are() -> None:
    texts = [{"node_id": "1", "key": "text", "value": value} for value in ("é", {"a": 1}, None)]
    outputs = outputs_of(a_request(state="succeeded", output={"texts": texts}))
    assert [output.text for output in outputs] == ["é".encode(), b'{"a": 1}', b"null"]
    assert [output.size_bytes for output in outputs] == [2, 8, 4]


@pytest.mark.parametrize("value", [-1, 1.5, float("nan"), float("inf"), "x", None, True])
def test_progress_is_a_fraction_whatever_a_worker_says(value: Any) -> None:
    progress = progress_document(a_request(state="running", progress={"value": value, "nodes_total": "x"}))
    assert progress is not None
    assert 0 <= progress["value"] <= 1
    assert (progress["nodes_done"], progress["nodes_total"]) == (0, 0)


def test_a_story_is_told_in_its_order_and_nothing_twice() -> None:
    narrator = Narrator(LINKS)
    queued = a_request()
    running = a_request(state="running", progress={"value": 0.5, "nodes_done": 1, "nodes_total": 2})
    again = replace(running, progress={"value": 0.2, "nodes_done": 0, "nodes_total": 2})
    output = {"images": [a_file("a.png")]}
    done = a_request(state="succeeded", output=output, ended_at=NOW, progress=again.progress)
    story = [
        Snapshot(queued, 1),
        Snapshot(queued, 1),
        Snapshot(queued, 0),
        Snapshot(running, None, Preview("image/jpeg", b"x", 1)),
        Snapshot(running, None, Preview("image/jpeg", b"x", 1)),
        Snapshot(again, None, Preview("image/jpeg", b"y", 2)),
        Snapshot(done),
    ]
    told = [message for snapshot in story for message in narrator.tell(snapshot)]
    names = [name for name, _ in told]
    assert names == [
        *("status", "status", "status", "progress", "preview", "progress", "preview", "progress", "output", "status")
    ]
    values = [document["value"] for name, document in told if name == "progress"]
    assert values == [0.5, 0.5, 1.0]
    assert told[-1][1]["status"] == "succeeded"


def test_an_asset_is_one_that_the_sdk_takes() -> None:
    asset = Asset(
        identifier="x", tenant="t", hash="blake3:00", size_bytes=0, content_type="a/b", bucket_key="k", created_at=NOW
    )
    SdkAsset.model_validate(asset_document(asset, LINKS))


def test_tenants_have_folders_of_their_own() -> None:
    names = ("team", "Team", "../team", "te/am", "", "~", "é" * 100)
    keys = {bucket_key_of(name, "blake3:00") for name in names}
    assert len(keys) == len(names)
    assert all(key.count("/") == 2 and ".." not in key for key in keys)


def test_references_are_found_wherever_they_are_and_files_come_once() -> None:
    reference = {"__type": "core/ASSET", "info": {"id": "a"}}
    graph = {
        "1": {"class_type": "A", "inputs": {"x": reference, "y": [reference, {"z": reference}]}},
        "2": {"class_type": "B", "inputs": {"x": reference, "link": ["1", 0]}},
    }
    job_input = JobCall.parse({"workflow": graph}).job_input({"a": AssetFile("dir/photo.png", "s3://b/k")}.get)
    assert job_input["files"] == [{"name": "photo.png", "url": "s3://b/k"}]
    assert job_input["workflow"]["1"]["inputs"] == {"x": "photo.png", "y": ["photo.png", {"z": "photo.png"}]}
    assert job_input["workflow"]["2"]["inputs"] == {"x": "photo.png", "link": ["1", 0]}
    assert graph["2"]["inputs"]["x"] == reference, "what was sent is not changed"


def test_a_missing_asset_names_its_node() -> None:
    graph = {"7": {"class_type": "A", "inputs": {"x": {"__type": "core/ASSET", "info": {"id": "gone"}}}}}
    with pytest.raises(MissingAsset, match="Node 7") as caught:
        JobCall.parse({"workflow": graph}).job_input(lambda _: None)
    assert caught.value.asset_id == "gone"


def test_a_cursor_leads_back_to_its_key() -> None:
    assert Page.parse([("cursor", cursor_after(KEY))]).before == KEY
    with pytest.raises(InvalidCursor):
        Page.parse([("cursor", cursor_after(KEY)[:-2])])


@pytest.mark.parametrize(
    "header",
    ["", "x", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "00-" + "A" * 32 + "-00f067aa0ba902b7-01", "00-1-2-3"],
)
def test_without_a_sound_trace_a_new_one_begins(header: str) -> None:
    first, second = (trace_id_of({"traceparent": header}) for _ in range(2))
    assert first != second
    assert len(first) == 32


def test_metrics_escape_what_they_are_named_after() -> None:
    text = metrics_text(StoreFigures({}, 0.0, {('a"b\\c\nd', "dead"): 2}, 1), Counters())
    assert r'comfypod_outbox_items{kind="a\"b\\c\nd",state="dead"} 2' in text


def test_the_page_shows_what_is_written_and_nothing_else() -> None:
    operation = {"tags": ["<t>"], "summary": "<script>x</script>", "responses": {"200": {}}}
    document = {
        "info": {"title": "<b>", "description": "&"},
        "tags": [{"name": "<t>", "description": "<d>"}],
        "paths": {"/<p>": {"get": operation}},
    }
    page = openapi_page(document)
    assert "<script>" not in page
    assert "<b>" not in page
    assert "GET /&lt;p&gt;" in page
