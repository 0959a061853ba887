"""The linear picture code of the built-in engine, in the place of a VAE: pictures to latents and back.

For development and tests; not a model. Four channels at an eighth of the resolution cannot hold a sharp picture, so a
latent carries what they leave out beside them:

- ``samples``: float32 ``[B, 4, H / 8, W / 8]``. Channels 0 to 2 are the mean red, green and blue of a cell of 8 x 8
  pixels (-1..1); channel 3 is how brightness climbs from the left to the right of the cell.
- ``detail``: float16 ``[B, H, W, 3]``, the picture less what the samples alone decode to. Empty latents have none.

Encoding and decoding are linear, so a mixture of pictures has the same mixture of latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

CELL = 8
"""Pixels along each side of a latent cell, as in the VAEs of Stable Diffusion."""

LIMIT_PIXELS = 1 << 24
"""Pixels of a whole batch that sampling, decoding and encoding accept: four pictures of 2048 x 2048."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_RAMP = ((np.arange(CELL) - (CELL - 1) / 2) / (CELL / 2)).astype(np.float32)
_RAMP_POWER = float(np.mean(_RAMP**2))


def check_size(batch: int, height: int, width: int, limit: int = LIMIT_PIXELS) -> None:
    """Refuse a batch of pictures (pixels) that would not fit into memory.

    Raises:
        MemoryError: the batch holds more than ``limit`` pixels.
    """
    if batch * height * width > limit:
        raise MemoryError(
            f"{batch} x {width} x {height} pixels are more than the built-in engine handles at once ({limit} pixels); "
            "use smaller pictures or a smaller batch"
        )


def encode_picture(picture: FloatArray) -> FloatArray:
    """Encode pictures ``[..., H, W, 3]`` (-1..1, H and W multiples of 8) as samples ``[..., 4, H / 8, W / 8]``."""
    *batch, height, width, _ = picture.shape
    cells = picture.reshape(*batch, height // CELL, CELL, width // CELL, CELL, 3).mean(axis=-4)
    colour = cells.mean(axis=-2)
    climb = np.einsum("...xc,x,c->...", cells, _RAMP, _LUMA, optimize=True) / (CELL * _RAMP_POWER)
    return np.moveaxis(np.concatenate([colour, climb[..., None]], axis=-1), -1, -3).astype(np.float32)


def decode_samples(samples: FloatArray) -> FloatArray:
    """Decode samples ``[..., 4, h, w]`` alone: a coarse picture ``[..., 8 h, 8 w, 3]``."""
    cells = np.moveaxis(samples, -3, -1)
    climb = cells[..., None, 3:] * _RAMP[:, None]
    rows = (cells[..., None, :3] + climb).reshape(*cells.shape[:-2], cells.shape[-2] * CELL, 3)
    return np.repeat(rows, CELL, axis=-3).astype(np.float32)


def to_latent(pictures: FloatArray) -> dict[str, Any]:
    """Encode pictures ``[B, H, W, 3]`` (-1..1, H and W multiples of 8) without loss."""
    samples = encode_picture(pictures)
    return {"samples": samples, "detail": (pictures - decode_samples(samples)).astype(np.float16)}


def from_latent(latent: Mapping[str, Any]) -> FloatArray:
    """Decode a latent to pictures ``[B, H, W, 3]`` (-1..1).

    Raises:
        MemoryError: the pictures would be too large; see `check_size`.
    """
    samples: FloatArray = latent["samples"]
    batch, _, rows, columns = samples.shape
    check_size(batch, rows * CELL, columns * CELL)
    pictures = decode_samples(samples)
    if "detail" in latent:
        pictures += latent["detail"]
    return pictures
