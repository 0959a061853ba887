"""Nodes that give pictures away: SaveImage and PreviewImage as files, SaveImageWebsocket over the websocket."""

from __future__ import annotations

import itertools

from PIL.PngImagePlugin import PngInfo

from comfypod.emulator.nodes.base import Catalog, FloatArray, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import OutputTarget, output_target, temporary_prefix
from comfypod.emulator.nodes.metadata import embedded_texts
from comfypod.emulator.nodes.pixels import to_image


def _save(context: NodeContext, *, images: FloatArray, filename_prefix: str) -> NodeResult:
    target = output_target(context.output_folder, filename_prefix, images.shape[2], images.shape[1])
    return _write_pngs(context, images, target, folder_type="output", compress_level=4)


def _preview(context: NodeContext, images: FloatArray) -> NodeResult:
    target = output_target(context.temporary_folder, temporary_prefix(), images.shape[2], images.shape[1])
    return _write_pngs(context, images, target, folder_type="temp", compress_level=1)


def _write_pngs(
    context: NodeContext, images: FloatArray, target: OutputTarget, *, folder_type: str, compress_level: int
) -> NodeResult:
    """Write one PNG per picture; each holds the workflow, so that it can be opened in ComfyUI."""
    metadata = PngInfo()
    for key, text in embedded_texts(context).items():
        metadata.add_text(key, text)
    entries: list[dict[str, str]] = []
    for index, picture in enumerate(images):
        path = target.path(index, "png")
        to_image(picture).save(path, pnginfo=metadata, compress_level=compress_level)
        entries.append(target.entry(path, folder_type))
    return NodeResult(ui={"images": entries})


def _send(context: NodeContext, images: FloatArray) -> NodeResult:
    """Send every picture as if it were a preview; no file is written, and no workflow goes with it."""
    for index, picture in enumerate(images):
        context.send_picture(index, len(images), to_image(picture))
    return NodeResult()


_runs = itertools.count()


def _never_the_same(_catalog: Catalog) -> str:
    return f"run {next(_runs)}"


SAVE_IMAGE = NodeClass(
    name="SaveImage",
    run=_save,
    required={"images": Input("IMAGE"), "filename_prefix": Input("STRING", {"default": "ComfyUI"})},
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

SAVE_IMAGE_WEBSOCKET = NodeClass(
    name="SaveImageWebsocket",
    run=_send,
    required={"images": Input("IMAGE")},
    output_node=True,
    category="api/image",
    fingerprint=_never_the_same,
)

NODES = (SAVE_IMAGE, PREVIEW_IMAGE, SAVE_IMAGE_WEBSOCKET)
