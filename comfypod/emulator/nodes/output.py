"""Nodes that write files: SaveImage, PreviewImage and SaveAnimatedWEBP, with ComfyUI's names and metadata."""

from __future__ import annotations

import json
import secrets
import string

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfypod.emulator.nodes.base import FloatArray, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import OutputTarget, output_target
from comfypod.emulator.nodes.pixels import to_image

_WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}
_EXIF_MODEL, _EXIF_MAKE = 0x0110, 0x010F


def _save(context: NodeContext, *, images: FloatArray, filename_prefix: str) -> NodeResult:
    target = output_target(context.output_folder, filename_prefix, images.shape[2], images.shape[1])
    return _write_pngs(context, images, target, folder_type="output", compress_level=4)


def _preview(context: NodeContext, images: FloatArray) -> NodeResult:
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
    target = output_target(context.temporary_folder, f"ComfyUI_temp_{letters}", images.shape[2], images.shape[1])
    return _write_pngs(context, images, target, folder_type="temp", compress_level=1)


def _write_pngs(
    context: NodeContext, images: FloatArray, target: OutputTarget, *, folder_type: str, compress_level: int
) -> NodeResult:
    """Write one PNG per picture; each holds the workflow, so that it can be opened in ComfyUI."""
    metadata = PngInfo()
    metadata.add_text("prompt", json.dumps(context.prompt))
    for key, value in (context.extra_pnginfo or {}).items():
        metadata.add_text(key, json.dumps(value))
    entries: list[dict[str, str]] = []
    for index, picture in enumerate(images):
        path = target.path(index, "png")
        to_image(picture).save(path, pnginfo=metadata, compress_level=compress_level)
        entries.append({"filename": path.name, "subfolder": target.subfolder, "type": folder_type})
    return NodeResult(ui={"images": entries})


def _save_animation(
    context: NodeContext,
    *,
    images: FloatArray,
    filename_prefix: str,
    fps: float,
    lossless: bool,
    quality: int,
    method: str,
) -> NodeResult:
    """Write all pictures as the frames of one file."""
    target = output_target(context.output_folder, filename_prefix, images.shape[2], images.shape[1])
    first, *others = [to_image(picture) for picture in images]
    path = target.path(0, "webp")
    first.save(
        path,
        save_all=True,
        append_images=others,
        duration=int(1000.0 / fps),
        exif=_webp_metadata(context, first),
        lossless=lossless,
        quality=quality,
        method=_WEBP_METHODS[method],
    )
    entry = {"filename": path.name, "subfolder": target.subfolder, "type": "output"}
    # For a single picture ComfyUI 0.3.64 says [False], 0.8.0 nothing.
    return NodeResult(ui={"images": [entry], **({"animated": [True]} if others else {})})


def _webp_metadata(context: NodeContext, image: Image.Image) -> Image.Exif:
    """EXIF as ComfyUI writes it: the prompt as the camera's model, the rest in the tags from its make downwards."""
    metadata = image.getexif()
    metadata[_EXIF_MODEL] = f"prompt:{json.dumps(context.prompt)}"
    for offset, (key, value) in enumerate((context.extra_pnginfo or {}).items()):
        metadata[_EXIF_MAKE - offset] = f"{key}:{json.dumps(value)}"
    return metadata


_PREFIX = {"default": "ComfyUI"}

SAVE_IMAGE = NodeClass(
    name="SaveImage",
    run=_save,
    required={"images": Input("IMAGE"), "filename_prefix": Input("STRING", {**_PREFIX})},
    output_node=True,
    display_name="Save Image",
    category="image",
)

PREVIEW_IMAGE = NodeClass(
    name="PreviewImage",
    run=_preview,
    required={"images": Input("IMAGE")},
    output_node=True,
    display_name="Preview Image",
    category="image",
)

SAVE_ANIMATED_WEBP = NodeClass(
    name="SaveAnimatedWEBP",
    run=_save_animation,
    required={
        "images": Input("IMAGE"),
        "filename_prefix": Input("STRING", _PREFIX),
        "fps": Input("FLOAT", {"default": 6.0, "min": 0.01, "max": 1000.0, "step": 0.01}),
        "lossless": Input("BOOLEAN", {"default": True}),
        "quality": Input("INT", {"default": 80, "min": 0, "max": 100}),
        "method": Input(tuple(_WEBP_METHODS)),
    },
    output_node=True,
    display_name="SaveAnimatedWEBP",
    category="image/animation",
)

NODES = (SAVE_IMAGE, PREVIEW_IMAGE, SAVE_ANIMATED_WEBP)
