"""What a node of the built-in engine is: its declaration, as ``/object_info`` shows it, and the function that runs it.

Values that travel between nodes (``[B, H, W, C]`` etc. as in ComfyUI, NumPy instead of torch):

=============  ==========================================================================================
``IMAGE``      float32 array ``[B, H, W, 3]``, 0..1
``MASK``       float32 array ``[B, H, W]``, 0..1
``LATENT``     ``{"samples": float32 array [B, 4, H / 8, W / 8]}``
``AUDIO``      ``{"waveform": float32 array [B, channels, samples], -1..1, "sample_rate": per second}``
others         objects of the node modules (``MODEL``, ``CLIP``, ``VAE``, ``CONDITIONING``, ``VIDEO`` …)
=============  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.float32]


class InterruptedByUserError(Exception):
    """The prompt was interrupted; raised out of a node by `NodeContext.check_interrupted` and ``report_progress``."""


class NodeContext(Protocol):
    """What a running node may know and ask of the engine."""

    @property
    def input_folder(self) -> Path:
        """Where uploaded files lie."""

    @property
    def output_folder(self) -> Path:
        """Where saved files go."""

    @property
    def temporary_folder(self) -> Path:
        """Where previews go (``type: "temp"``)."""

    @property
    def prompt(self) -> Mapping[str, Any]:
        """The workflow that is running, in API format; saved in a PNG's metadata."""

    @property
    def extra_pnginfo(self) -> Mapping[str, Any] | None:
        """``extra_data.extra_pnginfo`` of the request; saved in a PNG's metadata."""

    @property
    def previews_wanted(self) -> bool:
        """Whether a preview image handed to `report_progress` would be sent to anybody."""

    def check_interrupted(self) -> None:
        """Raise `InterruptedByUserError` if the prompt was interrupted."""

    def report_progress(self, value: int, maximum: int, preview: Image.Image | None = None) -> None:
        """Do what `check_interrupted` does, then send ``progress`` (and a preview)."""

    def send_picture(self, value: int, maximum: int, picture: Image.Image) -> None:
        """Report progress with a picture that is sent unscaled, as PNG, whether previews are wanted or not."""


class Catalog(Protocol):
    """The files that choices are made of; looked at anew for every ``/object_info`` and every validation."""

    def models(self, folder: str) -> Sequence[str]:
        """Sorted names of the model files in ``folder`` ("checkpoints", "loras", "vae" …)."""

    def input_files(self) -> Sequence[str]:
        """Sorted names of the files directly in the input folder."""

    def resolve_input(self, name: str) -> Path | None:
        """The path of ``name`` ("x.png", "sub/x.png", "x.png [output]"), or None if there is no such file there."""


Choices = Sequence[str] | Callable[[Catalog], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Input:
    """One declared input: a type name ("INT", "IMAGE", "*" …) or the choices of a list, and ComfyUI's options.

    Options are ComfyUI's own words: ``default``, ``min``, ``max``, ``step``, ``multiline``, ``image_upload``. Node
    classes of ComfyUI's second generation (``comfy_api``) show a list as type COMBO with the choices among the options:
    then ``combo`` is true.
    """

    kind: str | Choices
    options: Mapping[str, Any] = field(default_factory=dict)
    combo: bool = False


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What a node returns: one value per declared output, and what it shows (the ``output`` of ``executed``)."""

    outputs: tuple[Any, ...] = ()
    ui: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NodeClass:
    """One node class.

    ``run(context, **inputs) -> NodeResult`` gets every declared input by name (optional ones only if given).
    ``fingerprint(catalog, **literal inputs)`` returns what the cache key must hold besides the inputs (the content hash
    of an input file).
    ``validate(catalog, **literal inputs)`` returns True or the sentence of ``custom_validation_failed``. The inputs
    that it names, all of them if it takes ``**``, are spared the checks of range and choices.
    """

    name: str
    run: Callable[..., NodeResult]
    required: Mapping[str, Input] = field(default_factory=dict)
    optional: Mapping[str, Input] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    output_node: bool = False
    display_name: str = ""
    category: str = ""
    description: str = ""
    fingerprint: Callable[..., str] | None = None
    validate: Callable[..., bool | str] | None = None
