"""What libav says of a video or sound file, and copies of such files without their metadata.

It runs in a process of its own (`child_process`); nothing else imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import av.error
from av.container import InputContainer

from comfypod.files.isolation import FileRefused, HoldsSomethingElse

ACCEPTED_DEMUXERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "ivf"),
    *("wav", "w64", "mp3", "flac", "aac", "aiff", "caf", "au", "amr", "ac3", "eac3", "wv", "ape", "tta"),
)
"""Kinds of file that hold their streams themselves.

Left out, and so never opened: playlists and descriptions that refer to other files or to the network (hls, dash,
concat, sdp, rtsp, image2, imf, vobsub), and what libav can read but nobody sends (text, pictures, game formats).
"""

_OPTIONS = {
    # Checked between recognising a format and opening it (libavformat/demux.c, avformat_open_input and init_input).
    "format_whitelist": ",".join(ACCEPTED_DEMUXERS),
    "protocol_whitelist": "file",
    "probesize": "5000000",  # bytes; libav's default
    "analyzeduration": "5000000",  # microseconds of content; libav's default, which some formats raise
}
_OPEN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """How many streams of each kind there are, and what is known of the first video stream; None where nothing is."""

    video_streams: int
    audio_streams: int
    width: int | None
    height: int | None
    duration_seconds: float | None
    frames: int | None


@contextmanager
def opened(path: str) -> Iterator[InputContainer]:
    """The file, as far as libav reads it to know its streams.

    ``path`` must be absolute: libav takes a name such as "concat:a|b" for an address, and nothing that begins with "/".

    Raises:
        FileRefused: it is not of an accepted kind, or broken.
    """
    try:
        with av.open(path, "r", options=_OPTIONS, timeout=(_OPEN_SECONDS, _OPEN_SECONDS)) as container:
            yield container
    except av.error.ArgumentError as error:
        raise HoldsSomethingElse("is of a kind that is not accepted as video or sound") from error
    except av.FFmpegError as error:
        raise HoldsSomethingElse(f"holds neither video nor sound that can be read ({error.strerror})") from error


def stream_facts(path: str) -> StreamFacts:
    """What is known without decoding more than the beginning.

    Raises:
        FileRefused: it is not of an accepted kind, or broken.
    """
    with opened(path) as container:
        _check_claims(container)
        videos = [stream for stream in container.streams.video if stream.width and not _is_cover(stream)]
        sounds = [stream for stream in container.streams.audio if stream.sample_rate]
        duration = _duration_seconds(container)
        first = videos[0] if videos else None
        return StreamFacts(
            video_streams=len(videos),
            audio_streams=len(sounds),
            width=first.width if first else None,
            height=first.height if first else None,
            duration_seconds=duration,
            frames=_frames(first, duration) if first else None,
        )


def _check_claims(container: InputContainer) -> None:
    """Every entry of an index costs its reader 36 bytes, and none is so much shorter than a byte but in an attack.

    (Old QuickTime sound counts single samples, of which two and more share a byte.)
    """
    if any(stream.frames > 8 * container.size for stream in container.streams):
        raise FileRefused("claims to hold more frames than it has bytes")


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether it is the picture of an album's cover rather than a video."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _duration_seconds(container: InputContainer) -> float | None:
    return None if container.duration is None else container.duration / av.time_base


def _frames(stream: av.VideoStream, duration_seconds: float | None) -> int | None:
    """The container's own count; else duration times rate where that is a whole number and the rate constant."""
    if stream.frames:
        return stream.frames
    rate = stream.average_rate
    if not duration_seconds or not rate or rate != stream.base_rate:
        return None
    frames = float(duration_seconds * rate)
    return round(frames) if abs(frames - round(frames)) < 0.05 else None


def remux(source: str, target: str, muxer: str) -> None:
    """Copy the video, sound and subtitles of ``source`` to ``target``, as they are, without anything about them.

    Covers, attachments, chapters and tags are left out. ``muxer`` is libav's name of the target's format.

    Raises:
        FileRefused: libav cannot read it, or cannot write these streams into such a file.
    """
    # bitexact: the muxer adds no tags of its own.
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if muxer in {"mp4", "mov", "ipod"} else {})}
    with opened(source) as container, av.open(target, "w", format=muxer, container_options=options) as output:
        kept = [
            stream
            for stream in container.streams
            if stream.type in {"audio", "subtitle"} or (isinstance(stream, av.VideoStream) and not _is_cover(stream))
        ]
        copies = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in kept}
        for packet in container.demux(kept):
            if packet.dts is None:  # the empty packet that marks the end
                continue
            packet.stream = copies[packet.stream_index]
            output.mux_one(packet)
