"""The classes of a pack are read in its files, which are never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfypod.image.node_classes import find_classes


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ('NODE_CLASS_MAPPINGS = {"One": One, "Two 🦊": Two}', ["One", "Two 🦊"]),
        ('NODE_CLASS_MAPPINGS: dict[str, type] = {"One": One}', ["One"]),
        ('NODE_CLASS_MAPPINGS["One"] = One', ["One"]),
        ('NODE_CLASS_MAPPINGS.update({"One": One, **other})', ["One"]),
        ('if True:\n    a.NODE_CLASS_MAPPINGS = {"One": One}', ["One"]),
        ("NODE_CLASS_MAPPINGS = {f'{name}': node for name in names}", []),
        ('NODE_DISPLAY_NAME_MAPPINGS = {"One": "The first"}', []),
        ('class A:\n    def define_schema(cls):\n        return io.Schema(node_id="One", inputs=[])', ["One"]),
        ('class A(Base):\n    node_id = "One"', ["One"]),
        ('def define_schema(cls):\n    schema = super().define_schema()\n    schema.node_id = "One"', ["One"]),
    ],
)
def test_classes_are_found_as_packs_write_them(tmp_path: Path, text: str, classes: list[str]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "nodes.py").write_text(f"raise SystemExit\n{text}\n", encoding="utf-8")
    assert find_classes(tmp_path) == classes


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\xff",
        b"NODE_CLASS_MAPPINGS = {",
        b"(" * 5_000,
        b"x = " + b"-" * 100_000 + b"1",
        b"x = '\\d'\n" + b" " * (4 * 1024**2),
    ],
    ids=["bytes", "no Python", "brackets", "signs", "large"],
)
def test_a_file_that_breaks_parsers_hides_no_other(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.py").write_bytes(content)
    (tmp_path / "nodes.py").write_text('"\\d"\nNODE_CLASS_MAPPINGS = {"One": One, "\\n": Two}')
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    assert find_classes(tmp_path) == ["One"]
