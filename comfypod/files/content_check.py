"""Is an input file what its name says, and safe to hand to ComfyUI?

ComfyUI opens files by their content, so some questions are asked of every file: does it run code, does it make its
reader open other files, is it larger unpacked than is allowed. The rest depends on the name.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

import puremagic

from comfypod.errors import InputFetchFailed
from comfypod.files.documents import TEXT_SUFFIXES, check_drawing, check_references, check_scene, check_text
from comfypod.files.facts import check_picture, look_at_picture, look_at_streams
from comfypod.files.isolation import FileRefused, HoldsSomethingElse, run_isolated
from comfypod.files.pickles import PICKLE_SUFFIXES, check_harmless
from comfypod.files.pictures import picture_suffixes, too_many_pixels
from comfypod.files.tensors import TENSOR_SUFFIXES, check_tensors, header_bytes

SOUND_SUFFIXES = frozenset(
    {".aac", ".ac3", ".aif", ".aiff", ".amr", ".ape", ".caf", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".opus"}
    | {".wav", ".wma", ".wv"}
)
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogg"}
    | {".ogv", ".ts", ".webm", ".wmv"}
)

_HEAD_BYTES = 1024**2
_QUICK_HEADER_BYTES = 1024**2
_JPEG_2000 = b"\xff\x4f\xff\x51"  # a bare codestream, which puremagic does not know
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def check_content(path: Path, name: str, maximum_pixels: int) -> None:
    """Raise unless the file can be handed to ComfyUI under this name.

    A picture of any accepted kind may have any picture's suffix. A suffix that is not known here is accepted.

    Args:
        path: The file.
        name: The job's name for it; its suffix says what it should be.
        maximum_pixels: Of a picture, all frames together; of a video, each frame.

    Raises:
        InputFetchFailed: it is something else, broken, truncated or too large, could run code, or would make a reader
            open other files.
    """
    suffix = PurePosixPath(name).suffix.lower()
    try:
        head = _read_head(path)
        _check_any(path, suffix, head)
        try:
            _check_named(path, suffix, head, maximum_pixels)
        except HoldsSomethingElse as refusal:
            raise FileRefused(f"is named {suffix} but {refusal}{_hint(head)}") from refusal
    except FileRefused as refusal:
        raise InputFetchFailed(name, f"it {refusal}") from refusal
    except OSError as error:
        raise InputFetchFailed(name, f"it cannot be read on the worker ({error.strerror})") from error


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _check_any(path: Path, suffix: str, head: bytes) -> None:
    """What holds for files of every name."""
    if suffix in PICKLE_SUFFIXES:
        raise FileRefused(f"is named {suffix}, and such files can run code when they are loaded")
    check_harmless(head, complete=len(head) < _HEAD_BYTES)
    check_references(head)
    if head.startswith(_ARCHIVES):
        run_isolated("check_archive", str(path.absolute()))


def _check_named(path: Path, suffix: str, head: bytes, maximum_pixels: int) -> None:
    if suffix in picture_suffixes():
        check_picture(path, maximum_pixels)
    elif suffix in SOUND_SUFFIXES | VIDEO_SUFFIXES:
        _check_streams(path, suffix, maximum_pixels)
    elif suffix in TENSOR_SUFFIXES:
        _check_tensors(path)
    elif suffix in TEXT_SUFFIXES:
        check_text(path)
    elif suffix == ".svg":
        check_drawing(path)
    elif suffix == ".glb":
        check_scene(path)
    else:
        _check_unknown(path, head, maximum_pixels)


def _check_streams(path: Path, suffix: str, maximum_pixels: int) -> None:
    streams = look_at_streams(path)
    # A recording without pictures is often named .mp4 or .webm, and ComfyUI's LoadAudio takes both.
    if not streams["audio_streams"] and (suffix in SOUND_SUFFIXES or not streams["video_streams"]):
        raise HoldsSomethingElse("holds no sound" if suffix in SOUND_SUFFIXES else "holds neither video nor sound")
    width, height = streams["width"] or 0, streams["height"] or 0
    if width * height > maximum_pixels:
        raise FileRefused(f"is a video of {width} x {height} pixels, more than the {maximum_pixels:,} allowed")


def _check_tensors(path: Path) -> None:
    """A header of up to 100 MB is allowed, and as JSON takes ten times that."""
    if header_bytes(path) <= _QUICK_HEADER_BYTES:
        check_tensors(path)
    else:
        run_isolated("check_tensors", str(path.absolute()))


def _check_unknown(path: Path, head: bytes, maximum_pixels: int) -> None:
    """ComfyUI's LoadImage opens a picture under any name, so its size counts under any name."""
    known = any(match.extension in picture_suffixes() for match in _matches(head))
    if not known and not head.startswith(_JPEG_2000):
        return
    with suppress(HoldsSomethingElse):
        facts = look_at_picture(path)
        if facts.pixels > maximum_pixels:
            raise FileRefused(too_many_pixels(facts, maximum_pixels))


def _hint(head: bytes) -> str:
    """What the file seems to be, for the sentence."""
    if not head:
        return "; it is empty"
    if head.startswith(_ARCHIVES):
        return "; it looks like a zip archive"
    matches = _matches(head)
    if matches and matches[0].name:
        return f"; it looks like: {matches[0].name}"
    return ""


def _matches(head: bytes) -> list[puremagic.PureMagicWithConfidence]:
    """What the first bytes may be, the likeliest first."""
    try:
        return puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):  # nothing known; nothing there
        return []
