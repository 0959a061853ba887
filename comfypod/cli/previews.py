"""The newest preview of a job as a picture on the terminal, by ``textual-image`` (the extra ``comfypod[previews]``).

It draws by kitty's protocol, in sixels (iTerm2, WezTerm, foot, xterm …), or in half blocks of 24-bit colour. Which of
them the terminal knows it asks the terminal, when it is imported: hence only here, and only if previews are wanted.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from comfypod.cloud.jobs import JobProgress
from comfypod.errors import ConfigurationError

LARGEST_PREVIEW_BYTES = 4 * 1024 * 1024
LARGEST_PREVIEW_PIXELS = 16_000_000
LARGEST_SHOWN_PIXELS = (512, 512)
MOST_ROWS = 20
FEWEST_ROWS = 4
_ROWS_FOR_TEXT = 4
_FORMATS = ("JPEG", "PNG", "WEBP")
"""What ComfyUI sends; Pillow's other decoders are kept away from what a worker says is a picture."""


class _Drawing(Protocol):
    """A renderable of ``textual_image.renderable``."""

    def __init__(self, image: Any, width: int | str | None = None, height: int | str | None = None) -> None: ...  # noqa: ANN401 (Pillow's)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult: ...


def open_screen(console: Console) -> PreviewScreen | None:
    """A place for previews on this terminal, None if it can show none. Call it before anything moves on the terminal.

    Raises:
        ConfigurationError: what draws them is not installed.
    """
    if not sys.stdin.isatty():
        return None  # the terminal is asked through stdin; textual-image 0.12 fails to be imported without
    # It warns when a terminal does not tell the size of its cells, and then supposes one: nothing for a person to read.
    logging.getLogger("textual_image").addHandler(logging.NullHandler())
    drawing = _drawing_for(console)
    rows = min(MOST_ROWS, console.height - _ROWS_FOR_TEXT)
    if drawing is None or rows < FEWEST_ROWS:
        return None
    from PIL import Image  # noqa: PLC0415 (slow, and of the extra)

    # Asks for that size, once: now, and not in the middle of a moving bar.
    console.measure(drawing(Image.new("RGB", (1, 1)), width="auto", height=rows))
    return PreviewScreen(drawing, rows)


def _drawing_for(console: Console) -> type[_Drawing] | None:
    try:
        from textual_image import renderable  # noqa: PLC0415 (asks the terminal)
    except ModuleNotFoundError as error:
        missing = "Previews on a terminal need pip install 'comfypod[previews]'; or leave out --previews."
        raise ConfigurationError([missing]) from error
    if renderable.Image is renderable.SixelImage:
        return renderable.SixelImage
    if console.no_color or console.color_system != "truecolor":
        return None  # half blocks are made of colours, and kitty's placeholders name their picture by a colour
    return renderable.TGPImage if renderable.Image is renderable.TGPImage else renderable.HalfcellImage


class PreviewScreen:
    """Shows the newest preview; a rich renderable, to stand in a `rich.live.Live`."""

    def __init__(self, drawing: type[_Drawing], rows: int) -> None:
        self._drawing = drawing
        self._rows = rows
        self._newest = b""
        self._picture: _Drawn | None = None

    def show(self, progress: JobProgress | None) -> None:
        """Take the preview of an update; one that is no picture, or none at all, changes nothing."""
        preview = progress.preview if progress is not None else None
        if preview is None or preview.data == self._newest:
            return
        self._newest = preview.data
        image = decode(preview.data)
        if image is not None:
            self._picture = _Drawn(self._drawing(image, width="auto", height=self._rows))

    def clear(self) -> None:
        """Show nothing."""
        self._picture = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._picture is not None:
            yield self._picture


class _Drawn:
    """A picture that is drawn once and then repeated, since rich asks for it several times a second."""

    def __init__(self, drawing: _Drawing) -> None:
        self._drawing = drawing
        self._width = 0
        self._segments: list[Segment] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width != self._width:
            self._width = options.max_width
            self._segments = list(console.render(self._drawing, options))
        return self._segments


def decode(data: bytes) -> Any:  # noqa: ANN401 (Pillow's)
    """The picture as Pillow has it, at most as large as it is shown; None if it is none, or too large to be one."""
    from PIL import Image  # noqa: PLC0415 (slow, and of the extra)

    from comfypod.files.pictures import FAILURES  # noqa: PLC0415

    if len(data) > LARGEST_PREVIEW_BYTES:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > LARGEST_PREVIEW_PIXELS:
                return None
            picture = image.convert("RGB")
    except FAILURES:
        return None
    picture.thumbnail(LARGEST_SHOWN_PIXELS)
    return picture
