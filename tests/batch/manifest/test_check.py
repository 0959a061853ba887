"""``comfypod batch check``: what a person and a program see of a manifest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfypod.cli.batch.check import check_manifest
from comfypod.cli.batch.manifest_choice import ManifestChoice
from comfypod.cli.exit_codes import ExitCode
from tests.batch.manifest.making import ROOT, picture_workflow, write_lines, write_models

ROWS: list[dict[str, Any]] = [
    {"workflow": picture_workflow(), "parameters": {"6.text": f"fox {number}"}} for number in range(3)
] + [{"prompt": "a fox", "parameters": {"checkpoint": "base.safetensors"}}]


def choice(folder: Path, rows: list[Any], **options: Any) -> ManifestChoice:
    return ManifestChoice(str(write_lines(folder, rows)), models_toml=write_models(folder), offline=True, **options)


def test_a_person_sees_groups_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_manifest(choice(tmp_path, ROWS), as_json=False) == ExitCode.SUCCESS
    shown = capsys.readouterr().out
    assert "4 items in 2 groups" in shown
    assert "detail.safetensors, style.safetensors" in shown
    assert "https://models.example/base.safetensors" in shown
    assert "7.5 GB to download" in shown


def test_a_program_gets_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_manifest(choice(tmp_path, [*ROWS, ROWS[0]], parameters=["3.steps=10"]), as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["items"], document["problems"], len(document["notes"])) == (4, [], 1)
    assert document["groups"][0]["items"] == 3
    assert {asset["key"]: asset["size_bytes"] for asset in document["assets"]}["vae/fine.safetensors"] == 300_000_000


def test_every_problem_is_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = choice(tmp_path, [{"promt": "a"}, {"prompt": "\u001b[2J", "name": "a\u001b[2J"}])
    assert check_manifest(wrong, as_json=False) == ExitCode.USAGE
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["Line 1", "Line 2"]
    assert "\u001b" not in "".join(told)
    assert check_manifest(wrong, as_json=True) == ExitCode.USAGE
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2


def test_the_command_reads_tables_with_a_template(tmp_path: Path) -> None:
    source = tmp_path / "batch.csv"
    source.write_text("prompt,price\na fox,3\n")
    command = [sys.executable, "-m", "comfypod", "batch", "check", str(source), "--template", "text_to_image"]
    command += ["--set", "steps=4", "--set", "checkpoint=base.safetensors", "--ignore", "price", "--json"]
    command += ["--models-toml", str(write_models(tmp_path))]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=True)
    document = json.loads(done.stdout)
    assert (document["items"], round(document["work"], 2)) == (1, 4.19)
