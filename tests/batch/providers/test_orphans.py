"""Which pods nobody needs or watches any more, and the command that ends them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from comfypod.batch.documents import Pod
from comfypod.batch.providers.orphans import KnownBatch, KnownPod, Reason, find_orphans
from comfypod.batch.providers.runpod_pods import RunPodProvider
from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import NewBatch
from comfypod.cli.commands.batch import app
from tests.batch.coordinator.making import CHECKPOINTS, plan
from tests.batch.providers.pods_site import PodsSite, offer, until, wish

NOW = 1_000_000.0
NAME = "comfypod-b1-0-0"


def pod(name: str = NAME, **changes: Any) -> Pod:
    told = {"identifier": "id", "state": "running", "dollars_per_hour": 0.1, "price_class": "on_demand", "gpu": "g"}
    return Pod.model_validate({**told, "name": name, **changes})


def batch(**changes: Any) -> KnownBatch:
    told = {"state": "running", "watched_at": NOW - 5, "pods": {NAME: KnownPod(NOW + 100)}}
    return KnownBatch(**{**told, **changes})


@pytest.mark.parametrize(
    ("found", "known", "reason"),
    [
        (pod(), batch(), None),
        (pod(), batch(state="paused"), None),
        (pod(), batch(state="over"), Reason.BATCH_OVER),
        (pod(), batch(state="cancelled"), Reason.BATCH_CANCELLED),
        (pod(), batch(watched_at=None), Reason.UNWATCHED),
        (pod(), batch(watched_at=NOW - 60), None),  # it may be being started anew
        (pod(), batch(watched_at=NOW - 600), Reason.UNWATCHED),
        (pod(), batch(pods={NAME: KnownPod(NOW - 10)}), None),  # its last words
        (pod(), batch(pods={NAME: KnownPod(NOW - 100)}), Reason.PAST_END),
        (pod(), batch(pods={NAME: KnownPod(NOW + 100, has_ended=True)}), Reason.GIVEN_UP),
        (pod("comfypod-b1-0-1"), batch(), Reason.UNKNOWN_POD),
        (pod("comfypod-b2-0-0"), batch(), Reason.UNKNOWN_BATCH),
        (pod(state="ended"), batch(), Reason.NOT_RUNNING),
    ],
)
def test_why_a_pod_is_an_orphan(found: Pod, known: KnownBatch, reason: Reason | None) -> None:
    orphans = find_orphans([found], {"b1": known}, NOW)
    assert [orphan.reason for orphan in orphans] == ([] if reason is None else [reason])
    assert all(orphan.is_sure == (reason is not Reason.UNKNOWN_BATCH) for orphan in orphans)


@pytest.fixture
def rented(site: PodsSite, runpod: RunPodProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod of a batch that no database knows; the path of an empty database."""
    monkeypatch.setenv("RUNPOD_API_BASE_URL", site.emulator.url)
    monkeypatch.setenv("RUNPOD_API_KEY", "key")
    runpod.create(wish(tmp_path / "disk", offer()))
    BatchStore.migrate(f"sqlite:///{tmp_path / 'batches.sqlite'}")
    return tmp_path / "batches.sqlite"


def run(database: Path, *arguments: str) -> Any:
    options = ["reconcile", "--provider", "runpod", "--database", f"sqlite:///{database}", *arguments]
    return CliRunner().invoke(app, options, catch_exceptions=False)


def test_orphans_are_listed_and_what_may_be_another_s_is_spared(rented: Path, runpod: RunPodProvider) -> None:
    listed = run(rented)
    assert listed.exit_code == 0
    assert NAME in listed.output
    assert "1 of 1 pods" in listed.output
    spared = run(rented, "--end")
    assert "--unknown" in spared.output
    assert len(runpod.pods()) == 1


def test_orphans_are_ended(rented: Path, site: PodsSite) -> None:
    ended = run(rented, "--end", "--unknown", "--json")
    told = json.loads(ended.stdout)
    assert (told["pod"], told["reason"], told["ended"]) == (NAME, "unknown_batch", True)
    until(lambda: site.pods()[0]["status"] == "TERMINATED")
    assert "No orphans" in run(rented).output


def test_what_the_database_says_of_a_batch_is_heeded(rented: Path, runpod: RunPodProvider) -> None:
    url = f"sqlite:///{rented}"
    store = BatchStore.open(url)
    try:
        made = plan(2, [[(CHECKPOINTS[0], 2)]], batch="b1")
        number = store.begin(NewBatch(plan=made, label="m", provider="runpod", offers=(), results={})).number
        assert reasons(rented) == ["unknown_pod"]
        store.add_pod(number, wish(rented.parent / "disk", offer()), 0, ends_at=time.time() + 600)
        assert reasons(rented) == ["unwatched"]
        store.hold(number, "somebody")
        assert reasons(rented) == []
        store.let_go(number, "somebody")
        store.change_state(number, "cancelled")
        assert reasons(rented, "--end") == ["batch_cancelled"]
    finally:
        store.close()
    assert runpod.pods() == []


def reasons(database: Path, *arguments: str) -> list[str]:
    return [json.loads(line)["reason"] for line in run(database, "--json", *arguments).stdout.splitlines()]
