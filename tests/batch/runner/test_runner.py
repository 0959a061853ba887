"""What a pod does with its leases, its orders, its disk, and those who are away."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comfypod.batch.documents import Asset
from tests.batch.doubles.coordinator import Coordinator, coordinating, until
from tests.batch.runner.rig import failure, item, rig
from tests.batch.system.servers import Models, Results, model_file


@contextmanager
def batch(*names: str, **options: object) -> Iterator[tuple[Coordinator, Results]]:
    """A coordinator with items that need no models."""
    results = Results()
    coordinator = Coordinator([item(name) for name in names], **options)  # type: ignore[arg-type]
    with coordinating(coordinator, *results.routes()):
        yield coordinator, results


async def test_everything_is_made_once_and_sent_with_its_metadata(tmp_path: Path) -> None:
    with batch("fox", "owl", "cat") as (coordinator, results):
        async with rig(coordinator, tmp_path) as pod:
            assert await pod.end() == "over"
            assert sorted(pod.worker.begun) == ["cat", "fox", "owl"]
    names = {f"{name}/{file}" for name in ("fox", "owl", "cat") for file in ("picture_00001_.png", "result.json")}
    assert results.files.keys() == names
    assert results.files["fox/picture_00001_.png"] == b"a picture of fox"
    metadata = json.loads(results.files["fox/result.json"])
    assert metadata["identifier"] == item("fox").identifier
    assert metadata["pod"] == "pod-1"
    assert len(metadata["workflow_sha256"]) == 64
    record = coordinator.records[item("fox").identifier]
    assert [file.name for file in record.files] == ["fox/picture_00001_.png"]
    assert record.gpu_seconds == 0.01
    assert coordinator.byes == [{"reason": "over", "spool_items": 0}]
    assert not any((tmp_path / "pod" / "made").iterdir())


async def test_archives_hold_a_result_and_its_metadata_and_nothing_is_sent_beside_them(tmp_path: Path) -> None:
    with batch("fox", "owl") as (coordinator, results):
        coordinator.results = {"kind": "http", "url": f"{coordinator.url}/results", "archives": True}
        async with rig(coordinator, tmp_path) as pod:
            assert await pod.end() == "over"
    assert results.files.keys() == {"fox/result.zip", "owl/result.zip"}
    with zipfile.ZipFile(io.BytesIO(results.files["fox/result.zip"])) as archive:
        assert archive.namelist() == ["picture_00001_.png", "result.json"]
        assert archive.read("picture_00001_.png") == b"a picture of fox"
        assert json.loads(archive.read("result.json"))["identifier"] == item("fox").identifier
    (told,) = coordinator.records[item("fox").identifier].files
    assert told.name == "fox/result.zip"
    assert told.sha256 == hashlib.sha256(results.files["fox/result.zip"]).hexdigest()
    assert not any((tmp_path / "pod" / "made").iterdir())


async def test_two_are_in_the_worker_at_a_time_so_that_the_gpu_need_not_wait(tmp_path: Path) -> None:
    with batch(*"abcdef") as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2)
            pod.worker.gate.set()
            await pod.end()
            assert pod.worker.most_at_once == 2


async def test_a_failed_item_is_recorded_as_such(tmp_path: Path) -> None:
    with batch("fox") as (coordinator, results):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            pod.worker.answers["fox"] = [failure("prompt_failed")]
            pod.worker.gate.set()
            assert await pod.end() == "over"
    record = coordinator.records[item("fox").identifier]
    assert record.status == "failed"
    assert record.error == {"code": "prompt_failed", "message": "It is prompt_failed", "retryable": False}
    assert not results.files


async def test_a_paused_batch_begins_nothing_and_goes_on_when_resumed(tmp_path: Path) -> None:
    with batch("fox", "owl", state="paused") as (coordinator, _):
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: len(coordinator.pulses) > 5)
            assert not pod.worker.begun
            coordinator.state = "running"
            assert await pod.end() == "over"


async def test_a_pause_lets_what_runs_end_and_begins_nothing_more(tmp_path: Path) -> None:
    with batch(*"abcdef") as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2)
            coordinator.state = "paused"
            seen = len(coordinator.pulses)
            await until(lambda: len(coordinator.pulses) > seen + 1)
            pod.worker.gate.set()
            await until(lambda: len(coordinator.records) == 2)
            assert len(pod.worker.begun) == 2


async def test_a_cancelled_batch_is_dropped_at_once(tmp_path: Path) -> None:
    with batch(*"abc") as (coordinator, results):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2)
            coordinator.state = "cancelled"
            assert await pod.end() == "cancelled"
            assert len(pod.worker.ended) == 2
    assert not results.files
    assert coordinator.byes[0]["reason"] == "cancelled"


async def test_what_is_revoked_is_not_begun(tmp_path: Path) -> None:
    with batch(*"abcd") as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2 and len(coordinator.pulses) > 1)
            others = [one for one in coordinator.items if one.name not in pod.worker.begun]
            coordinator.revoked = {one.identifier for one in others}
            coordinator.leased.update({one.identifier: ("pod-2", time.monotonic() + 600) for one in others})
            seen = len(coordinator.pulses)
            await until(lambda: len(coordinator.pulses) > seen + 2)
            pod.worker.gate.set()
            await until(lambda: len(coordinator.records) == 2)
            seen = len(coordinator.pulses)
            await until(lambda: len(coordinator.pulses) > seen + 2)
            assert len(pod.worker.begun) == 2
            assert not coordinator.pulses[-1].in_hand


async def test_leases_that_ran_out_while_the_coordinator_was_away_are_not_begun(tmp_path: Path) -> None:
    with batch(*"abcdef", lease_seconds=1.0) as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2)
            coordinator.is_away = True
            await until(lambda: time.monotonic() > pod.runner._lease_ends)
            pod.worker.gate.set()
            await until(lambda: len(pod.ledger.entries("spooled", "delivered")) == 2)
            assert len(pod.worker.begun) == 2
            coordinator.is_away = False
            assert await pod.end() == "over"


async def test_a_coordinator_that_is_away_holds_nothing_up_while_leases_allow(tmp_path: Path) -> None:
    with batch(*"abcdef") as (coordinator, results):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2)
            coordinator.is_away = True
            pod.worker.gate.set()
            await until(lambda: len(results.files) == 12)
            assert not coordinator.records
            coordinator.is_away = False
            assert await pod.end() == "over"


async def test_results_wait_on_the_disk_while_their_place_is_away(tmp_path: Path) -> None:
    with batch(*"abcdef") as (coordinator, results):
        results.is_away = True
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: coordinator.pulses and coordinator.pulses[-1].spool_items == 6)
            assert coordinator.pulses[-1].spool_bytes > 0
            assert not coordinator.records
            results.is_away = False
            assert await pod.end() == "over"
            assert len(pod.worker.begun) == 6
    assert len(results.files) == 12


async def test_the_gpu_is_not_idle_when_there_is_nothing_left_but_to_send(tmp_path: Path) -> None:
    with batch("fox", "owl") as (coordinator, results):
        results.is_away = True
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: coordinator.pulses and coordinator.pulses[-1].spool_items == 2)
            seen = len(coordinator.pulses)
            await until(lambda: len(coordinator.pulses) > seen + 2)
            idle = coordinator.pulses[-1].idle_seconds
            seen = len(coordinator.pulses)
            await until(lambda: len(coordinator.pulses) > seen + 5)
            results.is_away = False
            assert await pod.end() == "over"
    assert coordinator.pulses[-1].is_leaving
    assert coordinator.pulses[-1].idle_seconds == idle
    assert coordinator.pulses[-1].busy_seconds == 0.02


async def test_a_pod_that_goes_on_makes_nothing_again(tmp_path: Path) -> None:
    with batch(*"abcdef") as (coordinator, results):
        results.is_away = True
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: len(pod.ledger.entries("spooled")) == 6)
        results.is_away = False
        async with rig(coordinator, tmp_path) as pod:
            assert await pod.end() == "over"
            assert not pod.worker.begun
    assert len(results.files) == 12


async def test_a_file_that_was_half_written_never_counts(tmp_path: Path) -> None:
    with batch("fox", "owl") as (coordinator, results):
        results.is_away = True
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: len(pod.ledger.entries("spooled")) == 2)
        (pod.spool.folder_of(item("fox").identifier) / "9" / "picture_00001_.png").write_bytes(b"a pict")
        (pod.spool.folder / "item-else").mkdir()
        results.is_away = False
        async with rig(coordinator, tmp_path) as pod:
            assert await pod.end() == "over"
            assert pod.worker.begun == ["fox"]
            assert not (pod.spool.folder / "item-else").exists()
    assert results.files["fox/picture_00001_.png"] == b"a picture of fox"


async def test_a_result_that_is_lost_on_the_disk_is_made_again(tmp_path: Path) -> None:
    with batch("fox") as (coordinator, results):
        results.is_away = True
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: results.refused_while_away > 0)
            (pod.spool.folder_of(item("fox").identifier) / "9" / "picture_00001_.png").unlink()
            await until(lambda: pod.worker.begun == ["fox", "fox"])
            results.is_away = False
            assert await pod.end() == "over"
    assert results.files["fox/picture_00001_.png"] == b"a picture of fox"


async def test_what_the_coordinator_forgot_is_told_again_and_not_made_again(tmp_path: Path) -> None:
    with batch("fox", "owl") as (coordinator, _):
        async with rig(coordinator, tmp_path, at_a_time=1) as pod:
            assert await pod.end() == "over"
        del coordinator.records[item("fox").identifier]
        async with rig(coordinator, tmp_path) as pod:
            assert await pod.end() == "over"
            assert not pod.worker.begun
    assert coordinator.told == {item("fox").identifier: 2, item("owl").identifier: 1}


async def test_who_is_told_to_end_gives_back_and_sends_what_it_can_in_time(tmp_path: Path) -> None:
    with batch(*"abcdefgh") as (coordinator, results):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2)
            begun_at = time.monotonic()
            pod.runner.leave("outbid")
            assert await pod.end() == "outbid"
            assert time.monotonic() - begun_at < 5
            assert not pod.ledger.entries("leased")
    assert coordinator.pulses[-1].is_leaving
    assert len(coordinator.pulses[-1].in_hand) == 8
    assert not coordinator.leased
    assert not results.files
    assert coordinator.byes == [{"reason": "outbid", "spool_items": 0}]


async def test_what_is_made_when_it_is_told_to_end_is_on_the_disk(tmp_path: Path) -> None:
    with batch("a", "b") as (coordinator, results):
        results.is_away = True
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: len(pod.ledger.entries("spooled")) == 2)
            pod.runner.leave("outbid")
            assert await pod.end() == "outbid"
            assert len(pod.ledger.entries("spooled")) == 2
    assert coordinator.byes == [{"reason": "outbid", "spool_items": 2}]
    assert not [pulse for pulse in coordinator.pulses if pulse.is_leaving and pulse.in_hand]


async def test_before_its_end_it_stops_to_make(tmp_path: Path) -> None:
    with batch(*"abc", ends_in=20.0) as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            assert await pod.end() == "ends_at"
    assert coordinator.byes[0]["reason"] == "ends_at"


async def test_a_pod_that_is_not_wanted_any_more_ends(tmp_path: Path) -> None:
    with batch(*"abc") as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False) as pod:
            await until(lambda: len(pod.worker.begun) == 2)
            coordinator.refuses = 410
            assert (await pod.end()).startswith("refused: HTTP 410")
    assert not coordinator.byes


async def test_a_comfyui_that_must_be_replaced_ends_the_pod_after_what_it_made_is_sent(tmp_path: Path) -> None:
    with batch("fox", "owl") as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False, at_a_time=1) as pod:
            broken = failure("prompt_failed", refresh_worker=True, warnings=["the GPU is broken"])
            pod.worker.answers["fox"] = [broken]
            pod.worker.gate.set()
            assert await pod.end() == "comfyui: the GPU is broken"
            assert pod.worker.begun == ["fox"]
    assert coordinator.records.keys() == {item("fox").identifier}
    assert not coordinator.leased


async def test_a_bug_ends_the_pod_and_gives_back_what_it_has(tmp_path: Path) -> None:
    with batch("fox", "owl") as (coordinator, _):
        async with rig(coordinator, tmp_path, is_open=False, at_a_time=1) as pod:
            pod.worker.answers["fox"] = [{"status": "success"}]  # no answer of a handler
            pod.worker.gate.set()
            assert await pod.end() == "internal: KeyError"
    assert coordinator.byes[0]["reason"] == "internal: KeyError"
    assert not coordinator.leased


async def test_a_full_disk_holds_up_making_and_not_sending(tmp_path: Path) -> None:
    with batch("fox", "owl") as (coordinator, results):
        results.is_away = True
        async with rig(coordinator, tmp_path, at_a_time=1) as pod:
            pod.worker.answers["owl"] = [failure("disk_failed")]
            await until(lambda: pod.worker.begun == ["fox", "owl"])
            results.is_away = False
            assert await pod.end() == "over"
            assert pod.worker.begun == ["fox", "owl", "owl"]
    assert {record.status for record in coordinator.records.values()} == {"succeeded"}


async def test_a_disk_that_never_takes_anything_ends_the_pod(tmp_path: Path) -> None:
    with batch("fox") as (coordinator, _):
        async with rig(coordinator, tmp_path, reserve_bytes=10**18) as pod:
            assert (await pod.end()).startswith("unfit: its disk is full")
            assert not pod.worker.begun
    assert coordinator.conditions[-1].problem is not None
    assert not coordinator.leased


@contextmanager
def batch_with_models(items: dict[str, str], **files: bytes | None) -> Iterator[tuple[Coordinator, Models, Results]]:
    """Items by name, each with the name of its checkpoint; None: the server has none of it."""
    models, results = Models(1e9), Results()
    coordinator = Coordinator([item(name, f"checkpoints/{base}.safetensors") for name, base in items.items()])
    with coordinating(coordinator, *models.routes(), *results.routes()):
        assets = []
        for name, content in files.items():
            key = f"checkpoints/{name}.safetensors"
            if content is not None:
                models.files[key] = content
            entry = {"name": f"{name}.safetensors", "folder": "checkpoints", "url": f"{coordinator.url}/models/{key}"}
            assets.append(Asset(key=key, size_bytes=len(content or b"x"), entry=entry))
        coordinator.assets = assets
        yield coordinator, models, results


async def test_an_item_begins_when_its_own_models_are_there(tmp_path: Path) -> None:
    first, second = model_file("first", 1_000), model_file("second", 200_000)
    with batch_with_models({"owl": "second", "fox": "first"}, first=first, second=second) as (coordinator, models, _):
        coordinator.hides_until_present = False
        models.bytes_per_second = 200_000
        async with rig(coordinator, tmp_path) as pod:
            await until(lambda: pod.worker.begun)
            assert pod.downloads.present == {"checkpoints/first.safetensors"}
            assert await pod.end() == "over"
            assert pod.worker.begun == ["fox", "owl"]
            assert pod.downloads.downloaded_bytes == 201_000


async def test_items_whose_model_can_never_be_had_are_recorded_as_failed(tmp_path: Path) -> None:
    there = model_file("there", 10_000)
    items = {"fox": "there", "owl": "gone"}
    with batch_with_models(items, gone=None, there=there) as (coordinator, _, _results):
        async with rig(coordinator, tmp_path) as pod:
            assert await pod.end() == "over"
            assert pod.worker.begun == ["fox"]
    record = coordinator.records[item("owl").identifier]
    assert (record.status, (record.error or {})["code"]) == ("failed", "model_fetch_failed")
