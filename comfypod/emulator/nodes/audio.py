"""Nodes on sound: loading, silence, saving as FLAC, MP3 and Opus. The classes of ``nodes_audio.py``, ComfyUI 0.8.2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from comfypod.emulator.media.values import Audio
from comfypod.emulator.nodes.base import Catalog, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import (
    OutputTarget,
    content_hash,
    files_of_types,
    input_path,
    output_target,
    temporary_prefix,
    validate_file,
)
from comfypod.emulator.nodes.metadata import embedded_texts


def _load(context: NodeContext, audio: str) -> NodeResult:
    from comfypod.emulator.media.audio import decode_audio  # noqa: PLC0415 - FFmpeg, when it is needed
    from comfypod.emulator.media.reading import open_media  # noqa: PLC0415 - the same

    with open_media(input_path(context, audio)) as container:
        if not container.streams.audio:
            raise ValueError("No audio stream found in the file.")
        stream = container.streams.audio[0]
        waveform = decode_audio(container, stream)
        if waveform is None:
            raise ValueError("No audio frames decoded.")
        loaded: Audio = {"waveform": waveform[None], "sample_rate": stream.codec_context.sample_rate}
    return NodeResult((loaded,))


def _choices(catalog: Catalog) -> list[str]:
    return files_of_types(catalog, "audio", "video")


def _fingerprint(catalog: Catalog, audio: str) -> str:
    return content_hash(catalog, audio)


def _validate(catalog: Catalog, audio: str) -> bool | str:
    return validate_file(catalog, audio, "audio")


def _empty(_context: NodeContext, *, duration: float, sample_rate: int, channels: int) -> NodeResult:
    from comfypod.emulator.media.audio import check_samples  # noqa: PLC0415 - FFmpeg, when it is needed

    samples = round(duration * sample_rate)
    check_samples(samples * channels)
    silence: Audio = {"waveform": np.zeros((1, channels, samples), dtype=np.float32), "sample_rate": sample_rate}
    return NodeResult((silence,))


def _trim(_context: NodeContext, *, audio: Audio, start_index: float, duration: float) -> NodeResult:
    """Cut a piece out; a negative start counts from the end."""
    waveform, rate = audio["waveform"], audio["sample_rate"]
    length = waveform.shape[-1]
    start = round(start_index * rate) + (length if start_index < 0 else 0)
    start = max(0, min(start, length - 1))
    end = max(0, min(start + round(duration * rate), length))
    if start >= end:
        raise ValueError("AudioTrim: Start time must be less than end time and be within the audio length.")
    return NodeResult(({**audio, "waveform": waveform[..., start:end]},))


def _save(
    context: NodeContext, *, audio: Audio, filename_prefix: str, file_format: str, quality: str = "128k"
) -> NodeResult:
    target = output_target(context.output_folder, filename_prefix, 0, 0)
    return _write(context, audio, target, folder_type="output", file_format=file_format, quality=quality)


def _preview(context: NodeContext, audio: Audio) -> NodeResult:
    target = output_target(context.temporary_folder, temporary_prefix(), 0, 0)
    return _write(context, audio, target, folder_type="temp", file_format="flac", quality="128k")


def _write(
    context: NodeContext, audio: Audio, target: OutputTarget, *, folder_type: str, file_format: str, quality: str
) -> NodeResult:
    """Write one file per piece of the batch."""
    from comfypod.emulator.media.audio import encode_audio  # noqa: PLC0415 - FFmpeg, when it is needed

    entries: list[dict[str, str]] = []
    for index, waveform in enumerate(audio["waveform"]):
        path = target.path(index, file_format)
        texts = embedded_texts(context)
        path.write_bytes(encode_audio(waveform, audio["sample_rate"], file_format, quality, texts))
        entries.append(target.entry(path, folder_type))
    return NodeResult(ui={"audio": entries})


_AUDIO = Input("AUDIO")
_PREFIX = Input("STRING", {"default": "audio/ComfyUI", "multiline": False})


def _saver(name: str, display_name: str, run: Callable[..., NodeResult], **inputs: Input) -> NodeClass:
    required = {"audio": _AUDIO, "filename_prefix": _PREFIX, **inputs}
    return NodeClass(name, run, required, output_node=True, display_name=display_name, category="audio")


def _quality(choices: tuple[str, ...], default: str) -> Input:
    return Input(choices, {"default": default}, combo=True)


LOAD_AUDIO = NodeClass(
    name="LoadAudio",
    run=_load,
    required={"audio": Input(_choices, {"audio_upload": True}, combo=True)},
    outputs=("AUDIO",),
    display_name="Load Audio",
    category="audio",
    fingerprint=_fingerprint,
    validate=_validate,
)

EMPTY_AUDIO = NodeClass(
    name="EmptyAudio",
    run=_empty,
    required={
        "duration": Input("FLOAT", {"default": 60.0, "min": 0.0, "max": 0xFFFFFFFFFFFFFFFF, "step": 0.01}),
        "sample_rate": Input("INT", {"default": 44100, "min": 1, "max": 192000}),
        "channels": Input("INT", {"default": 2, "min": 1, "max": 2}),
    },
    outputs=("AUDIO",),
    display_name="Empty Audio",
    category="audio",
)

TRIM_AUDIO = NodeClass(
    name="TrimAudioDuration",
    run=_trim,
    required={
        "audio": _AUDIO,
        "start_index": Input(
            "FLOAT", {"default": 0.0, "min": -0xFFFFFFFFFFFFFFFF, "max": 0xFFFFFFFFFFFFFFFF, "step": 0.01}
        ),
        "duration": Input("FLOAT", {"default": 60.0, "min": 0.0, "step": 0.01}),
    },
    outputs=("AUDIO",),
    display_name="Trim Audio Duration",
    category="audio",
)

SAVE_AUDIO = _saver("SaveAudio", "Save Audio (FLAC)", partial(_save, file_format="flac"))

SAVE_AUDIO_MP3 = _saver(
    "SaveAudioMP3",
    "Save Audio (MP3)",
    partial(_save, file_format="mp3"),
    quality=_quality(("V0", "128k", "320k"), "V0"),
)

SAVE_AUDIO_OPUS = _saver(
    "SaveAudioOpus",
    "Save Audio (Opus)",
    partial(_save, file_format="opus"),
    quality=_quality(("64k", "96k", "128k", "192k", "320k"), "128k"),
)

PREVIEW_AUDIO = NodeClass(
    name="PreviewAudio",
    run=_preview,
    required={"audio": _AUDIO},
    output_node=True,
    display_name="Preview Audio",
    category="audio",
)

NODES = (LOAD_AUDIO, EMPTY_AUDIO, TRIM_AUDIO, SAVE_AUDIO, SAVE_AUDIO_MP3, SAVE_AUDIO_OPUS, PREVIEW_AUDIO)
