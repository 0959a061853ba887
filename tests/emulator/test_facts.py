"""The page of the local RunPod's facts against the tests that name them, and against its switches and limits.

Test files are read, not imported: a fact counts wherever a test names it, whether or not that test can run here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from comfypod.cli.commands.emulate import app
from comfypod.emulator.platform.rates import RateLimit, RateLimits
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.platform.switches import Switches

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "local-runpod.md"
FACT = re.compile(r"[A-F][0-9]+(-[a-z0-9]+)+")


def table(heading: str) -> list[list[str]]:
    """The rows of the first table after a heading of the page, as cells; the head of the table is left out."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1]
    rows = text[text.index("\n|") :].split("\n\n", 1)[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def facts() -> list[list[str]]:
    """``[id, fact, source]`` of every fact of the page."""
    return [
        [cells[0].strip("`"), *cells[1:]]
        for heading in ("Facts: the client's side", "Facts: the worker's side", "Facts: the fleet")
        for cells in table(heading)
    ]


def named_facts(path: Path) -> Iterator[str]:
    """The facts that a test file names with ``pytest.mark.fact("id")``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fact":
            assert node.args, f"{path.name}:{node.lineno}: a fact has an id"
            for argument in node.args:
                is_text = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                assert is_text, f"{path.name}:{node.lineno}: write the id as text, so that it can be found"
                yield ast.literal_eval(argument)


def files_by_fact() -> dict[str, list[str]]:
    """The test files that name each fact."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for fact in named_facts(path):
            found.setdefault(fact, []).append(path.name)
    return found


def test_every_fact_has_an_id_of_its_own_a_sentence_and_a_source() -> None:
    ids = [fact[0] for fact in facts()]
    assert len(ids) > 50
    assert sorted(set(ids)) == sorted(ids)
    assert [fact for fact in ids if not FACT.fullmatch(fact)] == []
    assert [fact for fact in facts() if len(fact) != 3 or not all(fact)] == []


def test_every_fact_of_the_page_has_a_test() -> None:
    tested = files_by_fact()
    assert [fact for fact, *_ in facts() if fact not in tested] == []


def test_every_fact_that_a_test_names_is_on_the_page() -> None:
    ids = {fact for fact, *_ in facts()}
    assert {fact: files for fact, files in files_by_fact().items() if fact not in ids} == {}


def test_a_fact_is_found_however_it_is_marked(tmp_path: Path) -> None:
    file = tmp_path / "test_example.py"
    file.write_text(
        "import pytest\n"
        'pytestmark = [pytest.mark.asyncio, pytest.mark.fact("A1-one")]\n'
        '@pytest.mark.fact("A2-two")\n'
        '@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.fact("B1-three"))])\n'
        "def test(x): ...\n"
    )
    assert sorted(named_facts(file)) == ["A1-one", "A2-two", "B1-three"]
    file.write_text("import pytest\npytestmark = pytest.mark.fact(ID)\n")
    with pytest.raises(AssertionError, match="as text"):
        list(named_facts(file))


def test_every_option_is_documented_and_no_other() -> None:
    commands = get_command(app)
    assert isinstance(commands, TyperGroup)
    options = {
        name
        for parameter in commands.commands["runpod"].params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name != "--help"
    }
    documented = {name for cells in table("Options") for name in re.findall(r"`(--[a-z-]+)", cells[0])}
    assert documented == options


def test_every_switch_is_documented_with_its_values_and_the_default_first() -> None:
    documented = {name.strip("`"): tuple(re.findall(r"`([^`]+)`", values)) for name, values, *_ in table("Switches")}
    assert documented == Switches.choices()


def test_every_limit_is_documented_with_its_default() -> None:
    documented = {name.strip("`"): float(value.replace(",", "")) for name, value, _ in table("Limits")}
    assert documented == {field.name: float(getattr(Limits(), field.name)) for field in fields(Limits)}


def test_every_rate_limit_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8").split("| operation | requests | at the same time |", 1)[1].split("\n\n")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\d*) ?\|$", text, flags=re.MULTILINE)
    documented = {
        name: RateLimit(int(count), int(concurrent) if concurrent else None) for name, count, concurrent in rows
    }
    assert documented == RateLimits().by_operation
