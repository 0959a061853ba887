"""The next plan knows how fast the GPUs of this batch were."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfypod.batch.account import Speed
from comfypod.batch.planning.learned import read_learned
from comfypod.batch.report.learning import learn
from tests.batch.report.accounts import finished_account, offer


def test_the_next_plan_believes_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "learned.json"
    speeds = (
        Speed(gpu="NVIDIA RTX A4000", kind="checkpoints/x", items=10, work=300, gpu_seconds=160, load_seconds=10),
        Speed(gpu="NVIDIA RTX A4000", kind="checkpoints/y", items=0, work=0, gpu_seconds=0),
    )
    learn(path, finished_account().model_copy(update={"speeds": speeds}))
    learned = read_learned(path)
    assert learned.speed(offer(speed=9), "checkpoints/x") == pytest.approx(2)
    assert learned.speed(offer(speed=9), "checkpoints/unseen") == pytest.approx(2)
    assert learned.speed(offer("NVIDIA A40", speed=9), "checkpoints/x") == 9
