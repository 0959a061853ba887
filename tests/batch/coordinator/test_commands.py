"""``comfypod batch run | status | watch | pause | resume | cancel`` as somebody types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from comfypod.batch.coordinator.server import ServerOptions
from comfypod.batch.documents import Pulse
from comfypod.batch.store import BatchStore
from comfypod.cli.batch.durations import parse_duration
from comfypod.cli.batch.places import check_address, results_of
from comfypod.cli.batch.watch import look
from comfypod.cli.batch.watch_view import picture
from comfypod.cli.main import app
from comfypod.errors import ConfigurationError
from tests.batch.coordinator.making import CHECKPOINTS, begin, failure, one_each, start_pod, success

A, B = CHECKPOINTS
ROOT = Path(__file__).parents[3]
ROW = {"template": "text_to_image", "parameters": {"width": 64, "height": 64, "steps": 1}}


@pytest.fixture
def batch_url(sqlite_url: str) -> str:
    """A database with a batch, of which a pod makes something."""
    with closing(BatchStore.open(sqlite_url)) as store:
        batch = begin(store, one_each(20), label="fox\x1b[31m.jsonl", budget_dollars=5.0)
        pod = start_pod(store, batch, 0)
        held = [item.identifier for item in store.lease(batch.number, pod, 4, [A]).items]
        store.record(batch.number, pod, [success(held[0]), failure(held[1], retryable=False)])
        pulse = Pulse(in_hand=tuple(held[2:]), present=(A,), downloading={B: 5_000_000}, spool_items=3, busy_seconds=9)
        store.pulse(batch.number, pod, pulse)
    return sqlite_url


def typed(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["batch", *arguments])
    return result.exit_code, result.stdout + (f"{result.exception}" if result.exception else "")


def test_status_for_people_and_programs(batch_url: str) -> None:
    code, out = typed("status", "--database", batch_url)
    assert code == 0
    assert "batch1" in out
    assert "\x1b" not in out
    code, out = typed("status", "batch1", "--database", batch_url, "--json")
    document = json.loads(out)
    assert document["items"] == {"waiting": 16, "leased": 2, "succeeded": 1, "failed": 1, "cancelled": 0}
    assert (document["state"], document["pods"], document["budget_dollars"]) == ("running", 1, 5.0)


def test_pause_resume_cancel(batch_url: str) -> None:
    assert "paused" in typed("pause", "--database", batch_url)[1]
    assert "running" in typed("resume", "--database", batch_url)[1]
    assert "cancelled" in typed("cancel", "batch", "--database", batch_url)[1]
    with closing(BatchStore.open(batch_url)) as store:
        begin(store, one_each(2, batch="other"))
    assert "say which one" in typed("cancel", "--database", batch_url)[1]
    assert "no batch 'nope'" in typed("watch", "nope", "--database", batch_url)[1]


@pytest.mark.parametrize("width", [60, 100, 250])
def test_the_live_picture_tells_of_everything_and_is_harmless(batch_url: str, width: int) -> None:
    with closing(BatchStore.open(batch_url)) as store:
        seen = look(store, store.find().number)
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 (until the test ends)
    console.print(picture(seen, lines=24))
    text = console.export_text()
    console.file.close()
    assert "\x1b" not in text
    assert all(len(line) <= width for line in text.splitlines())
    if width >= 100:
        for word in ("1 made", "1 failed", "2 in hand", "budget $5.00", "0.0", "running", "A4000", "1 +5.0 MB", "3"):
            assert word in text, (word, text)
        assert "nobody coordinates it" in text


@pytest.mark.parametrize(
    ("text", "seconds"), [("6h", 21600), ("90m", 5400), ("1h30m", 5400), ("2d", 172800), ("45", 45)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "6x", "-1h", "0", "1e9", "1h30", "9" * 400])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_duration(text)


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUCKET_ENDPOINT_URL", raising=False)
    assert results_of("https://store.test/a/", "b").document == {"kind": "http", "url": "https://store.test/a"}
    assert results_of(str(tmp_path), "b").folder == tmp_path
    assert results_of(None, "b").folder == Path("outputs/b").absolute()
    for wrong in ("bucket", "s3://x", "https://user:secret@store.test", "https:///x"):
        with pytest.raises(ConfigurationError):
            results_of(wrong, "b")


def test_an_address_that_is_not_safe_or_of_no_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "key")
    monkeypatch.delenv("RUNPOD_API_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="could be read on the way"):
        check_address(ServerOptions("0.0.0.0"), "local")  # noqa: S104 (refused)
    with pytest.raises(ConfigurationError, match="--public-url"):
        check_address(ServerOptions(), "runpod")
    check_address(ServerOptions(public_url="https://batch.test"), "runpod")
    check_address(ServerOptions(), "local")
    monkeypatch.setenv("RUNPOD_API_BASE_URL", "http://127.0.0.1:1")
    check_address(ServerOptions(), "runpod")


def wait_until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_batch_on_this_machine_stopped_and_gone_on_with(tmp_path: Path) -> None:
    """Ctrl-C lets pods finish; the same command again makes the rest, and nothing twice."""
    rows = [ROW | {"name": f"fox {n}", "parameters": ROW["parameters"] | {"seed": n}} for n in range(8)]  # type: ignore[operator]
    (tmp_path / "foxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    url = f"sqlite:///{tmp_path / 'batch.sqlite'}"
    command = [sys.executable, "-m", "comfypod", "batch", "run", "foxes.jsonl", "--local", "--pods", "1"]
    command += ["--database", url, "--results", "made", "--models-toml", str(ROOT / "models.toml")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    made = tmp_path / "made"
    try:
        wait_until(lambda: len(list(made.glob("*/*.png"))) >= 2 or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "log").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in {0, 130}, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
        log.close()
    again = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"8 of 8 items made, 0 failed, 0 left; results in {made}" in again.stdout
    assert sorted(path.parent.name for path in made.glob("*/*.png")) == sorted(f"fox {n}" for n in range(8))
    with closing(BatchStore.open(url)) as store:
        account = store.account(store.find().number)
        assert account.wasted_runs == 0
        assert store.pods(store.find().number, live_only=True) == []
    assert (tmp_path / "cache/comfypod/learned_speeds.json").exists()
