"""One node's work: take so long, then save so many pictures of a size that is known. For ComfyUI and for the engine."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LOOK_SECONDS = 0.01
REPORT_SECONDS = 0.1
RUN_LENGTH = 3
"""zlib's Z_RLE: quick, stores noise as it is and makes nothing of the rest."""


def take_time(seconds: float, check: Callable[[], None], report: Callable[[int, int], None]) -> None:
    """Leave the processor alone for ``seconds``, as work on a GPU does.

    ``check`` raises if the prompt was interrupted; ``report(done, steps)`` is called ten times a second.
    """
    begun = time.monotonic()
    steps, reported = max(1, round(seconds / REPORT_SECONDS)), 0
    while (passed := time.monotonic() - begun) < seconds:
        check()
        if (done := int(passed / REPORT_SECONDS)) > reported:
            report(done, steps)
            reported = done
        time.sleep(min(LOOK_SECONDS, seconds - passed))


def save_pictures(folder: Path, number: int, count: int, size: int, noise_percent: int) -> Sequence[str]:
    """Save one picture of ``size`` x ``size``, ``count`` times; the names differ for every ``number``.

    The part that is noise takes three bytes a pixel, the rest nearly none. The first pixel is ``number``, so that
    anybody can tell whose picture it is; the noise is drawn from it.
    """
    pixels = np.zeros((size, size, 3), dtype=np.uint8)
    rows = size * noise_percent // 100
    pixels[:rows] = np.random.default_rng(number).integers(0, 256, (rows, size, 3), dtype=np.uint8)
    pixels[0, 0] = number >> 16 & 0xFF, number >> 8 & 0xFF, number & 0xFF
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1, compress_type=RUN_LENGTH)
    names = [f"benchmark_{number}_{index:02}.png" for index in range(count)]
    for name in names:
        (folder / name).write_bytes(encoded.getbuffer())
    return names
