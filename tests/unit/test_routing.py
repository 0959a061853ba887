"""Whose a message is when several prompts share one websocket."""

from __future__ import annotations

import json
import struct

from comfypod.comfyui.routing import MessageRouter

FIRST, SECOND = "0d5e1d5e-0000-4000-8000-000000000001", "0d5e1d5e-0000-4000-8000-000000000002"
BOTH = (FIRST, SECOND)
OLD_PREVIEW = struct.pack(">II", 1, 1) + b"\xff\xd8"
GREETING = '{"type": "executing", "data": {"node": "3"}}'


def about(prompt_id: str, kind: str = "progress") -> str:
    return json.dumps({"type": kind, "data": {"prompt_id": prompt_id, "node": "3"}})


def preview_of(prompt_id: str) -> bytes:
    metadata = json.dumps({"prompt_id": prompt_id, "node_id": "3"}).encode()
    return struct.pack(">II", 4, len(metadata)) + metadata + b"\xff\xd8"


def test_a_message_goes_to_the_prompt_that_it_names() -> None:
    router = MessageRouter()
    assert list(router.recipients(about(SECOND), BOTH)) == [SECOND]
    assert list(router.recipients(preview_of(FIRST), BOTH)) == [FIRST]


def test_what_is_for_everybody_or_for_others_goes_to_nobody() -> None:
    router = MessageRouter()
    for message in ('{"type": "status", "data": {}}', "", about("another"), preview_of("another")):
        assert not router.recipients(message, BOTH)


def test_what_names_no_prompt_is_of_the_prompt_of_the_message_before() -> None:
    router = MessageRouter()
    for prompt_id in BOTH:
        router.recipients(about(prompt_id, "execution_start"), BOTH)
        assert list(router.recipients(OLD_PREVIEW, BOTH)) == [prompt_id]
        assert list(router.recipients(GREETING, BOTH)) == [prompt_id]


def test_what_names_no_prompt_is_not_of_the_next_one_when_its_own_is_gone() -> None:
    router = MessageRouter()
    router.recipients(about(FIRST), BOTH)
    assert not router.recipients(OLD_PREVIEW, [SECOND])


def test_on_a_new_websocket_it_may_be_of_any() -> None:
    router = MessageRouter()
    router.recipients(about(FIRST), BOTH)
    router.connected()
    assert list(router.recipients(GREETING, BOTH)) == list(BOTH)


def test_garbage_is_borne() -> None:
    router = MessageRouter()
    for frame in (b"", b"\0\0\0\4", struct.pack(">II", 4, 2**31), struct.pack(">II", 4, 3) + b"\xff\xff\xff"):
        router.recipients(frame, BOTH)
