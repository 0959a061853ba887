"""The engine against recordings of ComfyUI 0.8.0: every request is sent again, every answer and frame is compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Prepare = Callable[..., Awaitable[Any]]

# Played as they are, frame by frame.
PLAIN = (
    "simple",
    "cached_rerun",
    "cache_classic_aba",
    "interrupt_running",
    "interrupt_queued",
    "interrupt_other_watcher",
    "queue_order",
    "queue_delete",
    "history",
    "two_clients",
    "ksampler_no_preview",
    "upload_mask",
    "cors_and_origin",
)


def report(differences: list[str]) -> str:
    return "\n" + "\n".join(differences)


@pytest.mark.parametrize("name", PLAIN)
async def test_a_recording_plays_the_same(name: str, recording: Prepare, tmp_path: Path) -> None:
    player = await recording(name)
    if name == "cached_rerun":
        output = tmp_path / "engine" / "output" / "other_00001_.png"
        player.on_note["6: the output file is deleted"] = output.unlink
    differences = await player.play()
    assert not differences, report(differences)


async def test_every_invalid_prompt_is_refused_in_the_same_words(recording: Prepare) -> None:
    player = await recording("invalid_prompts")
    differences = await player.play()
    assert not differences, report(differences)


async def test_a_prompt_with_one_valid_output_runs_without_the_other(recording: Prepare) -> None:
    player = await recording("partial_validation")
    # ComfyUI runs the outputs in the order of a set, so the two saving nodes may change places.
    player.ignored_frames = frozenset({"progress_state"})
    player.unordered = True
    differences = await player.play()
    assert not differences, report(differences)


async def test_uploads_are_named_and_loaded_by_the_same_rules(recording: Prepare) -> None:
    player = await recording("upload_and_load")
    differences = await player.play()
    assert not differences, report(differences)


async def test_files_are_shown_and_refused_alike(recording: Prepare, tmp_path: Path) -> None:
    player = await recording("view")
    player.before_request[5] = lambda: lay_out_files(tmp_path / "engine")
    differences = await player.play()
    assert not differences, report(differences)


def lay_out_files(base: Path) -> None:
    """The files that the recorded requests ask for, besides those that the prompts saved."""
    output = base / "output"
    (base / "secret.txt").write_text("secret")
    (output / "link.txt").symlink_to(base / "secret.txt")
    (output / "linkdir").symlink_to(base)
    (output / "page.html").write_text("<script>1</script>")
    (output / "data.json").write_text("{}")
    (output / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (output / "model.glb").write_bytes(b"glTF" + bytes(100))
    (output / "noext").write_bytes(b"\1\2\3")
    (output / "broken.png").write_bytes(b"not a png")
    Image.new("RGB", (16, 16), (9, 9, 9)).save(output / "żółć.png")
    Image.new("RGB", (768, 768)).save(base / "input" / "example.png")


async def test_bodies_above_the_limit_are_refused(recording: Prepare) -> None:
    player = await recording("upload_limit", maximum_body_bytes=1024**2)
    differences = await player.play()
    assert not differences, report(differences)


async def test_clients_without_an_id_are_told_by_the_same_rules(recording: Prepare) -> None:
    player = await recording("client_ids")
    # From here on the recording is about the end of ComfyUI's process; test_engine_server has that.
    player.stop_at_note = "client_id = ['x']"
    differences = await player.play()
    assert not differences, report(differences)


async def test_a_reconnected_client_is_told_which_node_runs(recording: Prepare) -> None:
    player = await recording("ws_reconnect")
    # How many steps are missed while nobody is connected is a matter of time.
    player.ignored_frames = frozenset({"progress", "progress_state"})
    differences = await player.play()
    assert not differences, report(differences)


async def test_a_replaced_connection_takes_the_new_one_with_it(recording: Prepare) -> None:
    player = await recording("ws_reconnect_overlap")
    differences = await player.play()
    assert not differences, report(differences)


async def test_the_server_invents_a_client_id(recording: Prepare) -> None:
    player = await recording("ws_no_client_id")
    differences = await player.play()
    assert not differences, report(differences)


async def test_previews_carry_metadata_after_the_handshake(recording: Prepare) -> None:
    player = await recording("ksampler_preview_metadata", preview_method="latent2rgb")
    differences = await player.play()
    assert not differences, report(differences)


async def test_finished_pictures_travel_like_previews(recording: Prepare) -> None:
    player = await recording("save_websocket", preview_method="latent2rgb")
    differences = await player.play()
    assert not differences, report(differences)


@pytest.mark.parametrize(
    ("name", "until"),
    [
        ("outputs_animated_webp_png", None),
        ("outputs_video", None),
        ("outputs_audio", "Opus needs resampling"),  # Which failed, because a library was missing.
        ("outputs_latent_text_other", "ui kind text_tuple"),  # From here on a node of the recordings speaks.
    ],
)
async def test_saved_files_are_reported_alike(recording: Prepare, name: str, until: str | None) -> None:
    player = await recording(name)
    player.stop_at_note = until
    # ComfyUI runs the outputs in the order of a set, so the saving nodes may change places.
    player.ignored_frames = frozenset({"progress_state"})
    player.unordered = True
    differences = await player.play()
    assert not differences, report(differences)


async def test_the_other_routes_answer_alike(recording: Prepare) -> None:
    player = await recording("http_inventory")
    player.events = [event for event in player.events if event.get("id") not in ABSENT_ROUTES]
    for event in player.events:
        if event.get("path", "").endswith("/system_stats"):
            answer = player.answers[event["id"]]
            answer["body"] = {}  # About the machine; its shape is looked at in test_engine_server.
        if event.get("path") == "/object_info/SaveImage":
            described = player.answers[event["id"]]["body"]["json"]["SaveImage"]
            described["input"].pop("hidden")
            described["input_order"].pop("hidden")
    differences = await player.play()
    assert not differences, report(differences)


# Of ComfyUI's user interface and its internals; the engine has none.
ABSENT_ROUTES = {13, 14, 15, 16, 17, 18, 19, 20, 21, 28}
