"""Files for the tests of what looks into files: small ones, made here, whole or broken on purpose."""

from __future__ import annotations

import io
import json
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


def picture(kind: str, size: tuple[int, int] = (6, 4), mode: str = "RGB", **options: Any) -> bytes:
    """A picture whose pixels all differ, as a file of Pillow's format ``kind``."""
    buffer = io.BytesIO()
    pixels(size, mode).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A picture with a gradient in each channel."""
    width, height = size
    ramp = np.arange(width * height, dtype=np.float64).reshape(height, width) / max(1, width * height - 1)
    if mode == "I;16":
        return Image.fromarray((ramp * 65535).astype("<u2"))
    channels = [ramp, 1 - ramp, ramp**2, 0.25 + ramp / 2][
        : len(Image.new(mode if mode != "P" else "L", (1, 1)).getbands())
    ]
    layers = (np.stack(channels, axis=-1) * 255).astype(np.uint8)
    image = Image.fromarray(layers[..., 0] if len(channels) == 1 else layers)
    if mode in {"L", "RGB", "RGBA"}:
        return image
    return Image.merge(mode, image.split()) if mode in {"LA", "CMYK"} else image.convert(mode)


def animation(kind: str, frames: int = 3, milliseconds: int = 200, size: tuple[int, int] = (6, 4)) -> bytes:
    """An animation whose frames differ."""
    images = [Image.new("RGB", size, (40 * number, 255 - 40 * number, 90)) for number in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=milliseconds)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes, size: tuple[int, int] = (1, 1)) -> bytes:
    """A PNG of one colour with these chunks before the pixels; the pixels are those of a 1 x 1 picture, always."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"\0\1\2\3"))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + png_chunk(b"IEND", b"")


def compressed_text_bomb(kind: bytes) -> bytes:
    """A chunk of 8 KB that unpacks to 8 MB."""
    packed = zlib.compress(b"a" * 8_000_000)
    heads = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}
    return png_chunk(kind, heads[kind] + packed)


def webp_canvas(size: tuple[int, int], frames: int = 1) -> bytes:
    """An animated WEBP with so large a canvas, whose frames are 4 x 4."""
    frame = picture("WEBP", (4, 4))[12:]
    place = bytes(6) + (3).to_bytes(3, "little") * 2 + (100).to_bytes(3, "little") + b"\0"
    chunks = riff_chunk(b"VP8X", bytes([2, 0, 0, 0]) + b"".join((side - 1).to_bytes(3, "little") for side in size))
    chunks += riff_chunk(b"ANIM", bytes(6)) + riff_chunk(b"ANMF", place + frame) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def gif_bomb(size: tuple[int, int], frames: int) -> bytes:
    """A GIF with so many frames of a few bytes each."""
    screen = b"GIF89a" + struct.pack("<HH", *size) + b"\x80\0\0" + bytes(6)
    frame = b"\x2c" + bytes(4) + struct.pack("<HH", *size) + b"\0" + b"\x02\x02\x44\x01\0"
    return screen + frame * frames + b";"


def gif_with_comment(size_bytes: int) -> bytes:
    """A GIF that Pillow takes very long to open: it joins the comment's blocks one by one."""
    whole = picture("GIF", (1, 1), "L")
    place = 13 + (3 * (2 << (whole[10] & 7)) if whole[10] & 0x80 else 0)
    return whole[:place] + b"\x21\xfe" + (b"\xff" + b"a" * 255) * (size_bytes // 256) + b"\0" + whole[place:]


def tiff_pages(sizes: list[tuple[int, int]]) -> bytes:
    """A TIFF whose pages claim these sizes and have one byte of pixels each."""
    entry_count, length = 9, 2 + 9 * 12 + 4
    out = b"II*\0" + struct.pack("<I", 12) + bytes(4)
    for number, (width, height) in enumerate(sizes):
        entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
        entries += [(277, 3, 1), (278, 4, height), (279, 4, 1)]
        following = 12 + (number + 1) * length if number + 1 < len(sizes) else 0
        out += struct.pack("<H", entry_count) + b"".join(
            struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
        )
        out += struct.pack("<I", following)
    return out


def icon_with(inner: bytes) -> bytes:
    """An icon that says it is 16 x 16 and holds another picture."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


def photoshop(size: tuple[int, int]) -> bytes:
    """A PSD header of so large a picture, and nothing behind it."""
    header = b"8BPS" + struct.pack(">H", 1) + bytes(6) + struct.pack(">HIIHH", 3, size[1], size[0], 8, 3)
    return header + bytes(12) + b"\0\0"


def jpeg_2000(size: tuple[int, int]) -> bytes:
    """A JPEG 2000 codestream that says it is so large."""
    whole = bytearray(picture("JPEG2000", (4, 4), no_jp2=True))
    whole[8:16] = struct.pack(">II", *size)  # SOC, then SIZ: length, capabilities, width, height
    return bytes(whole)


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full_box(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


def _numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def mp4_bomb(samples: int, reference: bytes = b"") -> bytes:
    """An MP4 of 650 bytes that claims so many samples; ``reference``: the address its samples are said to be at."""
    matrix = _numbers(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    movie = _full_box(
        b"mvhd", _numbers(0, 0, 1000, samples, 0x10000), b"\1\0" + bytes(10), matrix, bytes(24), _numbers(2)
    )
    track = _full_box(b"tkhd", _numbers(0, 0, 1, 0, samples), bytes(16), matrix, _numbers(64 << 16, 64 << 16), flags=3)
    media = _full_box(b"mdhd", _numbers(0, 0, 1000, samples), b"\x55\xc4\0\0")
    handler = _full_box(b"hdlr", _numbers(0), b"vide", bytes(12), b"v\0")
    entry = _box(
        b"raw ", bytes(6), b"\0\1", bytes(16), struct.pack(">HH", 64, 64), _numbers(0x480000, 0x480000, 0), b"\0\1",
        bytes(32), b"\0\x18\xff\xff",
    )  # fmt: skip
    table = _box(
        b"stbl",
        _full_box(b"stsd", _numbers(1), entry),
        _full_box(b"stts", _numbers(1, samples, 1)),
        _full_box(b"stsc", _numbers(1, 1, samples, 1)),
        _full_box(b"stsz", _numbers(1, samples)),
        _full_box(b"stco", _numbers(1, 40)),
    )
    place = _full_box(b"url ", reference + b"\0") if reference else _full_box(b"url ", flags=1)
    information = _box(
        b"minf", _full_box(b"vmhd", bytes(8), flags=1), _box(b"dinf", _full_box(b"dref", _numbers(1), place)), table
    )
    content = _box(b"moov", movie, _box(b"trak", track, _box(b"mdia", media, handler, information)))
    return _box(b"ftyp", b"isom", _numbers(512), b"isommp41") + content + _box(b"mdat", bytes(64))


def tensors(metadata: dict[str, str] | None = None) -> bytes:
    """A latent as ComfyUI saves it: one tensor of 16 floats."""
    header: dict[str, Any] = {"latent_tensor": {"dtype": "F32", "shape": [1, 4, 2, 2], "data_offsets": [0, 64]}}
    if metadata is not None:
        header["__metadata__"] = metadata
    return tensors_with(json.dumps(header).encode(), bytes(range(64)))


def tensors_with(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def write_video(
    path: Path, codec: str, *, frames: int = 12, sound: str | None = None, tags: dict[str, str] | None = None
) -> None:
    """A video of 64 x 48 pixels and 24 frames a second, with a tone if ``sound`` names a codec for it."""
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"} if path.suffix == ".mp4" else {}) as output:
        output.metadata.update(tags or {})
        video = output.add_stream(codec, rate=24, width=64, height=48, pix_fmt="yuv420p")
        tone = output.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number in range(frames):
            colours = np.full((48, 64, 3), 20 * number % 256, dtype=np.uint8)
            colours[:, : 5 * number] = (200, 30, 60)
            frame = av.VideoFrame.from_ndarray(colours, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if tone is not None:
            _write_tone(output, tone, frames / 24)


def write_sound(path: Path, codec: str, *, seconds: float = 0.5, tags: dict[str, str] | None = None) -> None:
    """A tone."""
    with av.open(str(path), "w") as output:
        output.metadata.update(tags or {})
        _write_tone(output, output.add_stream(codec, rate=48000, layout="mono"), seconds)


def _write_tone(output: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    samples = (np.sin(np.arange(int(48000 * seconds)) * 2 * np.pi * 440 / 48000) * 12000).astype(np.int16)
    for start in range(0, len(samples), 960):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, start
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def decoded(path: Path) -> tuple[list[tuple[int, bytes]], int | None, bytes]:
    """Every picture and its time in milliseconds; the time of the first sound, and all samples."""
    pictures, first_sound, samples = [], None, []
    with av.open(str(path)) as container:
        for frame in container.decode(*container.streams.video, *container.streams.audio):
            milliseconds = round((frame.time or 0) * 1000)
            if isinstance(frame, av.VideoFrame):
                pictures.append((milliseconds, frame.to_ndarray().tobytes()))
            else:
                first_sound = milliseconds if first_sound is None else first_sound
                samples.append(frame.to_ndarray().tobytes())
    return sorted(pictures), first_sound, b"".join(samples)


def tags_of(path: Path) -> dict[str, str]:
    """What the container and its streams say of themselves."""
    with av.open(str(path)) as container:
        found = dict(container.metadata)
        for stream in container.streams:
            found.update(stream.metadata)
        return found
