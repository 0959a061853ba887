"""Video files: the two kinds of ``VIDEO`` values (``comfy_api/latest/_input_impl/video_types.py``, ComfyUI 0.8.2)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from comfypod.emulator.media.audio import audio_frame, decode_audio
from comfypod.emulator.media.reading import open_media
from comfypod.emulator.media.values import Audio, FloatArray
from comfypod.emulator.sampling.latents import check_size

LIMIT_PIXELS = 1 << 25
"""Pixels of a whole video that are held at once: 33.5 million, 400 MB as float32; 16 pictures of 1920 x 1080."""

# Metadata of any name is kept in an mp4 file only with this.
_MP4_OPTIONS = {"movflags": "use_metadata_tags"}
_WEBM_CODECS = {"vp9": ("libvpx-vp9", "yuv420p"), "av1": ("libsvtav1", "yuv420p10le")}


@dataclass(frozen=True, slots=True)
class VideoParts:
    """A video as it was made, or taken apart; ``images`` are ``[T, H, W, 3]``, 0..1."""

    images: FloatArray
    frame_rate: Fraction
    audio: Audio | None = None

    def size(self) -> tuple[int, int]:
        """Return width and height."""
        return self.images.shape[2], self.images.shape[1]

    def parts(self) -> VideoParts:
        """Return the video itself."""
        return self

    def save(self, path: Path, container: str, codec: str, metadata: Mapping[str, Any]) -> None:
        """Encode the video as H.264 (and AAC) in mp4.

        Raises:
            ValueError: another container than auto and mp4, or another codec than auto and h264 is wished for.
            av.FFmpegError: H.264 cannot be made of it; both sides must be even.
        """
        if container not in {"auto", "mp4"}:
            raise ValueError("Only MP4 format is supported for now")
        if codec not in {"auto", "h264"}:
            raise ValueError("Only H264 codec is supported for now")
        with av.open(str(path), mode="w", options=_MP4_OPTIONS) as output:
            for key, value in metadata.items():
                output.metadata[key] = json.dumps(value)
            rate = _rounded(self.frame_rate)
            picture = output.add_stream("h264", rate=rate)
            # All streams must be known before the first packet is written.
            sound = output.add_stream("aac", rate=self.audio["sample_rate"]) if self.audio else None
            _encode_pictures(output, picture, self.images, "yuv420p")
            if sound is not None and self.audio is not None:
                samples = math.ceil(self.audio["sample_rate"] / rate * len(self.images))
                frame = audio_frame(self.audio["waveform"][0, :, :samples], self.audio["sample_rate"])
                output.mux(sound.encode(frame))
                output.mux(sound.encode(None))


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video that lies in a file and is decoded only if it must be."""

    path: Path

    def size(self) -> tuple[int, int]:
        """Return width and height.

        Raises:
            av.FFmpegError: it is no video, or is broken.
            ValueError: it holds no pictures.
        """
        with open_media(self.path) as container:
            stream = self._picture_stream(container)
            return stream.width, stream.height

    def parts(self) -> VideoParts:
        """Decode all of it.

        Raises:
            av.FFmpegError: it is no video, or is broken.
            ValueError: it holds no pictures, or sound of an unusual type.
            MemoryError: there is too much of it.
        """
        with open_media(self.path) as container:
            return self._decode(container)

    def save(self, path: Path, container: str, codec: str, metadata: Mapping[str, Any]) -> None:
        """Copy the streams as they are into a file of ComfyUI's choice; encode anew only if the wish demands it.

        Raises:
            av.FFmpegError: it is no video, is broken, or its streams do not fit into the container.
            ValueError: it holds no pictures.
            MemoryError: it must be encoded anew, and is too large.
        """
        with open_media(self.path) as source:
            streams = source.streams.video
            encoding = streams[0].codec.name if streams else None
            same_container = container == "auto" or container in source.format.name.split(",")
            if same_container and (codec == "auto" or encoding is None or codec == encoding):
                _copy(source, path, metadata)
                return
            parts = self._decode(source)
        parts.save(path, container, codec, metadata)

    def _picture_stream(self, container: InputContainer) -> VideoStream:
        if not container.streams.video:
            raise ValueError(f"No video stream found in file '{self.path}'")
        return container.streams.video[0]

    def _decode(self, container: InputContainer) -> VideoParts:
        stream = self._picture_stream(container)
        images = np.stack(list(_pictures(container, stream)))
        rate = Fraction(stream.average_rate) if stream.average_rate else Fraction(1)
        return VideoParts(images, rate, _sound(container))


class Video(Protocol):
    """``VIDEO``: a `VideoParts` or a `VideoFile`."""

    def size(self) -> tuple[int, int]:
        """Return width and height."""

    def parts(self) -> VideoParts:
        """Return pictures, frame rate and sound."""

    def save(self, path: Path, container: str, codec: str, metadata: Mapping[str, Any]) -> None:
        """Write a file; ``container`` and ``codec`` may be "auto"."""


def save_webm(images: FloatArray, path: Path, *, codec: str, rate: float, crf: float, texts: Mapping[str, str]) -> None:
    """Write ``[T, H, W, 3]`` (0..1) as a video without sound; ``codec`` is "vp9" or "av1".

    Raises:
        av.FFmpegError: the codec refuses the pictures.
    """
    codec_name, pixel_format = _WEBM_CODECS[codec]
    with av.open(str(path), mode="w") as output:
        output.metadata.update(texts)
        stream = cast("VideoStream", output.add_stream(codec_name, rate=_rounded(rate)))
        stream.bit_rate = 0
        stream.options = {"crf": str(crf), **({"preset": "6"} if codec == "av1" else {})}
        _encode_pictures(output, stream, images, pixel_format)


def _encode_pictures(output: OutputContainer, stream: VideoStream, images: FloatArray, pixel_format: str) -> None:
    stream.width, stream.height, stream.pix_fmt = images.shape[2], images.shape[1], pixel_format
    for image in images:
        pixels = np.clip(image[..., :3] * 255, 0, 255).astype(np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    output.mux(stream.encode(None))


def _copy(source: InputContainer, path: Path, metadata: Mapping[str, Any]) -> None:
    with av.open(str(path), mode="w", options=_MP4_OPTIONS) as output:
        output.metadata.update({key: value for key, value in source.metadata.items() if key not in metadata})
        for key, value in metadata.items():
            output.metadata[key] = value if isinstance(value, str) else json.dumps(value)
        wanted = [stream for stream in source.streams if stream.type in {"video", "audio", "subtitle"}]
        copies = {stream: output.add_stream_from_template(stream, opaque=True) for stream in wanted}
        for packet in source.demux(wanted):
            if packet.dts is not None:  # The last packet of each stream is empty.
                packet.stream = copies[packet.stream]
                output.mux(packet)


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[FloatArray]:
    """Decode the pictures ``[H, W, 3]``, 0..1, of a video that is small enough."""
    # A few bytes can declare a huge picture; the decoder refuses it before it asks for the memory.
    stream.codec_context.options = {"max_pixels": str(LIMIT_PIXELS)}
    for number, frame in enumerate(container.decode(stream), start=1):
        check_size(number, frame.height, frame.width, LIMIT_PIXELS)
        yield frame.to_ndarray(format="rgb24").astype(np.float32) / np.float32(255)


def _sound(container: InputContainer) -> Audio | None:
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    container.seek(0)
    waveform = decode_audio(container, stream)
    return None if waveform is None else {"waveform": waveform[None], "sample_rate": stream.sample_rate or 1}


def _rounded(rate: Fraction | float) -> Fraction:
    return Fraction(round(rate * 1000), 1000)
