"""Nodes that write all pictures as the frames of one file: SaveAnimatedWEBP and SaveAnimatedPNG of ComfyUI 0.8.2."""

from __future__ import annotations

from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfypod.emulator.nodes.base import FloatArray, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import OutputTarget, output_target
from comfypod.emulator.nodes.metadata import embedded_texts
from comfypod.emulator.nodes.pixels import to_image

_WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}
_EXIF_MODEL, _EXIF_MAKE = 0x0110, 0x010F


def _save_webp(
    context: NodeContext,
    *,
    images: FloatArray,
    filename_prefix: str,
    fps: float,
    lossless: bool,
    quality: int,
    method: str,
) -> NodeResult:
    target = output_target(context.output_folder, filename_prefix, images.shape[2], images.shape[1])
    options = {"lossless": lossless, "quality": quality, "method": _WEBP_METHODS[method]}
    return _save(images, fps, target, extension="webp", exif=_webp_metadata(context), **options)


def _save_png(
    context: NodeContext, *, images: FloatArray, filename_prefix: str, fps: float, compress_level: int
) -> NodeResult:
    target = output_target(context.output_folder, filename_prefix, images.shape[2], images.shape[1])
    metadata = _png_metadata(context)
    return _save(images, fps, target, extension="png", pnginfo=metadata, compress_level=compress_level)


def _save(
    images: FloatArray,
    fps: float,
    target: OutputTarget,
    *,
    extension: str,
    **options: Any,  # noqa: ANN401 - Pillow's, which differ by format
) -> NodeResult:
    path = target.path(0, extension)
    first, *others = [to_image(picture) for picture in images]
    first.save(path, save_all=True, append_images=others, duration=int(1000.0 / fps), **options)
    # For a single picture ComfyUI 0.3.64 says [False] (WEBP) or [True] (PNG), 0.8.0 nothing.
    animated = {"animated": [True]} if others else {}
    return NodeResult(ui={"images": [target.entry(path, "output")], **animated})


def _webp_metadata(context: NodeContext) -> Image.Exif:
    """EXIF as ComfyUI writes it: the prompt as the camera's model, the rest in the tags from its make downwards."""
    prompt, *others = [f"{key}:{text}" for key, text in embedded_texts(context).items()]
    metadata = Image.Exif()
    metadata[_EXIF_MODEL] = prompt
    for offset, text in enumerate(others):
        metadata[_EXIF_MAKE - offset] = text
    return metadata


def _png_metadata(context: NodeContext) -> PngInfo:
    """One private chunk ``comf`` per text, behind the pictures."""
    metadata = PngInfo()
    for key, text in embedded_texts(context).items():
        metadata.add(b"comf", key.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    return metadata


_COMMON = {
    "images": Input("IMAGE"),
    "filename_prefix": Input("STRING", {"default": "ComfyUI", "multiline": False}),
    "fps": Input("FLOAT", {"default": 6.0, "min": 0.01, "max": 1000.0, "step": 0.01}),
}

SAVE_ANIMATED_WEBP = NodeClass(
    name="SaveAnimatedWEBP",
    run=_save_webp,
    required={
        **_COMMON,
        "lossless": Input("BOOLEAN", {"default": True}),
        "quality": Input("INT", {"default": 80, "min": 0, "max": 100}),
        "method": Input(tuple(_WEBP_METHODS), combo=True),
    },
    output_node=True,
    category="image/animation",
)

SAVE_ANIMATED_PNG = NodeClass(
    name="SaveAnimatedPNG",
    run=_save_png,
    required={**_COMMON, "compress_level": Input("INT", {"default": 4, "min": 0, "max": 9})},
    output_node=True,
    category="image/animation",
)

NODES = (SAVE_ANIMATED_WEBP, SAVE_ANIMATED_PNG)
