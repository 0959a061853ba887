"""Output pictures in another format, and outputs without metadata: the content stays, and what is lost is said."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from comfypod.files.chunks import mapped, png_chunks, webp_chunks
from comfypod.files.conversion import PictureFormat, convert_image, strip_metadata
from comfypod.files.facts import probe
from comfypod.files.isolation import FileRefused
from tests.files import media_files as files

PROMPT = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 42}}})
WORKFLOW = json.dumps({"nodes": [{"title": "Grüße 🦊"}]}, ensure_ascii=False)
ORIENTATION = 0x0112


def is_animated(path: Path) -> bool:
    return (probe(path, "image/png").frames or 0) > 1


def _array(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert(mode)).astype(int)


def _saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def _texts(**texts: str) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        chunks.add_text(key, value) if value.isascii() else chunks.add_itxt(key, value)
    return chunks


def _convert(
    source: Path, wanted: PictureFormat, *, quality: int | None = None, keep: bool = True
) -> tuple[Path, list[str]]:
    target = source.with_name(f"converted.{wanted}")
    warnings = convert_image(source, target, wanted, quality, keep)
    with Image.open(target) as image:
        assert image.format == wanted.upper()
    return target, warnings


def _seen(mode: str) -> np.ndarray:
    """What a viewer on a white page shows of the test picture."""
    image = files.pixels((16, 12), mode)
    if mode == "I;16":
        grey = np.round(np.asarray(image).astype(float) / 257)
        return np.stack([grey] * 3, axis=-1).astype(int)
    if mode in {"RGBA", "LA"}:
        layers = np.asarray(image.convert("RGBA")).astype(float)
        alpha = layers[..., 3:] / 255
        return np.round(layers[..., :3] * alpha + 255 * (1 - alpha)).astype(int)
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
@pytest.mark.parametrize("wanted", ["jpeg", "webp"])
def test_every_mode_looks_the_same_afterwards(tmp_path: Path, mode: str, wanted: PictureFormat) -> None:
    source = _saved(tmp_path / "a.png", files.pixels((16, 12), mode))
    target, warnings = _convert(source, wanted, quality=100)
    assert warnings == []
    with Image.open(target) as image:
        converted = image.convert("RGBA")
    shown = Image.alpha_composite(Image.new("RGBA", converted.size, "white"), converted).convert("RGB")
    difference = np.abs(np.asarray(shown).astype(int) - _seen(mode))
    assert difference.mean() < 6  # JPEG and WEBP store colours at half the resolution; the gradient is steep
    if mode in {"L", "LA", "I;16"}:
        assert difference.max() <= 8


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_png_holds_exactly_what_a_webp_shows(tmp_path: Path, mode: str) -> None:
    source = _saved(tmp_path / "a.webp", files.pixels((16, 12), mode), lossless=True, exact=True)
    target, _ = _convert(source, "png")
    assert np.array_equal(_array(source, "RGBA"), _array(target, "RGBA"))


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "TIFF"), ("I;16", "TIFF"), ("P", "GIF"), ("1", "BMP")])
def test_other_kinds_of_pictures_become_png(tmp_path: Path, mode: str, kind: str) -> None:
    source = _saved(tmp_path / "a", files.pixels((16, 12), mode), format=kind)
    target, _ = _convert(source, "png", keep=False)
    if mode == "I;16":
        with Image.open(target) as image:
            assert np.array_equal(np.asarray(image), np.asarray(files.pixels((16, 12), mode)))
    else:
        assert np.array_equal(_array(source, "RGB"), _array(target, "RGB"))


def test_transparency_is_laid_on_white_for_jpeg_and_stays_in_webp(tmp_path: Path) -> None:
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 128), (0, 0, 8, 16))
    source = _saved(tmp_path / "a.png", image)
    flat = _array(_convert(source, "jpeg", quality=100)[0], "RGB")
    assert np.abs(flat[8, 2] - (127, 127, 255)).max() <= 3  # half of blue, half of white
    assert np.abs(flat[8, 13] - (255, 255, 255)).max() <= 3  # and not the red that was hidden
    alpha = _array(_convert(source, "webp")[0], "RGBA")[..., 3]
    assert alpha[8, 2] == 128
    assert alpha[8, 13] == 0


def test_a_colour_of_a_palette_may_be_transparent(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    source = _saved(tmp_path / "a.png", image, transparency=1)
    assert _array(_convert(source, "jpeg")[0], "RGB").min() >= 250
    assert _array(_convert(source, "webp")[0], "RGBA")[..., 3].max() == 0


def test_quality_decides_about_the_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    source = _saved(tmp_path / "a.png", Image.fromarray(noise))
    for wanted in ("jpeg", "webp"):
        low, usual, high = (_convert(source, wanted, quality=quality)[0].stat().st_size for quality in (20, 90, 100))
        assert low < usual < high
        assert _convert(source, wanted)[0].stat().st_size == usual


def test_a_picture_of_the_format_already_is_copied(tmp_path: Path) -> None:
    for kind, wanted in (("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")):
        source = tmp_path / f"a.{wanted}"
        source.write_bytes(files.picture(kind, (32, 32)))
        assert _convert(source, wanted)[0].read_bytes() == source.read_bytes()
    assert _convert(tmp_path / "a.jpeg", "jpeg", quality=10)[0].stat().st_size < (tmp_path / "a.jpeg").stat().st_size


def test_comfyuis_texts_go_to_exif_as_comfyui_writes_it_and_back(tmp_path: Path) -> None:
    chunks = _texts(workflow=WORKFLOW, prompt=PROMPT, extra='{"a": 1}')
    source = _saved(tmp_path / "a.png", files.pixels((8, 8)), pnginfo=chunks)
    for wanted in ("webp", "jpeg"):
        target, warnings = _convert(source, wanted)
        assert warnings == []
        with Image.open(target) as image:
            exif = image.getexif()
        # comfy_api/latest/_ui.py of ComfyUI 0.8.2, _create_webp_metadata
        assert exif[0x0110] == f"prompt:{PROMPT}"
        assert json.loads(exif[0x010F].removeprefix("workflow:")) == json.loads(WORKFLOW)
        assert exif[0x010E] == 'extra:{"a": 1}'
        back, _ = _convert(target, "png")
        with Image.open(back) as image:
            assert isinstance(image, PngImagePlugin.PngImageFile)
            assert image.text["prompt"] == PROMPT
            assert json.loads(image.text["workflow"]) == json.loads(WORKFLOW)
            assert image.text["extra"] == '{"a": 1}'
            assert len(image.getexif()) == 0


def test_texts_behind_the_pixels_are_kept_too(tmp_path: Path) -> None:
    whole = files.picture("PNG", (8, 8))
    content = whole[:-12] + files.png_chunk(b"tEXt", b"prompt\0" + PROMPT.encode()) + whole[-12:]
    (tmp_path / "a.png").write_bytes(content)
    with Image.open(_convert(tmp_path / "a.png", "webp")[0]) as image:
        assert image.getexif()[0x0110] == f"prompt:{PROMPT}"


def test_what_does_not_fit_into_a_jpeg_is_left_out_and_named(tmp_path: Path) -> None:
    chunks = _texts(prompt=PROMPT, workflow=json.dumps(["x" * 70_000]))
    source = _saved(tmp_path / "a.png", files.pixels((8, 8)), pnginfo=chunks)
    target, warnings = _convert(source, "jpeg")
    assert len(warnings) == 1
    assert "'workflow'" in warnings[0]
    assert "65,533" in warnings[0]
    with Image.open(target) as image:
        assert image.getexif()[0x0110] == f"prompt:{PROMPT}"
        assert 0x010F not in image.getexif()
    assert _convert(source, "webp")[1] == []


def test_a_text_that_exif_cannot_hold_is_named(tmp_path: Path) -> None:
    source = _saved(tmp_path / "a.png", files.pixels((8, 8)), pnginfo=_texts(note="für später", prompt=PROMPT))
    target, warnings = _convert(source, "webp")
    assert len(warnings) == 1
    assert "'note'" in warnings[0]
    with Image.open(target) as image:
        assert image.getexif()[0x0110] == f"prompt:{PROMPT}"


def test_nothing_is_carried_if_metadata_are_not_wanted(tmp_path: Path) -> None:
    source = _saved(tmp_path / "a.png", files.pixels((8, 8)), pnginfo=_texts(prompt=PROMPT), exif=_turned(1))
    for wanted in ("webp", "jpeg", "png"):
        target, warnings = _convert(source, wanted, keep=False)
        assert warnings == []
        assert b"KSampler" not in target.read_bytes()
        with Image.open(target) as image:
            assert len(image.getexif()) == 0
    gif = _saved(tmp_path / "a.gif", files.pixels((8, 8)), comment=b"a secret")
    assert b"secret" not in _convert(gif, "jpeg", keep=False)[0].read_bytes()


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "a camera"
    return exif.tobytes()


def test_a_turned_picture_looks_the_same_with_and_without_its_metadata(tmp_path: Path) -> None:
    source = _saved(tmp_path / "a.jpg", files.pixels((32, 16)), exif=_turned(6), quality=95)
    with Image.open(_convert(source, "png")[0]) as image:
        assert image.size == (32, 16)
        assert image.getexif()[ORIENTATION] == 6
        assert image.getexif()[0x010F] == "a camera"
    with Image.open(_convert(source, "png", keep=False)[0]) as image:
        assert image.size == (16, 32)
        assert len(image.getexif()) == 0


def test_a_colour_profile_stays_where_it_fits(tmp_path: Path) -> None:
    profile = b"a profile of colours"
    for wanted in ("webp", "jpeg"):
        source = _saved(tmp_path / "a.png", files.pixels((8, 8)), icc_profile=profile)
        with Image.open(_convert(source, wanted, keep=False)[0]) as image:
            assert image.info["icc_profile"] == profile
    grey = _saved(tmp_path / "a.png", files.pixels((8, 8), "L"), icc_profile=profile)
    with Image.open(_convert(grey, "webp")[0]) as image:  # WEBP has no grey, so a profile of grey does not fit
        assert "icc_profile" not in image.info


REFUSED = {
    "no picture": (b"<html></html>", "no picture"),
    "cut": (files.picture("PNG", (64, 64), compress_level=0)[:5000], "broken|truncated"),
    "an animation": (files.animation("WEBP"), "animation"),
    "a picture of too many pixels": (files.png_with(size=(30_000, 30_000)), "larger than"),
    "too wide": (files.picture("PNG", (16_384, 1), "1"), "16,383"),
    "an icon": (files.picture("ICO", (16, 16)), "ICO"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(tmp_path: Path, what: str) -> None:
    content, word = REFUSED[what]
    source, target = tmp_path / "a.png", tmp_path / "a.webp"
    source.write_bytes(content)
    with pytest.raises(FileRefused, match=word):
        convert_image(source, target, "webp", None, keep_metadata=True)
    assert not target.exists()


def test_a_target_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    source = _saved(tmp_path / "a.png", files.pixels((8, 8)))
    with pytest.raises(OSError, match="No such file"):
        convert_image(source, tmp_path / "missing" / "a.webp", "webp", None, keep_metadata=True)


# Stripping


def _secret_exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x0110] = f"prompt:{PROMPT}"
    return exif.tobytes()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_stripped_without_being_encoded_anew(tmp_path: Path, kind: str, orientation: int) -> None:
    options: dict[str, object] = {"exif": _secret_exif(orientation), "icc_profile": b"a profile"}
    options |= {"pnginfo": _texts(prompt=PROMPT, workflow=WORKFLOW)} if kind == "PNG" else {"xmp": b"<x>KSampler</x>"}
    options |= {"comment": b"KSampler"} if kind == "JPEG" else {}
    source = _saved(tmp_path / "a", files.pixels((33, 17)), format=kind, **options)
    assert b"KSampler" in source.read_bytes()
    target = tmp_path / "b"
    assert strip_metadata(source, target)
    assert b"KSampler" not in target.read_bytes()
    assert np.array_equal(_array(source, "RGB"), _array(target, "RGB"))
    with Image.open(target) as image:
        assert image.info["icc_profile"] == b"a profile"
        assert dict(image.getexif()) == ({ORIENTATION: 6} if orientation == 6 else {})
        image.load()
    if kind == "PNG":
        _assert_checksums(target)


def _assert_checksums(path: Path) -> None:
    with mapped(path) as data:
        for chunk in png_chunks(data):
            (checksum,) = struct.unpack(">I", data[chunk.end - 4 : chunk.end])
            assert checksum == zlib.crc32(data[chunk.start + 4 : chunk.end - 4])


def test_what_a_png_needs_to_look_right_stays(tmp_path: Path) -> None:
    kept = {b"gAMA": b"\0\0\xb1\x8f", b"sRGB": b"\0", b"pHYs": b"\0\0\x0b\x13\0\0\x0b\x13\1", b"cICP": b"\1\1\0\1"}
    dropped = {
        b"tEXt": b"k\0v",
        b"zTXt": b"k\0\0" + zlib.compress(b"v"),
        b"iTXt": b"k\0\0\0\0\0v",
        b"tIME": bytes(7),
        b"eXIf": _secret_exif()[6:],
        b"comf": b"prompt\0{}",  # where ComfyUI's animated PNG keeps its workflow
        b"caBX": b"who made it",
        b"prVt": b"a secret",
    }
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(files.png_with(*(files.png_chunk(*chunk) for chunk in {**kept, **dropped}.items())))
    assert strip_metadata(source, target)
    with mapped(target) as data:
        assert [chunk.kind for chunk in png_chunks(data)] == [b"IHDR", *kept, b"IDAT", b"IEND"]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_goes_on_moving(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(files.animation(kind, frames=4))
    if kind == "PNG":
        content = source.read_bytes()
        source.write_bytes(content[:-12] + files.png_chunk(b"comf", b"prompt\0" + PROMPT.encode()) + content[-12:])
    assert strip_metadata(source, target)
    assert b"KSampler" not in target.read_bytes()
    assert is_animated(target)
    with Image.open(source) as before, Image.open(target) as after:
        for frame in range(4):
            before.seek(frame)
            after.seek(frame)
            assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()
            assert before.info["duration"] == after.info["duration"]


def test_the_flags_of_a_webp_say_what_is_in_it(tmp_path: Path) -> None:
    source = _saved(tmp_path / "a.webp", files.pixels((9, 9), "RGBA"), exif=_secret_exif(), xmp=b"<x/>")
    target = tmp_path / "b.webp"
    assert strip_metadata(source, target)
    with mapped(target) as data:
        chunks = {chunk.kind: data[chunk.content : chunk.content + chunk.length] for chunk in webp_chunks(data)}
        assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert set(chunks) <= {b"VP8X", b"ALPH", b"VP8 ", b"VP8L"}
    assert chunks[b"VP8X"][0] == 0x10  # alpha, and neither EXIF nor XMP


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_jpeg_in_several_parts_and_with_something_behind_it(tmp_path: Path, options: dict[str, object]) -> None:
    source = _saved(tmp_path / "a.jpg", files.pixels((200, 100)), exif=_secret_exif(), **options)
    source.write_bytes(source.read_bytes() + b"KSampler behind the end")
    assert strip_metadata(source, tmp_path / "b.jpg")
    assert b"KSampler" not in (tmp_path / "b.jpg").read_bytes()
    assert np.array_equal(_array(source, "RGB"), _array(tmp_path / "b.jpg", "RGB"))


def test_the_colours_of_a_cmyk_jpeg_stay(tmp_path: Path) -> None:
    source = _saved(tmp_path / "a.jpg", files.pixels((32, 32), "CMYK"), exif=_secret_exif())
    assert strip_metadata(source, tmp_path / "b.jpg")
    assert np.array_equal(_array(source, "CMYK"), _array(tmp_path / "b.jpg", "CMYK"))


def test_tensors_stay_and_their_metadata_go(tmp_path: Path) -> None:
    source, target = tmp_path / "a.latent", tmp_path / "b.latent"
    source.write_bytes(files.tensors({"prompt": PROMPT, "workflow": WORKFLOW}))
    assert strip_metadata(source, target)
    content = target.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert (8 + length) % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "latent_tensor": {"dtype": "F32", "shape": [1, 4, 2, 2], "data_offsets": [0, 64]}
    }
    assert content[8 + length :] == bytes(range(64))


TAGS = {"title": "secret title", "comment": PROMPT}
STREAMS = {
    "h264.mp4": ("libx264", "aac"),
    "silent.mp4": ("libx264", None),
    "vp9.webm": ("libvpx-vp9", "libopus"),
    "av1.mkv": ("libsvtav1", "flac"),
    "prores.mov": ("mpeg4", "pcm_s16le"),
    "a.flac": (None, "flac"),
    "a.mp3": (None, "libmp3lame"),
    "a.opus": (None, "libopus"),
    "a.wav": (None, "pcm_s16le"),
    "a.m4a": (None, "aac"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_video_and_sound_stay_and_their_tags_go(tmp_path: Path, name: str) -> None:
    video, sound = STREAMS[name]
    source, target = tmp_path / name, tmp_path / f"stripped-{name}"
    tags = {**TAGS, "prompt": PROMPT}
    if video:
        files.write_video(source, video, frames=30, sound=sound, tags=tags)
    else:
        files.write_sound(source, sound or "", tags=tags)
    assert b"secret title" in source.read_bytes()
    assert strip_metadata(source, target)
    assert b"secret title" not in target.read_bytes()
    assert b"KSampler" not in target.read_bytes()
    assert not {"title", "comment", "prompt"} & set(files.tags_of(target))
    assert files.decoded(target) == files.decoded(source)


NOT_STRIPPED = {
    "a.gif": files.picture("GIF"),
    "a.tiff": files.picture("TIFF"),
    "a.glb": b"glTF" + bytes(20),
    "a.txt": b"text",
    "empty.png": b"",
    "cut.png": files.picture("PNG")[:-20],
    "cut.jpg": files.picture("JPEG")[:-20],
    "cut.webp": files.picture("WEBP")[:-20],
    "none.mp4": b"no video",
    "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "cut.latent": files.tensors()[:20],
}


@pytest.mark.parametrize("name", NOT_STRIPPED)
def test_what_cannot_be_stripped_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(NOT_STRIPPED[name])
    assert not strip_metadata(tmp_path / name, tmp_path / "target")
    assert not (tmp_path / "target").exists()
