"""Names and places of files: what ``/view`` shows and where uploads go. ComfyUI's rules, blocking file access.

Symbolic links are followed, also out of the folders, as ComfyUI does: to make one takes access to the folders anyway.
"""

from __future__ import annotations

import filecmp
import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

FOLDER_NAMES = ("input", "output", "temp")
DEFAULT_PREVIEW_QUALITY = 90


class BadPathError(Exception):
    """A name that ``/view`` or an upload refuses; ``status`` is the HTTP status of the empty answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The path is refused with status {status}.")
        self.status = status


@dataclass(frozen=True, slots=True)
class Folders:
    """The base directory, and the three folders that file names refer to by ``type``; all absolute."""

    base: Path
    input: Path
    output: Path
    temp: Path

    @classmethod
    def below(
        cls,
        base_directory: Path,
        *,
        input_directory: Path | None = None,
        output_directory: Path | None = None,
        temporary_directory: Path | None = None,
    ) -> Folders:
        """Return the folders of a base directory, or those given in their place, without making them.

        The temporary one is called ``temp`` in any case, because it will be emptied (``main.py`` of ComfyUI 0.8.2).
        """
        base = _absolute(base_directory)
        return cls(
            base,
            _absolute(input_directory or base / "input"),
            _absolute(output_directory or base / "output"),
            _absolute(temporary_directory or base) / "temp",
        )

    def of_type(self, name: str) -> Path | None:
        """Return the folder called input, output or temp."""
        return getattr(self, name) if name in FOLDER_NAMES else None

    def as_arguments(self) -> list[str]:
        """Return the command line with which ComfyUI would use these folders."""
        return [
            str(self.base / "main.py"),
            *("--base-directory", str(self.base)),
            *("--input-directory", str(self.input)),
            *("--output-directory", str(self.output)),
            *("--temp-directory", str(self.temp.parent)),
        ]

    def prepare(self) -> None:
        """Make the folders, and empty the one for temporary files."""
        self.remove_temporary()
        for folder in (self.input, self.output, self.temp):
            folder.mkdir(parents=True, exist_ok=True)

    def remove_temporary(self) -> None:
        """Remove the temporary folder with all it holds."""
        shutil.rmtree(self.temp, ignore_errors=True)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links must stay as they are


def split_annotation(name: str) -> tuple[str, str | None]:
    """Split ``x.png [output]`` into name and folder type; the type is None if there is no annotation."""
    for folder_type in FOLDER_NAMES:
        suffix = f"[{folder_type}]"
        if name.endswith(suffix):
            # ComfyUI drops one more character, whatever it is: it expects a space there.
            return name[: -len(suffix) - 1], folder_type
    return name, None


def join_inside(root: Path, *parts: str) -> Path | None:
    """Join names to a folder; None if the result lies outside of it. Links are not resolved."""
    joined = os.path.abspath(os.path.join(root, *parts))  # noqa: PTH100, PTH118 - as above
    return Path(joined) if Path(joined).is_relative_to(root) else None


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also for a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises if the name is too long


def find_viewed(folders: Folders, filename: str | None, folder_type: str, subfolder: str | None) -> Path:
    """Return the file that ``/view`` is asked for.

    Raises:
        BadPathError: with 400, 403 or 404, in the order in which ComfyUI looks.
    """
    if filename is None:
        raise BadPathError(404)
    name, annotated_type = split_annotation(filename)
    if not name or name.startswith("/") or ".." in name:
        raise BadPathError(400)
    root = folders.of_type(annotated_type or folder_type)
    if root is None:
        raise BadPathError(400)
    folder = join_inside(root, subfolder or "")
    if folder is None:
        raise BadPathError(403)
    path = folder / Path(name).name
    if not is_file(path):
        raise BadPathError(404)
    return path


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of an upload form, with the form's other fields."""

    filename: str
    content: IO[bytes]
    folder_type: str = "input"
    subfolder: str = ""
    overwrite: bool = False

    def answer(self, stored_name: str) -> dict[str, str]:
        """Return the body of the answer; callers must go on with its ``name``."""
        return {"name": stored_name, "subfolder": self.subfolder, "type": self.folder_type}


def place_upload(folders: Folders, upload: Upload) -> Path:
    """Choose where an upload goes: its own name, or ``name (1).ext`` if that holds other bytes.

    Raises:
        BadPathError: with 400, the name is empty or leads out of the folder.
        LookupError: there is no such folder type.
    """
    if not upload.filename:
        raise BadPathError(400)
    root = folders.of_type(upload.folder_type)
    if root is None:
        raise LookupError(f"There is no folder type {upload.folder_type!r}.")
    path = join_inside(root, os.path.normpath(upload.subfolder), upload.filename)
    if path is None or path == root:
        raise BadPathError(400)
    if upload.overwrite:
        return path
    candidate, number = path, 0
    while candidate.exists() and not _holds(candidate, upload.content):
        number += 1
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
    return candidate


def store_upload(folders: Folders, upload: Upload) -> str:
    """Write an upload and return the name under which it is stored.

    Raises:
        BadPathError, LookupError: as `place_upload`.
        OSError: the file cannot be written, for example because its name is too long.
    """
    path = place_upload(folders, upload)
    if upload.overwrite or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        upload.content.seek(0)
        with path.open("wb") as target:
            shutil.copyfileobj(upload.content, target)
    return _stored_name(path, upload)


def _stored_name(path: Path, upload: Upload) -> str:
    """Return the name as it was sent, with the number it may have got."""
    return (Path(upload.filename).parent / path.name).as_posix()


def _holds(path: Path, content: IO[bytes]) -> bool:
    """Whether a file holds exactly these bytes."""
    if not is_file(path):
        return False
    content.seek(0)
    with path.open("rb") as stored:
        while True:
            block = stored.read(filecmp.BUFSIZE)
            if block != content.read(filecmp.BUFSIZE):
                return False
            if not block:
                return True


def store_mask(folders: Folders, upload: Upload, original: Path) -> str:
    """Write ``original`` with the alpha channel of the uploaded mask; return the stored name.

    Nothing is written if there is no original: ComfyUI answers as if it had been.
    """
    path = place_upload(folders, upload)
    if not is_file(original):
        return _stored_name(path, upload)
    with Image.open(original) as image, Image.open(upload.content) as mask:
        metadata = PngInfo()
        for key, value in getattr(image, "text", {}).items():
            metadata.add_text(key, value)
        masked = image.convert("RGBA")
        masked.putalpha(mask.convert("RGBA").getchannel("A"))
        path.parent.mkdir(parents=True, exist_ok=True)
        masked.save(path, format="PNG", pnginfo=metadata, compress_level=4)
    return _stored_name(path, upload)


def reencode_preview(path: Path, wish: str) -> tuple[bytes, str]:
    """Return an image as ``webp`` or ``jpeg``, and its content type; ``wish`` is ``format;quality`` or less.

    Raises:
        ValueError, OSError: the file is no image, or the quality is out of range.
        PIL.Image.DecompressionBombError: the image is far larger than any that was made here.
    """
    fields = wish.split(";")
    image_format = fields[0] if fields[0] in {"webp", "jpeg"} else "webp"
    quality = int(fields[-1]) if fields[-1].isdigit() else DEFAULT_PREVIEW_QUALITY
    if quality > 100:
        raise ValueError(f"Quality {quality} is above 100.")
    buffer = io.BytesIO()
    with Image.open(path) as image:
        shown = image.convert("RGB") if image_format == "jpeg" else image
        shown.save(buffer, format=image_format, quality=quality)
    return buffer.getvalue(), f"image/{image_format}"


def reencode_channel(path: Path, channel: str) -> bytes:
    """Return only the colours (``rgb``) or only the alpha (``a``) of an image, as PNG without metadata.

    Raises:
        ValueError, OSError: the file is no image.
        PIL.Image.DecompressionBombError: the image is far larger than any that was made here.
    """
    buffer = io.BytesIO()
    with Image.open(path) as image:
        if channel == "rgb":
            shown = image.convert("RGB")
        else:
            alpha = image.convert("RGBA").getchannel("A")
            shown = Image.new("RGBA", image.size)
            shown.putalpha(alpha)
        shown.save(buffer, format="PNG")
    return buffer.getvalue()
