"""Nodes on video: loading, making one of pictures, taking it apart, saving. ``nodes_video.py`` of ComfyUI 0.8.2."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from comfypod.emulator.media.values import Audio
from comfypod.emulator.nodes.base import Catalog, FloatArray, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import files_of_types, found_input, input_path, output_target, validate_file
from comfypod.emulator.nodes.metadata import embedded_texts

if TYPE_CHECKING:
    from comfypod.emulator.media.video import Video


def _load(context: NodeContext, file: str) -> NodeResult:
    from comfypod.emulator.media.video import VideoFile  # noqa: PLC0415 - FFmpeg, when it is needed

    return NodeResult((VideoFile(input_path(context, file)),))


def _choices(catalog: Catalog) -> list[str]:
    return files_of_types(catalog, "video")


def _fingerprint(catalog: Catalog, file: str) -> str:
    """Return the time of the last change: a video may be too large to be read for this."""
    return str(found_input(catalog, file).stat().st_mtime_ns)


def _validate(catalog: Catalog, file: str) -> bool | str:
    return validate_file(catalog, file, "video")


def _create(_context: NodeContext, *, images: FloatArray, fps: float, audio: Audio | None = None) -> NodeResult:
    from comfypod.emulator.media.video import VideoParts  # noqa: PLC0415 - FFmpeg, when it is needed

    return NodeResult((VideoParts(images, Fraction(fps), audio),))


def _take_apart(_context: NodeContext, video: Video) -> NodeResult:
    """Return pictures, sound (None if there is none) and frame rate."""
    parts = video.parts()
    return NodeResult((parts.images, parts.audio, float(parts.frame_rate)))


# "format" is ComfyUI's name of the input.
def _save(context: NodeContext, *, video: Video, filename_prefix: str, format: str, codec: str) -> NodeResult:  # noqa: A002
    width, height = video.size()
    target = output_target(context.output_folder, filename_prefix, width, height)
    path = target.path(0, "mp4")
    video.save(path, format, codec, {**(context.extra_pnginfo or {}), "prompt": context.prompt})
    return NodeResult(ui={"images": [target.entry(path, "output")], "animated": [True]})


def _save_webm(
    context: NodeContext, *, images: FloatArray, filename_prefix: str, codec: str, fps: float, crf: float
) -> NodeResult:
    from comfypod.emulator.media.video import save_webm  # noqa: PLC0415 - FFmpeg, when it is needed

    target = output_target(context.output_folder, filename_prefix, images.shape[2], images.shape[1])
    path = target.path(0, "webm")
    save_webm(images, path, codec=codec, rate=fps, crf=crf, texts=embedded_texts(context))
    return NodeResult(ui={"images": [target.entry(path, "output")], "animated": [True]})


LOAD_VIDEO = NodeClass(
    name="LoadVideo",
    run=_load,
    required={"file": Input(_choices, {"video_upload": True}, combo=True)},
    outputs=("VIDEO",),
    display_name="Load Video",
    category="image/video",
    fingerprint=_fingerprint,
    validate=_validate,
)

CREATE_VIDEO = NodeClass(
    name="CreateVideo",
    run=_create,
    required={
        "images": Input("IMAGE"),
        "fps": Input("FLOAT", {"default": 30.0, "min": 1.0, "max": 120.0, "step": 1.0}),
    },
    optional={"audio": Input("AUDIO")},
    outputs=("VIDEO",),
    display_name="Create Video",
    category="image/video",
)

GET_VIDEO_COMPONENTS = NodeClass(
    name="GetVideoComponents",
    run=_take_apart,
    required={"video": Input("VIDEO")},
    outputs=("IMAGE", "AUDIO", "FLOAT"),
    output_names=("images", "audio", "fps"),
    display_name="Get Video Components",
    category="image/video",
)

SAVE_VIDEO = NodeClass(
    name="SaveVideo",
    run=_save,
    required={
        "video": Input("VIDEO"),
        "filename_prefix": Input("STRING", {"default": "video/ComfyUI", "multiline": False}),
        "format": Input(("auto", "mp4"), {"default": "auto"}, combo=True),
        "codec": Input(("auto", "h264"), {"default": "auto"}, combo=True),
    },
    output_node=True,
    display_name="Save Video",
    category="image/video",
)

SAVE_WEBM = NodeClass(
    name="SaveWEBM",
    run=_save_webm,
    required={
        "images": Input("IMAGE"),
        "filename_prefix": Input("STRING", {"default": "ComfyUI", "multiline": False}),
        "codec": Input(("vp9", "av1"), combo=True),
        "fps": Input("FLOAT", {"default": 24.0, "min": 0.01, "max": 1000.0, "step": 0.01}),
        "crf": Input("FLOAT", {"default": 32.0, "min": 0, "max": 63.0, "step": 1}),
    },
    output_node=True,
    category="image/video",
)

NODES = (LOAD_VIDEO, CREATE_VIDEO, GET_VIDEO_COMPONENTS, SAVE_VIDEO, SAVE_WEBM)
