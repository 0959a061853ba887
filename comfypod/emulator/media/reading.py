"""Opens sound and video files of unknown origin with FFmpeg."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer

# FFmpeg can open much more; playlists and the like make it read other files and addresses. ComfyUI opens all.
_FORMATS = (
    "mov",
    "matroska",
    "avi",
    "flv",
    "mpeg",
    "mpegts",
    "gif",
    "apng",
    "wav",
    "w64",
    "aiff",
    "caf",
    "au",
    "flac",
    "mp3",
    "aac",
    "ogg",
    "amr",
    "asf",
)


def open_media(path: Path) -> InputContainer:
    """Open a sound or video file; the caller must close it.

    Raises:
        av.FFmpegError: it is neither, is broken, or is of an unusual format.
    """
    return av.open(str(path), options={"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"})
