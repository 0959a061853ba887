"""Sound files: read as ``LoadAudio`` reads them and written as ``AudioSaveHelper`` (comfy_api, ComfyUI 0.8.2) does."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer

from comfypod.emulator.media.values import FloatArray

LIMIT_SAMPLES = 1 << 26
"""Samples of all channels that are held at once: 67 million, 256 MB as float32, 12 minutes of stereo."""

_CODECS = {"flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


def check_samples(count: int) -> None:
    """Refuse sound that would not fit into memory.

    Raises:
        MemoryError: there are more than `LIMIT_SAMPLES` samples.
    """
    if count > LIMIT_SAMPLES:
        raise MemoryError(
            f"{count} audio samples are more than the built-in engine handles at once ({LIMIT_SAMPLES}); use less audio"
        )


def decode_audio(container: InputContainer, stream: AudioStream) -> FloatArray | None:
    """Decode a stream from the container's present place: ``[channels, samples]``, -1..1; None if nothing is in it.

    Raises:
        av.FFmpegError: the stream is broken.
        ValueError: its samples are of an unusual type.
        MemoryError: there are too many.
    """
    parts: list[FloatArray] = []
    total = 0
    for frame in container.decode(stream):
        part = _planar(frame.to_ndarray(), stream.channels)
        total += part.size
        check_samples(total)
        parts.append(part)
    return np.concatenate(parts, axis=1) if parts else None


def _planar(samples: npt.NDArray[Any], channels: int) -> FloatArray:
    """Turn samples ``[channels, n]``, or interleaved ``[1, channels * n]``, into ``[channels, n]`` from -1 to 1."""
    if samples.shape[0] != channels:
        samples = samples.reshape(-1, channels).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype not in {np.dtype(np.int16), np.dtype(np.int32)}:
        raise ValueError(f"Unsupported wav dtype: {samples.dtype}")
    return (samples / (np.iinfo(samples.dtype).max + 1)).astype(np.float32)


def encode_audio(
    waveform: FloatArray, sample_rate: int, file_format: str, quality: str, metadata: Mapping[str, str]
) -> bytes:
    """Encode sound ``[channels, samples]`` as flac, mp3 or opus.

    Args:
        waveform: one or two channels, -1..1.
        sample_rate: samples per second; Opus, which knows few rates, gets the next higher one.
        file_format: "flac", "mp3" or "opus".
        quality: "V0" or thousands of bits per second, such as "128k"; flac ignores it.
        metadata: what the file says about itself.

    Raises:
        av.FFmpegError: the codec refuses the sound, for example its sample rate.
    """
    rate = _opus_rate(sample_rate) if file_format == "opus" else sample_rate
    layout = "mono" if waveform.shape[0] == 1 else "stereo"
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=file_format) as container:
        container.metadata.update(metadata)
        stream = cast("AudioStream", container.add_stream(_CODECS[file_format], rate=rate, layout=layout))
        _set_quality(stream, file_format, quality)
        # One frame for all; the encoder cuts it and brings it to its own rate.
        frame = audio_frame(waveform, sample_rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def audio_frame(waveform: FloatArray, sample_rate: int) -> av.AudioFrame:
    """Return sound ``[channels, samples]`` as one frame that begins at 0."""
    layout = "mono" if waveform.shape[0] == 1 else "stereo"
    interleaved = np.ascontiguousarray(waveform.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
    frame.sample_rate = sample_rate
    frame.pts = 0
    return frame


def _set_quality(stream: AudioStream, file_format: str, quality: str) -> None:
    if file_format == "flac":
        return
    if quality == "V0":
        stream.codec_context.qscale = True
    else:
        stream.bit_rate = int(quality.removesuffix("k")) * 1000


def _opus_rate(sample_rate: int) -> int:
    return next((rate for rate in _OPUS_RATES if rate >= sample_rate), _OPUS_RATES[-1])
