"""A pod as a process: the whole way, from hello to bye, and what happens to it on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.batch.doubles.coordinator import TOKEN, until
from tests.batch.runner.kills import endure
from tests.batch.runner.pods import scene
from tests.batch.system.wanted import Wanted

SMALL = Wanted(items=6, checkpoints=2, loras=1, checkpoint_bytes=200_000, lora_bytes=50_000, steps=2)


async def test_a_pod_makes_what_it_is_given_once_and_says_goodbye(tmp_path: Path) -> None:
    with scene(tmp_path, SMALL) as stage:
        process = stage.start()
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0, stage.log
        assert stage.problems() == [], stage.log
        assert sorted(stage.begun()) == sorted(item.identifier for item in stage.coordinator.items)
        assert stage.coordinator.byes == [{"reason": "over", "spool_items": 0}]


async def test_a_pod_that_is_told_to_end_does_so_in_time_and_another_goes_on(tmp_path: Path) -> None:
    with scene(tmp_path, SMALL) as stage:
        stage.results.is_away = True
        process = stage.start()
        await until(stage.spooled)
        begun_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)
        assert process.returncode == 0, stage.log
        assert time.monotonic() - begun_at < 6.5  # it is ended after 4 s at the latest; the rest is for a busy machine
        made = stage.spooled()
        if stage.coordinator.byes:  # on a busy machine there may have been no time for that
            assert stage.coordinator.byes[0]["reason"] == "outbid"
        stage.results.is_away = False
        before = len(stage.begun())
        for lease in list(stage.coordinator.leased):
            del stage.coordinator.leased[lease]
        process = stage.start()
        await until(lambda: process.poll() is not None)
        assert stage.problems() == [], stage.log
        assert not made & set(stage.begun()[before:])


async def test_comfyui_does_not_see_the_batchs_token(tmp_path: Path) -> None:
    with scene(tmp_path, SMALL) as stage:
        process = stage.start()
        pod = psutil.Process(process.pid)
        await until(lambda: [child for child in pod.children() if "comfyui" in child.cmdline()])
        engine = next(child for child in pod.children() if "comfyui" in child.cmdline())
        assert "COMFYPOD_BATCH_POD" in engine.environ()
        assert TOKEN not in engine.environ().values()


async def test_a_machine_without_the_gpu_that_it_must_have_says_so_and_ends(tmp_path: Path) -> None:
    with scene(tmp_path, SMALL) as stage:
        process = stage.start(REQUIRE_GPU="true", CUDA_VISIBLE_DEVICES="")
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0, stage.log
        assert "There is no" not in (stage.coordinator.conditions[-1].problem or "")
        assert stage.coordinator.conditions[-1].problem
        assert stage.coordinator.byes[0]["reason"].startswith("unfit: ")
        assert "pod_unfit" in stage.log


async def test_a_pod_that_is_set_up_wrongly_says_so_and_ends(tmp_path: Path) -> None:
    with scene(tmp_path, SMALL, results={"kind": "bucket"}) as stage:
        process = stage.start()
        await until(lambda: process.poll() is not None)
        assert process.returncode == 2
        assert stage.coordinator.byes[0]["reason"].startswith("configuration: Results go to a bucket")


async def test_a_wrong_token_ends_the_pod_with_the_reason(tmp_path: Path) -> None:
    with scene(tmp_path, SMALL) as stage:
        process = stage.start(COMFYPOD_BATCH_TOKEN="another")
        await until(lambda: process.poll() is not None)
        assert process.returncode == 1
        assert "coordinator_refused: The coordinator of the batch refused: HTTP 401" in stage.log


@pytest.mark.skipif("COMFYUI_URL" in os.environ, reason="the pods' ComfyUI is the engine here")
async def test_a_pod_that_is_killed_at_any_moment_repeats_and_loses_nothing(tmp_path: Path) -> None:
    seen = await asyncio.to_thread(endure, tmp_path, kills=5, seed=20261122, items=16)
    assert seen.kills >= 3, seen
    assert seen.repeated == []
    assert seen.problems == []
