"""Files that visitors send: what they are found to be, what of their names is kept, and how many."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from comfypod.errors import FileNotFound
from comfypod.schema.job import InputFile
from comfypod.web.runs.sniffing import HEAD_BYTES, Sniffed, sniff
from comfypod.web.runs.uploads import Uploads, harmless_name
from tests.web.run_site import STRANGER, VISITOR


def uploads_at(folder: Path, most: int = 100, most_bytes: int = 10**9) -> Uploads:
    uploads = Uploads(folder, most, most_bytes)
    uploads.open()
    return uploads


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def picture(format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (37, 21), "red").save(file, format_, **options)
    return file.getvalue()


async def test_an_upload_is_what_its_content_is_whatever_its_name_says(tmp_path: Path) -> None:
    uploads, content = uploads_at(tmp_path), picture("PNG")
    upload = await uploads.save(VISITOR, "page.html", chunks(content[:10], content[10:]))
    assert (upload.name, upload.content_type, upload.size_bytes) == ("page.html", "image/png", len(content))
    assert (upload.width, upload.height) == (37, 21)
    assert uploads.get(VISITOR, upload.id) == upload
    assert uploads.path(VISITOR, upload.id).read_bytes() == content
    assert uploads_at(tmp_path).get(VISITOR, upload.id) == upload  # after a restart


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (picture("JPEG"), Sniffed("image/jpeg", 37, 21)),
        (picture("JPEG", progressive=True, exif=b"Exif\0\0" + bytes(60_000)), Sniffed("image/jpeg", 37, 21)),
        (picture("GIF"), Sniffed("image/gif", 37, 21)),
        (picture("WEBP"), Sniffed("image/webp", 37, 21)),
        (picture("WEBP", lossless=True), Sniffed("image/webp", 37, 21)),
        (picture("WEBP", exif=b"Exif\0\0" + bytes(20)), Sniffed("image/webp", 37, 21)),
        (picture("PNG")[:20], Sniffed("image/png")),
        (picture("JPEG")[:30], Sniffed("image/jpeg")),
        (b"\xff\xd8\xff\xe0\xff", Sniffed("image/jpeg")),
        (b"RIFF\0\0\0\0WAVEfmt ", Sniffed("audio/wav")),
        (b"\0\0\0\x18ftypmp42", Sniffed("video/mp4")),
        (b"<html><script>alert(1)</script>", Sniffed("application/octet-stream")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Sniffed("application/octet-stream")),
        (b"", Sniffed("application/octet-stream")),
    ],
)
def test_first_bytes_tell_the_type_and_the_size(content: bytes, expected: Sniffed) -> None:
    assert sniff(content[:HEAD_BYTES]) == expected


async def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"beginning"
        raise ConnectionResetError

    uploads = uploads_at(tmp_path)
    with pytest.raises(ConnectionResetError):
        await uploads.save(VISITOR, "x.png", broken())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_the_oldest_make_room(tmp_path: Path) -> None:
    uploads = uploads_at(tmp_path, most=2, most_bytes=250)
    first, second, third = [await uploads.save(VISITOR, f"{number}.bin", chunks(bytes(100))) for number in range(3)]
    with pytest.raises(FileNotFound):
        uploads.get(VISITOR, first.id)
    assert [uploads.get(VISITOR, item.id).name for item in (second, third)] == ["1.bin", "2.bin"]
    other = await uploads.save(STRANGER, "other.bin", chunks(bytes(100)))  # 300 bytes in all
    with pytest.raises(FileNotFound):
        uploads.path(VISITOR, second.id)
    assert uploads.get(STRANGER, other.id) == other
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4


async def test_names_that_are_no_ids_lead_nowhere(tmp_path: Path) -> None:
    uploads = uploads_at(tmp_path)
    (tmp_path / "secret.json").write_text("{}", encoding="utf-8")
    for upload_id in ("../../../secret", "", "x" * 26, "/etc/passwd"):
        with pytest.raises(FileNotFound):
            uploads.get(VISITOR, upload_id)
    with pytest.raises(ValueError, match="no visitor"):
        await uploads.save("../../etc", "x", chunks(b""))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("photo.png", "photo.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        (".hidden.png", "hidden.png"),
        ('<img src=x onerror="alert(1)">.png', "img src=x onerror=alert(1).png"),
        ("photo [input]", "photo input"),
        ("line\nbreak\x00.png", "linebreak.png"),
        ("Grüße 🦊.png", "Grüße 🦊.png"),
        ("\ud800.png", "png"),
        ("", "file"),
        ("...", "file"),
    ],
)
def test_names_are_kept_as_far_as_they_are_harmless(given: str, kept: str) -> None:
    assert harmless_name(given) == kept
    assert InputFile(name=kept, data="").name == kept  # a job takes it


def test_long_names_end_as_they_did() -> None:
    name = harmless_name("ü" * 500 + ".png")
    assert name.endswith("ü.png")
    assert len(name.encode()) <= 120
