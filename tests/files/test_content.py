"""A file's bytes with some of them replaced, as they are handed over."""

from __future__ import annotations

import random
from hashlib import sha256
from pathlib import Path

import pytest

from comfypod.files.content import FileContent, Patch, read_block

BYTES = bytes(range(256)) * 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(BYTES)
    return path


def test_a_file_without_patches_is_read_as_it_is(path: Path) -> None:
    content = FileContent(path)
    assert content.size_bytes() == len(BYTES)
    assert bytes(content.read(sha256())) == BYTES


def test_what_is_read_is_hashed(path: Path) -> None:
    large = random.Random(1).randbytes(1_000_000)  # noqa: S311
    path.write_bytes(large)
    expected = large[:300_000] + b"other" + large[300_005:900_000]
    digest = sha256()
    content = FileContent(path, [Patch(300_000, 300_005, b"other")])
    assert bytes(content.read(digest, 900_000)) == expected
    assert digest.digest() == sha256(expected).digest()


@pytest.mark.parametrize("seed", range(30))
def test_patches_are_read_in_place_of_what_they_replace(path: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    cuts = sorted(rng.sample(range(len(BYTES) + 1), 8)) if seed else [0, 0, 5, 5, 5, 9, len(BYTES), len(BYTES)]
    patches = [Patch(a, b, rng.randbytes(rng.choice([0, 1, 3000]))) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
    expected = BYTES
    for patch in reversed(patches):
        expected = expected[: patch.start] + patch.data + expected[patch.end :]
    content = FileContent(path, patches)

    assert content.size_bytes() == len(expected)
    assert bytes(content.read(sha256())) == expected
    with content.open() as file:
        assert b"".join(iter(lambda: file.read(rng.choice([1, 7, 1000])), b"")) == expected
    content.copy_to(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == expected


def test_an_empty_file_has_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert FileContent(tmp_path / "empty").read(sha256()) == b""


def test_a_file_that_became_shorter_is_no_content(path: Path) -> None:
    with FileContent(path).open() as file:
        path.write_bytes(b"short")
        with pytest.raises(OSError, match="shorter"):
            read_block(file, len(BYTES), sha256())
