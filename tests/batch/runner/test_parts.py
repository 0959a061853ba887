"""What a pod is told, what it notes, what comes next, and how it names what it made."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from comfypod.batch.documents import Asset, Condition, File, Item, Offer, Record
from comfypod.batch.runner.environment import PodEnvironment
from comfypod.batch.runner.gate import LINK_SECONDS, LinkMeter, check, examine
from comfypod.batch.runner.hand import Hand
from comfypod.batch.runner.ledger import Ledger, Made
from comfypod.batch.runner.making import file_names, workflow_facts
from comfypod.batch.runner.meter import GPUMeter
from comfypod.errors import ConfigurationError, DiskFailed, PodUnfit
from tests.batch.runner.rig import CONDITION, ROOT, item

TOLD = {
    "COMFYPOD_BATCH_URL": "http://127.0.0.1:8000/",
    "COMFYPOD_BATCH_TOKEN": "secret",
    "COMFYPOD_BATCH_POD": "comfypod-b-0-1",
    "COMFYPOD_BATCH_ENDS_AT": "1800000000.5",
}


def test_the_environment_is_read_and_loses_its_tokens(tmp_path: Path) -> None:
    environment = {**TOLD, "COMFYPOD_BATCH_FOLDER": str(tmp_path), "COMFYPOD_BATCH_RESULTS_TOKEN": "other"}
    pod = PodEnvironment.take(environment)
    assert (pod.url, pod.token, pod.results_token) == ("http://127.0.0.1:8000", "secret", "other")
    assert (pod.pod, pod.ends_at, pod.folder) == ("comfypod-b-0-1", 1_800_000_000.5, tmp_path)
    assert not {"secret", "other"} & set(environment.values())
    assert "secret" not in repr(pod)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COMFYPOD_BATCH_URL", "ftp://127.0.0.1"),
        ("COMFYPOD_BATCH_URL", ""),
        ("COMFYPOD_BATCH_TOKEN", ""),
        ("COMFYPOD_BATCH_TOKEN", "two words"),
        ("COMFYPOD_BATCH_POD", "../x"),
        ("COMFYPOD_BATCH_ENDS_AT", "nan"),
        ("COMFYPOD_BATCH_ENDS_AT", "inf"),
        ("COMFYPOD_BATCH_ENDS_AT", "soon"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        PodEnvironment.take({**TOLD, name: value})


def test_a_volume_is_where_everything_is_kept_and_pods_do_not_share(tmp_path: Path) -> None:
    pod = PodEnvironment.take(dict(TOLD), workspace=tmp_path)
    assert pod.folder == tmp_path / "comfypod-batch" / "comfypod-b-0-1"


def test_the_worker_is_told_where_models_and_results_go(tmp_path: Path) -> None:
    pod = PodEnvironment.take({**TOLD, "COMFYPOD_BATCH_FOLDER": str(tmp_path)})
    told = pod.for_worker(tmp_path, {"A": "b"})
    assert told["VOLUME_OUTPUT_DIRECTORY"] == str(tmp_path / "made")
    assert told["MODELS_DIRECTORY"] == str(tmp_path / "models")
    assert str(tmp_path) in told["COMFYUI_COMMAND"]
    assert told["A"] == "b"
    given = {"COMFYUI_URL": "http://127.0.0.1:1", "MODELS_DIRECTORY": "/models"}
    kept = pod.for_worker(tmp_path, given)
    assert "COMFYUI_COMMAND" not in kept
    assert kept["MODELS_DIRECTORY"] == "/models"
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "main.py").touch()
    assert "COMFYUI_COMMAND" not in pod.for_worker(tmp_path, {})


def record(of: Item, status: str = "succeeded") -> Record:
    return Record(identifier=of.identifier, status=status, started_at=1.0, gpu_seconds=2.0)  # type: ignore[arg-type]


FOX, OWL, CAT = item("fox", "checkpoints/a"), item("owl", "checkpoints/b"), item("cat", "checkpoints/a")


def test_the_ledger_survives_and_knows_every_step(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "ledger.db")
    ledger.begin("batch")
    assert ledger.lease([FOX, OWL, CAT]) == []
    about = File(name="fox/result.json", sha256="0" * 64, size_bytes=1, media_type="application/json")
    ledger.spool(Made(record(FOX), ("item/a.png",), about))
    ledger.spool(Made(record(OWL)))
    ledger.deliver(record(OWL))
    ledger.close()
    again = Ledger(tmp_path / "new" / "ledger.db")
    again.begin("batch")
    spooled, delivered, leased = (again.entries(state) for state in ("spooled", "delivered", "leased"))  # type: ignore[arg-type]
    assert [entry.item for entry in leased] == [CAT]
    assert [(entry.item, entry.made) for entry in spooled] == [(FOX, Made(record(FOX), ("item/a.png",), about))]
    assert [entry.made for entry in delivered] == [Made(record(OWL))]
    again.record([OWL.identifier])
    assert [entry.item for entry in again.lease([OWL, FOX])] == [FOX, OWL]
    again.give_back([FOX.identifier, CAT.identifier])
    assert not again.entries("leased")
    assert len(again.entries("spooled")) == 1
    again.make_again(FOX.identifier)
    assert again.entries("leased")[0].made is None
    again.close()


def test_the_ledger_of_another_batch_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.begin("one")
    ledger.lease([FOX])
    ledger.begin("two")
    assert not ledger.entries("leased")
    ledger.close()


def test_an_item_that_failed_may_be_given_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.begin("batch")
    ledger.lease([FOX])
    ledger.spool(Made(record(FOX, "failed")))
    ledger.deliver(record(FOX, "failed"))
    ledger.record([FOX.identifier])
    assert ledger.lease([FOX]) == []
    assert [entry.item for entry in ledger.entries("leased")] == [FOX]
    ledger.close()


def test_a_ledger_writes_to_the_disk_before_it_returns(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    ledger.close()


def test_a_ledger_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DiskFailed, match="the ledger"):
        Ledger(tmp_path / "ledger.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE items (other)")
    connection.close()
    with pytest.raises(DiskFailed, match="the ledger"):
        Ledger(tmp_path / "other.db").entries("leased")


def test_the_first_ready_item_is_next_and_then_those_of_the_same_models() -> None:
    hand = Hand()
    hand.add([OWL, FOX, CAT, FOX])
    assert hand.take(set()) is None
    assert hand.take({"checkpoints/a"}) == FOX
    assert hand.next_others({"checkpoints/a", "checkpoints/b"}) == OWL
    assert hand.take({"checkpoints/a", "checkpoints/b"}) == CAT
    assert hand.take({"checkpoints/a", "checkpoints/b"}) == OWL
    assert (hand.making, hand.waiting) == (3, 0)
    hand.put_back(CAT.identifier)
    hand.add([FOX])
    assert hand.revoke([CAT.identifier, FOX.identifier]) == [CAT.identifier]
    hand.drop(OWL.identifier)
    assert hand.identifiers == (FOX.identifier,)


def test_the_gpu_is_idle_while_nothing_is_made_and_something_is_left() -> None:
    meter = GPUMeter()
    meter.look(0.0, making=0, is_left=True)
    meter.look(2.0, making=1, is_left=True)
    meter.look(5.0, making=0, is_left=False)
    meter.look(9.0, making=0, is_left=True)
    meter.look(10.0, making=0, is_left=False)
    assert meter.idle_seconds == 3.0


OFFER = Offer(
    provider="test",
    gpu="any",
    price_class="on_demand",
    dollars_per_hour=1,
    memory_bytes=24 * 2**30,
    megapixel_steps_per_second=1,
    download_bytes_per_second=1e8,
)


async def test_a_machine_is_looked_at_in_seconds(tmp_path: Path) -> None:
    condition = await examine(tmp_path)
    assert condition.free_disk_bytes > 0
    assert condition.disk_write_bytes_per_second > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({"disk_write_bytes_per_second": 1e6}, "its disk takes 1.0 MB a second"),
        ({"free_disk_bytes": 8 * 10**9}, r"8\.0 GB free, and the models that are missing need 9\.0 GB"),
        ({"gpu_memory_bytes": 16 * 2**30}, r"has 17\.2 GB, and 25\.8 GB were offered"),
    ],
)
def test_a_machine_that_is_less_than_offered_is_unfit(found: dict[str, Any], problem: str) -> None:
    condition = Condition.model_validate({**CONDITION.model_dump(), **found})
    with pytest.raises(PodUnfit, match=problem):
        check(condition, OFFER, [Asset(key="checkpoints/x", size_bytes=7 * 10**9)])


def test_a_machine_as_offered_is_fit() -> None:
    check(CONDITION.model_copy(update={"gpu_memory_bytes": 23 * 2**30}), OFFER, [])
    check(CONDITION, None, [Asset(key="checkpoints/x", size_bytes=7 * 10**9)])


def test_a_link_is_judged_once_by_what_came_in_its_first_seconds() -> None:
    meter = LinkMeter(1e6)
    assert meter.check(0.0) is None
    meter.receive(10**9, 1.0)  # what came before the first look
    meter.receive(5 * 10**6, 2.0)
    assert meter.check(1.0 + LINK_SECONDS / 2) is None
    assert meter.check(1.0 + LINK_SECONDS) == pytest.approx(5e5)
    assert meter.check(100.0) is None
    slow = LinkMeter(1e6)
    slow.receive(0, 1.0)
    slow.receive(3 * 10**6, 2.0)
    with pytest.raises(PodUnfit, match=r"300\.0 KB a second came, and 1\.0 MB a second were offered"):
        slow.check(1.0 + LINK_SECONDS)


def artifact(filename: str, node: str = "9", index: int = 0) -> dict[str, Any]:
    return {"filename": filename, "node_id": node, "index": index}


def test_files_have_names_of_their_own_that_no_path_can_lead_out_by() -> None:
    files = [
        artifact("a.png"),
        artifact("b.png", "9", 1),
        artifact("b.png", "12"),
        artifact("b.png", "12", 1),
        artifact("../../etc/passwd"),
        artifact("..\\x?.png"),
        artifact("result.json"),
        artifact("..."),
    ]
    expected = ["a.png", "9-b.png", "12-b.png", "1-12-b.png", "passwd", "x_.png", "9-result.json", "file"]
    assert file_names(files) == expected


def test_what_ran_is_told_with_its_seeds_and_loaders() -> None:
    wanted = Item(identifier="x", row=0, job={"workflow": "text_to_image", "prompt": "a fox"})
    facts = workflow_facts(wanted, ROOT / "workflows", {"seed": 7})
    assert facts.seeds == {"3.seed": 7}
    assert facts.loaders == ["4"]
    other = workflow_facts(wanted, ROOT / "workflows", {"seed": 8})
    assert facts.sha256 != other.sha256
