"""What a command loads before it begins, and what it says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.models import TyperInfo
from typer.testing import CliRunner

from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.main import _first_words, command_line
from tests.cli.conftest import CommandLine, ScriptedEndpoint

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "status", "wait", "cancel", "health")
HEAVY = {"PIL", "aiohttp", "asyncio", "numpy", "runpod", "textual_image", "websockets"}
"""Without pydantic, with which typer itself reads options."""
_IMPORTED = re.compile(r"^import time:.*\| +(\S+)$", re.MULTILINE)


def loaded(command_line: CommandLine, *arguments: str) -> set[str]:
    """The packages that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "comfypod", *arguments],
        check=False,
        cwd=command_line.folder,
        env=command_line.full_environment(),
        capture_output=True,
        text=True,
        timeout=20,
    )
    names = {name.strip() for name in _IMPORTED.findall(done.stderr)}
    assert "comfypod.cli.main" in names
    return {name.partition(".")[0] for name in names} | names


def test_help_loads_no_part_of_a_command(nowhere: CommandLine) -> None:
    names = loaded(nowhere, "--help")
    assert not names & (HEAVY | {"requests", "comfypod.cloud", "comfypod.cli.run", "comfypod.cli.human_output"})


def test_run_loads_nothing_heavy_before_it_begins(nowhere: CommandLine) -> None:
    names = loaded(nowhere, "run")
    assert "comfypod.cli.run" in names
    assert not names & (HEAVY | {"requests"})


def test_a_command_for_scripts_does_without_what_draws_bars(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    names = loaded(comfypod, "health", "--json")
    assert "requests" in names
    assert not names & (HEAVY | {"rich"})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_groups_examples_and_defaults(nowhere: CommandLine, command: str) -> None:
    ended = nowhere(command, "--help", COLUMNS="120")
    assert ended.code == 0
    for part in ("Examples:", f"comfypod {command} ", "Where", "What is shown", "RUNPOD_API_KEY", "--json", "60.0"):
        assert part in ended.stdout
    assert "--api-key" not in ended.stdout


def test_every_option_and_exit_code_is_documented(nowhere: CommandLine) -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        for option in set(re.findall(r"--[a-z-]+", nowhere(command, "--help", COLUMNS="200").stdout)) - {"--help"}:
            assert f"`{option}" in page, f"{command} {option}"
    for exit_code in ExitCode:
        assert re.search(rf"^\| {exit_code.value} \|", page, re.MULTILINE), exit_code


def test_a_command_is_the_same_without_all_others() -> None:
    runner, every = CliRunner(), command_line()
    words = [word for group in every.registered_groups for word in _words(group)]
    assert len(words) > 20
    for word in words:
        alone = command_line(word)
        assert len(alone.registered_groups) == 1
        assert runner.invoke(alone, [word, "--help"]).stdout == runner.invoke(every, [word, "--help"]).stdout


def test_an_unknown_command_is_told_beside_all_others() -> None:
    assert len(command_line("unknown").registered_groups) == len(command_line().registered_groups)


def _words(group: TyperInfo) -> set[str]:
    assert group.typer_instance is not None
    return _first_words(group.typer_instance, group.name if isinstance(group.name, str) else None)
