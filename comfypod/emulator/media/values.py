"""What the media modules take and give: arrays as ComfyUI's tensors are laid out."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Audio(TypedDict):
    """``AUDIO``: sound of one or more pieces of the same length."""

    waveform: FloatArray
    """``[B, channels, samples]``, -1..1."""
    sample_rate: int
    """Samples per second."""
