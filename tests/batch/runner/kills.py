"""A pod that is killed at random moments, again and again: what it repeats, and what it loses.

python -m tests.batch.runner.kills --kills 30 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.batch.runner.pods import ROOT, Scene, scene
from tests.batch.system.wanted import Wanted
from tests.serving import serve

LONGEST_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 0.4
MOST_EVENTS = 16
QUIET_SECONDS = 3.0
"""After so long without an event a pod whose results cannot be sent may have no more to make."""
EVENTS = ("asset_present", "item_begins", "prompt_submitted", "job_succeeded", "worker_ready")


@dataclass
class Ledger:
    """What was seen. ``repeated`` are items that were begun again after they had been spooled, or recorded."""

    kills: int = 0
    new_disks: int = 0
    unsent_at_kills: int = 0
    begun: int = 0
    repeated: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def line(self, items: int) -> str:
        return (
            f"{self.kills} kills ({self.new_disks} of them with the disk), {items} items, begun {self.begun} times, "
            f"{self.unsent_at_kills} results unsent at kills; repeated: {len(self.repeated)}, "
            f"lost or doubled: {len(self.problems)}; {self.seconds:.0f} s"
        )


def endure(folder: Path, kills: int, seed: int, items: int, *, own_comfyui: bool = False) -> Ledger:
    """Kill a pod so often, each time after some of its own events, then let it end; what came of it."""
    dice = random.Random(seed)  # noqa: S311 (not for cryptography)
    wanted = Wanted(items, checkpoints=2, loras=1, checkpoint_bytes=300_000, lora_bytes=100_000, steps=1)
    seen, begun_at = Ledger(), time.monotonic()
    with scene(folder, wanted, link_bytes_per_second=1e6, lease_seconds=3.0) as stage, engine(stage) as comfyui_url:
        more = {} if own_comfyui else {"COMFYUI_URL": comfyui_url}
        done: set[str] = set()
        for _ in range(kills):
            if stage.coordinator.is_over:
                break
            stage.results.is_away = dice.random() < 0.5
            has_new_disk = dice.random() < 0.1
            _run_and_kill(stage, more, dice, seen, done)
            stage.coordinator.is_away = False
            seen.kills += 1
            seen.unsent_at_kills += len(stage.spooled() - stage.coordinator.records.keys())
            done = stage.spooled() | set(stage.coordinator.records)
            if has_new_disk:
                seen.new_disks += 1
                (stage.folder / "pod").rename(stage.folder / f"pod-{seen.new_disks}")
                done = set(stage.coordinator.records)
        stage.results.is_away = False
        before = len(stage.begun())
        process = stage.start(**more)
        process.wait(LONGEST_SECONDS)
        seen.repeated += [item for item in stage.begun()[before:] if item in done]
        seen.begun = len(stage.begun())
        seen.problems = stage.problems()
        seen.seconds = time.monotonic() - begun_at
        if seen.repeated or seen.problems:
            print(stage.log, file=sys.stderr)
    return seen


def _run_and_kill(stage: Scene, more: dict[str, str], dice: random.Random, seen: Ledger, done: set[str]) -> None:
    before = len(stage.begun())
    count = _events(stage)
    wanted = count + dice.randrange(MOST_EVENTS)
    process = stage.start(**more)
    last = time.monotonic()
    while (events := _events(stage)) < wanted and process.poll() is None:
        if events > count:
            count, last = events, time.monotonic()
        quiet_seconds = time.monotonic() - last
        if stage.results.is_away and quiet_seconds > QUIET_SECONDS:
            break
        if quiet_seconds > LONGEST_SECONDS:
            raise AssertionError(f"the pod does nothing: {stage.log[-3000:]}")
        time.sleep(0.01)
    stage.coordinator.is_away = dice.random() < 0.2
    time.sleep(dice.uniform(0, 3 * LONGEST_PAUSE_SECONDS if stage.coordinator.is_away else LONGEST_PAUSE_SECONDS))
    stage.kill(process)
    seen.repeated += [item for item in stage.begun()[before:] if item in done]


def _events(stage: Scene) -> int:
    log = stage.log
    return sum(log.count(name) for name in EVENTS)


@contextmanager
def engine(stage: Scene) -> Iterator[str]:
    """A ComfyUI that outlives the pods, so that a start of one is a matter of a second."""
    models = stage.folder / "models.toml"
    entries = [dict(asset.entry or {}) for asset in stage.coordinator.assets]
    models.write_text(
        "\n".join(f"[[model]]\nname = {json.dumps(e['name'])}\nfolder = {json.dumps(e['folder'])}" for e in entries)
    )
    options = ["--port", "0", "--base-directory", str(stage.folder / "engine"), "--models", str(models)]
    child, url = serve("emulate", "comfyui", *options, folder=ROOT)
    try:
        yield url
    finally:
        child.stop(grace_seconds=5)


def main() -> int:
    """Print one line of figures; 1 if anything was repeated, lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--items", type=int, help="default: 4 for each kill")
    parser.add_argument("--own-comfyui", action="store_true", help="each pod starts a ComfyUI of its own (slower)")
    given = parser.parse_args()
    items = given.items or 4 * given.kills
    with tempfile.TemporaryDirectory(prefix="comfypod-kills-") as folder:
        seen = endure(Path(folder), given.kills, given.seed, items, own_comfyui=given.own_comfyui)
    print(seen.line(items))
    for problem in [*seen.repeated, *seen.problems]:
        print(problem)
    return 1 if seen.repeated or seen.problems else 0


if __name__ == "__main__":
    sys.exit(main())
