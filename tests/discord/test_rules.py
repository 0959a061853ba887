"""Content rules: which texts they refuse, and which they leave alone."""

# ruff: noqa: RUF001 (look-alikes are what this is about)

from __future__ import annotations

from pathlib import Path

import pytest

from comfypod.discord.rules import DenyList, Rules
from comfypod.errors import ConfigurationError

DENIED = DenyList.parse("naked\nblood bath  # two words\ngore*\n\n# a comment\nпытка\n裸体\nboob\n")


@pytest.mark.parametrize(
    "text",
    [
        "naked",
        "a NAKED man",
        "(naked:1.3)",
        "nàkéd",
        "nаkеd",  # two letters of it are Cyrillic
        "ηaked",  # one is Greek
        "ｎａｋｅｄ",
        "𝓷𝓪𝓴𝓮𝓭",
        "na\u200bked",
        "n4k3d",
        "naaaaked",
        "n a k e d",
        "n.a.k.e.d",
        "semi_naked",
        "a blood   bath",
        "blood-bath",
        "gorey",
        "ПЫТКА",
        "一个裸体雕像",
        "boob",
        "boooob",
    ],
)
def test_what_is_denied_is_found_however_it_is_written(text: str) -> None:
    assert DENIED.line_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "snaked",
        "nakedness",
        "blood on a bath",
        "bath blood",
        "the category",
        "a n k e d",
        "попытка",
        "1girl, 2023, 4k",
        "体裸",
        "bob",
        "🦊",
    ],
)
def test_what_only_resembles_it_is_not(text: str) -> None:
    assert DENIED.line_of(text) is None


def test_an_entry_is_told_by_its_line_and_the_text_is_not() -> None:
    refusal = Rules(DENIED).refusal(["a fox", "a blood bath"], "7")
    assert refusal is not None
    assert refusal.rule == "deny list, line 2"
    assert "blood" not in refusal.reason


def test_a_long_text_takes_no_time() -> None:
    assert DENIED.line_of("a 1 b2 " * 20_000) is None


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Rules.load(tmp_path / "missing.txt")
    (tmp_path / "latin").write_bytes(b"\xe4")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Rules.load(tmp_path / "latin")


@pytest.mark.parametrize("name", ["nowhere:check", "os.path:nothing", "os.path", ":", "os:name"])
def test_a_check_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="check"):
        Rules.load(check=name)


def test_a_check_is_found_by_its_name() -> None:
    assert Rules.load(check="os.path:commonprefix").check is not None
