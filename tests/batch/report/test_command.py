"""`comfypod batch report`, from the database to the page."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import NewBatch
from comfypod.cli.batch.report import report_command
from comfypod.cli.main import app
from comfypod.errors import BatchNotFound, SavingFailed
from tests.batch.report.accounts import finished_account


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'batch.sqlite'}"
    BatchStore.migrate(url)
    with closing(BatchStore.open(url)) as store:
        plan = finished_account().plan
        store.begin(NewBatch(plan=plan, label="pictures", provider="local", offers=(), results={"kind": "http"}))
    return url


def test_the_newest_batch_becomes_a_page(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "deep" / "report.html"
    report_command(database, None, page, as_json=False)
    out, err = capsys.readouterr()
    assert out == f"{page}\n"
    assert "batch 0123456789abcdef: 0 of 300 items" in err
    assert page.read_text().startswith("<!doctype html>")
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


def test_the_figures_are_there_for_programs(database: str) -> None:
    result = CliRunner().invoke(app, ["batch", "report", "0123", "--database", database, "--json"])
    document = json.loads(result.stdout)
    assert document["account"]["batch"] == "0123456789abcdef"
    assert document["figures"]["dollars"] == 0


def test_an_unknown_batch_and_a_place_that_cannot_be_written_are_told(database: str, tmp_path: Path) -> None:
    with pytest.raises(BatchNotFound):
        report_command(database, "ffff", tmp_path / "report.html", as_json=False)
    (tmp_path / "file").touch()
    with pytest.raises(SavingFailed):
        report_command(database, None, tmp_path / "file" / "report.html", as_json=False)
