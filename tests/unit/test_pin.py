"""`ComfyUIPin`: read, and moved without touching anything else in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfypod.comfyui.pin import ComfyUIPin
from comfypod.errors import ConfigurationError

TEXT = """# Which ComfyUI. version = "none"
repository = "https://example.test/ComfyUI"  # or a mirror
version = '0.8.2'  # as tagged
commit = "1111111111111111111111111111111111111111"

# How it is started.
flags = ["--disable-auto-launch", "--reserve-vram=1"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "comfyui.toml").write_text(TEXT)
    return tmp_path / "comfyui.toml"


def test_a_moved_pin_keeps_comments_and_flags(path: Path) -> None:
    moved = ComfyUIPin.load(path).moved(path, "0.33.0", "2" * 40)
    assert ComfyUIPin.load(path) == moved
    assert moved.flags == ("--disable-auto-launch", "--reserve-vram=1")
    assert path.read_text() == TEXT.replace("'0.8.2'", '"0.33.0"').replace("1" * 40, "2" * 40)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("version = '0.8.2'", "'version' = '0.8.2'"),
        TEXT.replace("https", "http"),  # edited since it was read
        TEXT.replace("flags = [", "flags = "),
    ],
)
def test_a_file_that_cannot_be_changed_safely_stays_as_it_is(path: Path, text: str) -> None:
    pin = ComfyUIPin.load(path)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"comfyui\.toml"):
        pin.moved(path, "0.33.0", "2" * 40)
    assert path.read_text() == text
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("commit", ["", "master", "1" * 39, "1" * 41])
def test_only_a_whole_commit_is_a_pin(path: Path, commit: str) -> None:
    path.write_text(TEXT.replace("1" * 40, commit))
    with pytest.raises(ConfigurationError, match="commit: must be"):
        ComfyUIPin.load(path)


@pytest.mark.parametrize("version", ['0.33.0"\nflags = ["--listen', "\\"])
def test_a_hostile_version_cannot_write_anything_else(path: Path, version: str) -> None:
    with pytest.raises(ConfigurationError):
        ComfyUIPin.load(path).moved(path, version, "2" * 40)
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("version = 3", "repository: must be a text"),
        (TEXT.replace("'0.8.2'", "3"), "version: must be a text"),
        (TEXT.replace("flags = [", "flags = [1, "), "flags: must be a list of texts"),
        ("version", "Expected"),
    ],
)
def test_a_file_that_is_no_pin_is_told(path: Path, text: str, part: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=part):
        ComfyUIPin.load(path)
