"""The protocol against recordings of ComfyUI 0.3.64 and 0.8.0, and against what no server should send."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from comfypod.comfyui.protocol import (
    Event,
    NodeProgressed,
    NodesCached,
    NodeStarted,
    PreviewReceived,
    PromptSession,
    PromptStarted,
    QueueSnapshot,
)
from comfypod.errors import OutOfMemory, PromptFailed, PromptInterrupted, PromptLost
from comfypod.schema.workflow import Workflow
from tests.recordings import VERSIONS, Recording, raw_message


@dataclass
class PlayedPrompt:
    """One prompt of a recording, played into a session as its client saw it."""

    session: PromptSession
    history: dict[str, Any]
    events: list[Event] = field(default_factory=list)


def recorded_prompts(version: str, scenario: str) -> Iterator[PlayedPrompt]:
    """Every prompt that was accepted from a client, in order of submission."""
    for prompt in Recording.load(version, scenario).prompts:
        if not prompt.client_id or not prompt.answer or prompt.answer["status"] != 200:
            continue
        played = PlayedPrompt(
            PromptSession(prompt.prompt_id, prompt.workflow), {prompt.prompt_id: prompt.entry} if prompt.entry else {}
        )
        for line in prompt.frames:
            played.events += played.session.receive_message(raw_message(line) or "")
        yield played


def queue(*running: str) -> QueueSnapshot:
    return QueueSnapshot(frozenset(running), frozenset())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_prompt_that_was_deleted_from_the_queue_is_never_announced_as_over_and_counts_as_lost(version: str) -> None:
    deleted = [prompt for prompt in recorded_prompts(version, "queue_delete") if not prompt.events]
    assert deleted
    for prompt in deleted:
        assert not prompt.session.end_announced
        with pytest.raises(PromptLost):
            prompt.session.receive_snapshot(queue(), {})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_simple_prompt(version: str) -> None:
    prompt = next(recorded_prompts(version, "simple"))
    assert prompt.events == [
        PromptStarted(),
        NodesCached(()),
        NodeStarted("1"),
        NodeStarted("2"),
        NodeStarted("3"),
    ]
    assert prompt.session.end_announced
    result = prompt.session.receive_snapshot(queue(), prompt.history)
    assert result is not None
    assert [(file.node_id, file.index, file.filename, file.type) for file in result.files] == [
        ("3", 0, "simple_00001_.png", "output")
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_cached_nodes_are_told(version: str) -> None:
    prompts = list(recorded_prompts(version, "cached_rerun"))
    cached = [event for prompt in prompts for event in prompt.events if isinstance(event, NodesCached)]
    assert NodesCached(()) in cached
    assert any(set(event.node_ids) == {"1", "2", "3"} for event in cached)


@pytest.mark.parametrize("version", VERSIONS)
def test_steps_and_previews_with_metadata(version: str) -> None:
    prompt = next(recorded_prompts(version, "ksampler_preview_metadata"))
    steps = [event for event in prompt.events if isinstance(event, NodeProgressed) and event.node_id == "3"]
    assert [(event.value, event.maximum) for event in steps] == [(value, 6) for value in range(1, 7)]
    previews = [event for event in prompt.events if isinstance(event, PreviewReceived)]
    assert previews == [PreviewReceived("3", "image/jpeg", b"\xff\xd8")] * 6


@pytest.mark.parametrize("version", VERSIONS)
def test_previews_without_metadata(version: str) -> None:
    prompt = next(recorded_prompts(version, "ksampler_preview_latent2rgb"))
    previews = [event for event in prompt.events if isinstance(event, PreviewReceived)]
    assert previews
    assert {(preview.node_id, preview.content_type, preview.image[:2]) for preview in previews} == {
        ("3", "image/jpeg", b"\xff\xd8")
    }


def test_a_preview_without_metadata_belongs_to_the_running_node() -> None:
    session = PromptSession("p", Workflow({}))
    session.receive_message('{"type": "executing", "data": {"node": "3", "prompt_id": "p"}}')
    (preview,) = session.receive_message(struct.pack(">II", 1, 2) + b"picture")
    assert preview == PreviewReceived("3", "image/png", b"picture")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_interrupted_prompt_is_no_success(version: str) -> None:
    prompt = next(prompt for prompt in recorded_prompts(version, "interrupt_running") if prompt.history)
    with pytest.raises(PromptInterrupted) as caught:
        prompt.session.receive_snapshot(queue(), prompt.history)
    assert caught.value.node_id == "3"


@pytest.mark.parametrize("version", VERSIONS)
def test_out_of_memory_is_recognised_and_other_errors_are_not_taken_for_it(version: str) -> None:
    codes = []
    for prompt in recorded_prompts(version, "oom"):
        if prompt.history:
            try:
                prompt.session.receive_snapshot(queue(), prompt.history)
                codes.append("success")
            except PromptFailed as error:
                codes.append(error.code)
                assert error.class_type == "LabRaise"
                assert error.message
    assert codes == ["success", OutOfMemory.code, "success", OutOfMemory.code]  # torch's words, and CUDA's


@pytest.mark.parametrize("version", VERSIONS)
def test_files_of_expanded_nodes_belong_to_the_node_a_person_sees(version: str) -> None:
    prompts = list(recorded_prompts(version, "subgraph_expand"))
    owners = {
        file.node_id
        for prompt in prompts
        if prompt.history and prompt.history[prompt.session.prompt_id]["status"]["status_str"] == "success"
        for file in (prompt.session.receive_snapshot(queue(), prompt.history) or pytest.fail("no result")).files
    }
    assert owners
    assert all("." not in owner for owner in owners)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_message_in_the_middle_does_not_end_a_prompt(version: str) -> None:
    """An ExecutionBlocker sends execution_error, and the prompt goes on to succeed."""
    blocked = [
        prompt
        for prompt in recorded_prompts(version, "blockers_and_events")
        if prompt.history and prompt.history[prompt.session.prompt_id]["status"]["status_str"] == "success"
    ]
    assert blocked
    for prompt in blocked:
        assert prompt.session.receive_snapshot(queue(), prompt.history) is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_numbers_that_are_no_json_become_null(version: str) -> None:
    texts = [
        text
        for prompt in recorded_prompts(version, "outputs_latent_text_other")
        if prompt.history and prompt.history[prompt.session.prompt_id]["status"]["status_str"] == "success"
        for text in (prompt.session.receive_snapshot(queue(), prompt.history) or pytest.fail("no result")).texts
    ]
    scores = [text.to_json()["value"] for text in texts if text.key == "score"]
    assert scores == [None, None]


def test_outputs_come_in_the_order_of_the_workflow_and_then_by_index() -> None:
    node = {"class_type": "SaveImage", "inputs": {}}
    session = PromptSession("p", Workflow({"20": node, "3": node}))
    outputs = {
        "3": {"images": [{"filename": "c", "type": "output"}], "text": ["caption"]},
        "20": {"gifs": [{"filename": "a", "type": "output"}], "audio": [{"filename": "b", "type": "output"}]},
    }
    result = session.receive_snapshot(queue(), {"p": {"outputs": outputs, "status": {"status_str": "success"}}})
    assert result is not None
    assert [(file.node_id, file.index, file.filename) for file in result.files] == [
        ("20", 0, "a"),
        ("20", 1, "b"),
        ("3", 0, "c"),
    ]
    assert [(text.node_id, text.key, text.value) for text in result.texts] == [("3", "text", "caption")]


def test_a_prompt_is_lost_only_when_neither_queue_nor_history_knows_it() -> None:
    session = PromptSession("p", Workflow({}))
    assert session.receive_snapshot(queue("p"), {}) is None
    with pytest.raises(PromptLost):
        session.receive_snapshot(queue("other"), {})


def test_messages_of_other_prompts_change_nothing() -> None:
    session = PromptSession("mine", Workflow({}))
    for kind in ("execution_start", "execution_cached", "executing", "progress"):
        data = {"prompt_id": "theirs", "node": None, "nodes": ["1"], "value": 1, "max": 2}
        assert not session.receive_message(json.dumps({"type": kind, "data": data}))
    assert not session.end_announced


def test_the_running_node_after_a_reconnection_comes_without_a_prompt_id() -> None:
    session, message = PromptSession("p", Workflow({})), '{"type": "executing", "data": {"node": "3"}}'
    assert session.receive_message(message) == ()  # that of another prompt of the same client
    session.receive_snapshot(queue("p"), {})
    assert session.receive_message(message) == (NodeStarted("3"),)
    assert not session.receive_message('{"type": "executing", "data": {"node": null}}')
    assert not session.end_announced


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "no json",
        "[]",
        "null",
        '{"type": 3}',
        '{"type": "progress", "data": {"prompt_id": "p", "value": "x", "max": null}}',
        '{"type": "execution_cached", "data": {"prompt_id": "p", "nodes": 7}}',
        '{"type": "some_future_event", "data": {"prompt_id": "p"}}',
        b"",
        b"\x00\x00\x00\x01",
        struct.pack(">II", 4, 1000) + b"{",
        struct.pack(">II", 4, 2) + b"[]",
        struct.pack(">II", 99, 0) + b"x",
    ],
)
def test_nothing_that_arrives_raises(raw: str | bytes) -> None:
    events = PromptSession("p", Workflow({})).receive_message(raw)
    assert list(events) in ([], [NodesCached(())])


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({}, PromptFailed),
        ({"status": "odd"}, PromptFailed),
        ({"status": {"status_str": "error", "messages": [["execution_error", None], "odd", []]}}, PromptFailed),
        ({"status": {"status_str": "error", "messages": [["execution_interrupted", 5]]}}, PromptInterrupted),
    ],
)
def test_a_history_entry_of_another_shape_is_no_success(entry: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        PromptSession("p", Workflow({})).receive_snapshot(queue(), {"p": entry})


def test_outputs_of_another_shape_are_left_out() -> None:
    entry = {"status": {"status_str": "success"}, "outputs": {"1": None, "2": {"images": 5}}, "meta": []}
    result = PromptSession("p", Workflow({})).receive_snapshot(queue(), {"p": entry})
    assert result is not None
    assert (list(result.files), list(result.texts)) == ([], [])
