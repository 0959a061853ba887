"""What messages say, and what commands and custom ids are made of; nothing of it is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from comfypod.discord.attachments import attached_files
from comfypod.discord.buttons import Click, click_of, custom_id
from comfypod.discord.commands import command_document, parameters_of
from comfypod.discord.library import _SECRETS
from comfypod.discord.messages import Link, explain, show_end, show_progress, when_to_return
from comfypod.discord.origin import Origin
from comfypod.errors import InvalidJobInput
from comfypod.master.documents import Request
from comfypod.schema.template import Template
from tests.discord.fake_commands import command_faults

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"
ORIGIN = Origin(1, 2, 3, 4, 5 << 22, "secret-token", "a fox", "text_to_image", 1_000_000)


def request(**changes: Any) -> Request:
    known = {"key": KEY, "tenant": "discord:2", "user": "4", "idempotency_key": "5", "priority": "normal", "turn": 1}
    more = {"state": "queued", "run": 1, "attempt": 0, "version": 1, "workflow_hash": "0" * 16}
    return Request(**({**known, **more, "created_at": NOW, "queued_at": NOW} | changes))


def template(**parameters: dict[str, Any]) -> Template:
    workflow = {"1": {"class_type": "Any", "inputs": dict.fromkeys("abc", 0)}}
    whole = {name: {"targets": ["1.a"], **item} for name, item in parameters.items()}
    return Template.model_validate({"name": "Some.Thing", "parameters": whole, "workflow": workflow})


@pytest.mark.parametrize(
    ("changes", "position", "status"),
    [
        ({}, 0, "Next in the queue."),
        ({}, 12, "In the queue: 12 before you."),
        ({"state": "submitting"}, None, "Waiting for a worker."),
        ({"state": "running"}, None, "A worker takes it."),
        ({"state": "running", "progress": {"value": 0.25}}, None, "`████░░░░░░░░░░░░` 25%"),
        ({"state": "running", "progress": {"value": 7, "message": "@everyone"}}, None, r"100% · \@everyone"),
        ({"state": "waiting"}, None, "It got lost on its way, and is tried again."),
        ({"state": "running", "cancel_requested_at": NOW}, None, "Being cancelled …"),
    ],
)
def test_progress(changes: dict[str, Any], position: int | None, status: str) -> None:
    shown = show_progress(request(**changes), ORIGIN, position)
    assert shown.content.endswith(status)
    assert shown.buttons == ("cancel",)


def test_a_message_never_gets_too_long_and_keeps_links_whole() -> None:
    origin = Origin.from_json(ORIGIN.to_json() | {"text": "*" * 300})
    links = [Link(f"{number}.png", "https://bucket.example/" + "x" * 500, 1) for number in range(10)]
    done = request(state="succeeded", started_at=NOW, ended_at=NOW + timedelta(seconds=12))
    content = show_end(done, origin, links, ["repeat"]).content
    assert len(content) <= 2000
    assert content.count("(<https://") == content.count(">)") >= 2
    assert " more." in content
    assert "12 s" in content


@pytest.mark.parametrize("code", ["out_of_memory", "request_quarantined", "deadline_exceeded", "unheard_of", ""])
def test_every_failure_is_a_sentence(code: str) -> None:
    text = explain({"code": code, "message": "x" * 5000})
    assert 10 < len(text) < 800
    assert "{" not in text


def test_when_to_return() -> None:
    assert [when_to_return(seconds) for seconds in (0.2, 40, 600, 86_000)] == [
        *("in 1 seconds", "in 40 seconds", "in 10 minutes", "in 24 hours")
    ]


def test_an_origin_survives_the_store_and_hides_its_token() -> None:
    assert Origin.from_json(ORIGIN.to_json()) == ORIGIN
    shown = ORIGIN.shown_in(9, is_reply=False)
    assert Origin.from_json(shown.to_json()) == shown
    assert "secret-token" not in repr(ORIGIN)
    assert (
        _SECRETS.sub(r"\1/…", "PATCH https://x/webhooks/1/aW50-x_y/messages/2")
        == "PATCH https://x/webhooks/1/…/messages/2"
    )


def test_a_token_is_used_for_fourteen_minutes() -> None:
    asked = datetime(2015, 1, 1, tzinfo=UTC) + timedelta(milliseconds=5)
    assert ORIGIN.token_works(asked + timedelta(minutes=13, seconds=59))
    assert not ORIGIN.token_works(asked + timedelta(minutes=14))
    assert not ORIGIN.shown_in(9, is_reply=False).token_works(asked)


def test_custom_ids() -> None:
    assert click_of(custom_id("vary", KEY)) == Click("vary", KEY)
    for text in ("", "cp:vary:", f"cp:delete:{KEY}", f"cp:vary:{KEY}0", f" cp:vary:{KEY}"):
        assert click_of(text) is None


def test_a_template_is_a_command_that_discord_takes() -> None:
    many = {f"number_{number}": {"type": "integer", "minimum": -(2**60), "maximum": 9} for number in range(40)}
    made = template(
        **many,
        prompt={"type": "string", "description": "What it shows. " * 20},
        Style={"type": "string", "choices": ["a", "b"]},
        image={"type": "file"},
        seed={"type": "seed", "default": "random"},
    )
    document = command_document(made)
    assert command_faults(document) == []
    assert document["name"] == "some_thing"
    assert [item["name"] for item in document["options"][:2]] == ["prompt", "image"]
    assert parameters_of(made, [{"name": "prompt", "value": "x"}]) == {"prompt": "x"}
    with pytest.raises(InvalidJobInput, match="no longer there"):
        parameters_of(made, [{"name": "other", "value": "x"}])


def test_bounds_choices_and_defaults_are_told() -> None:
    made = template(
        Style={"type": "string", "choices": ["a", "b"], "default": "b"},
        size={"type": "integer", "minimum": 64, "maximum": 2048, "multiple_of": 8, "default": 1024},
        many={"type": "string", "choices": [str(number) for number in range(26)]},
        seed={"type": "seed", "default": "random"},
    )
    style, size, many, seed = command_document(made)["options"]
    assert [item["value"] for item in style["choices"]] == ["a", "b"]
    assert style["name"] == "style"
    assert parameters_of(made, [{"name": "style", "value": "a"}]) == {"Style": "a"}
    assert (size["min_value"], size["max_value"]) == (64, 2048)
    assert size["description"] == "Size (a multiple of 8); 1024 if left out"
    assert "choices" not in many
    assert (seed["min_value"], seed["max_value"], seed["type"]) == (0, 2**53, 4)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"size": 0}, "attach a file"),
        ({"size": 2_000_001}, "at most 2 MB"),
        ({"content_type": "text/html"}, "attach a picture"),
        ({"content_type": None}, "attach a picture"),
        ({"url": "http://169.254.169.254/x.png"}, "does not lie at Discord"),
        ({"url": "https://cdn.example@10.0.0.1/x.png"}, "does not lie at Discord"),
    ],
)
def test_attachments_are_looked_at(changes: dict[str, Any], problem: str) -> None:
    good = {"filename": "../x y.PNG", "size": 5, "content_type": "image/png", "url": "https://cdn.example/x.png"}
    made = template(image={"type": "file"})
    [file] = attached_files(made, {"image": "77"}, {"77": good}, 2_000_000, ["cdn.example"])
    assert file.name == "image.png"
    with pytest.raises(InvalidJobInput, match=problem):
        attached_files(made, {"image": "77"}, {"77": good | changes}, 2_000_000, ["cdn.example"])
