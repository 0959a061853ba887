"""A pod as a process: the whole way, from hello to bye, and what happens to it on the way."""

from __future__ import annotations

from pathlib import Path

from tests.batch.doubles.coordinator import until
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
