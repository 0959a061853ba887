"""Files of the nodes: finding an input, decoding a picture with care, and naming an output as ComfyUI does.

Names and pixels come from whoever sends a workflow, so nothing outside the engine's folders is read or written, only
plain picture formats are decoded, and a picture is measured before it is decoded.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import posixpath
import secrets
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, ImageSequence

from comfypod.emulator.nodes.base import Catalog, NodeContext
from comfypod.emulator.nodes.pixels import LIMIT_PIXELS

# Pillow can open much more; some of it runs other programs (EPS) or is rarely tested. ComfyUI opens all.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "AVIF")


def input_path(context: NodeContext, name: str) -> Path:
    """The path of an input such as ``x.png``, ``sub/x.png`` or ``x.png [output]``.

    Raises:
        FileNotFoundError: no such file in that folder, or the name leads out of it.
    """
    folders = {"input": context.input_folder, "output": context.output_folder, "temp": context.temporary_folder}
    folder, plain_name = context.input_folder, name
    for folder_type, annotated_folder in folders.items():
        if name.endswith(f"[{folder_type}]"):
            folder, plain_name = annotated_folder, name.removesuffix(f"[{folder_type}]")[:-1]
    path = _inside(folder, plain_name)
    if path is None or not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return path


def _inside(root: Path, name: str) -> Path | None:
    """The path of ``name`` below ``root``; None if it leads out.

    Symbolic links are followed wherever they lead, as ComfyUI does: volumes are linked so, and no workflow makes links.
    """
    path = Path(os.path.abspath(root / name))  # noqa: PTH100 - resolve() would follow links
    return path if path.is_relative_to(os.path.abspath(root)) else None  # noqa: PTH100


def found_input(catalog: Catalog, name: str) -> Path:
    """The path of an input file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = catalog.resolve_input(name)
    if path is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return path


def content_hash(catalog: Catalog, name: str) -> str:
    """The SHA-256 of an input file, in hexadecimal.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with found_input(catalog, name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def validate_file(catalog: Catalog, name: str, kind: str) -> bool | str:
    """Return True, or what ComfyUI says of an input that does not exist; ``kind`` is its word for it, "image"."""
    return True if catalog.resolve_input(name) is not None else f"Invalid {kind} file: {name}"


def files_of_types(catalog: Catalog, *types: str) -> list[str]:
    """Return the input files whose names speak of "image", "audio" or "video"."""
    return [name for name in catalog.input_files() if _media_type(name) in types]


def _media_type(name: str) -> str:
    # Some systems do not know webp, which ComfyUI therefore knows by itself (folder_paths.py).
    guessed = "image/webp" if name.endswith(".webp") else mimetypes.guess_type(name, strict=False)[0]
    return (guessed or "").split("/", maxsplit=1)[0]


def open_frames(path: Path, *, only_first: bool = False, limit_pixels: int = LIMIT_PIXELS) -> Iterator[Image.Image]:
    """Decode the frames of a picture one by one, turned upright as its EXIF data says.

    Raises:
        PIL.UnidentifiedImageError: it is no picture, or of an unusual format.
        OSError: it is cut off or broken.
        ValueError: it has more than ``limit_pixels`` pixels, all frames together.
    """
    try:
        image = Image.open(path, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path.name} is too large to load: {error}") from error
    with image:
        # The other frames of an MPO are views of the same photograph; ComfyUI leaves them out too.
        frames = [image] if only_first or image.format == "MPO" else ImageSequence.Iterator(image)
        for number, frame in enumerate(frames, start=1):
            if number * frame.width * frame.height > limit_pixels:
                size = f"{frame.width}x{frame.height}, frame {number}"
                raise ValueError(f"{path.name} ({size}) has more than {limit_pixels} pixels; use a smaller image")
            yield _upright(frame)


def _upright(frame: Image.Image) -> Image.Image:
    """A decoded copy of a frame, turned as its EXIF data says; sixteen-bit grey as eight-bit."""
    try:
        upright = ImageOps.exif_transpose(frame)
    except SyntaxError as error:
        # Pillow reports some broken files so ("broken PNG file").
        raise OSError(f"the image file is broken: {error}") from error
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        # As ComfyUI: the value is divided by 255, and 65535 gives 257, which is cut to 255.
        return upright.convert("I").point(lambda value: value * (1 / 255)).convert("L")
    return upright


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """Where the next files of a prefix go: ``FOLDER/NAME_00001_.png`` and so on, counting from ``counter``."""

    folder: Path
    name: str
    subfolder: str
    counter: int

    def path(self, index: int, extension: str) -> Path:
        """The path of file number ``index`` of this run."""
        name = self.name.replace("%batch_num%", str(index))
        return self.folder / f"{name}_{self.counter + index:05}_.{extension}"

    def entry(self, path: Path, folder_type: str) -> dict[str, str]:
        """What a node says of a file that it saved here; ``folder_type`` is "output" or "temp"."""
        return {"filename": path.name, "subfolder": self.subfolder, "type": folder_type}


def temporary_prefix() -> str:
    """A new prefix for files that are only shown."""
    return "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))


def output_target(root: Path, prefix: str, width: int, height: int) -> OutputTarget:
    """Find folder and counter for a file name prefix, which may hold subfolders and tokens such as ``%width%``.

    The rules are those of ``folder_paths.get_save_image_path`` of ComfyUI 0.3.64: the counter goes on from the highest
    number in the folder, whatever the extension. The folder is made.

    Raises:
        ValueError: the prefix leads out of ``root``.
    """
    normal = posixpath.normpath(_with_tokens(prefix, width, height))
    subfolder, name = posixpath.split(normal)
    folder = _inside(root, subfolder)
    if folder is None or name in {"..", ""}:
        raise ValueError(f"Saving image outside the output folder is not allowed: {prefix!r}")
    folder.mkdir(parents=True, exist_ok=True)
    return OutputTarget(folder, name, subfolder, _next_counter(folder, name))


def _with_tokens(prefix: str, width: int, height: int) -> str:
    """Replace the tokens that ComfyUI's server knows; others are the web page's and stay as they are."""
    now = time.localtime()
    values = {
        "width": width,
        "height": height,
        "year": now.tm_year,
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for token, value in values.items():
        prefix = prefix.replace(f"%{token}%", str(value))
    return prefix


def _next_counter(folder: Path, name: str) -> int:
    """One more than the highest number after ``NAME_`` in the folder."""
    start = f"{name}_"
    numbers = [0]
    for path in folder.iterdir():
        digits = path.name[len(start) :].split("_")[0] if path.name.startswith(start) else ""
        # isdigit() alone would let "²" through, which int() refuses.
        numbers.append(int(digits) if digits.isascii() and digits.isdigit() else 0)
    return max(numbers) + 1
