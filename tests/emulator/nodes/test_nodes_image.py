"""Image nodes: loading with care, and ComfyUI's arithmetic of sizes and pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import NodeResult
from comfypod.emulator.nodes.files import open_frames

CallNode = Callable[..., NodeResult]


def picture(width: int, height: int, batch: int = 1) -> np.ndarray:
    """Random pixels, the same for the same size."""
    return np.random.default_rng(width * height).random((batch, height, width, 3), dtype=np.float32)


def save(context: Any, name: str, image: Image.Image, **options: Any) -> None:
    path = context.input_folder / name
    path.parent.mkdir(exist_ok=True)
    image.save(path, **options)


def huge_png(width: int, height: int) -> bytes:
    """A tiny file that claims to be a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_load_image_gives_pixels_and_an_inverted_alpha_mask(call: CallNode, context: Any) -> None:
    image = Image.new("RGBA", (3, 2), (255, 51, 0, 255))
    image.putpixel((2, 1), (0, 0, 0, 0))
    save(context, "a.png", image)
    pixels, mask = call("LoadImage", image="a.png").outputs
    assert pixels.shape == (1, 2, 3, 3)
    assert pixels.dtype == mask.dtype == np.float32
    assert pixels[0, 0, 0] == pytest.approx([1.0, 0.2, 0.0])
    assert mask.tolist() == [[[0, 0, 0], [0, 0, 1]]]


def test_load_image_without_alpha_gives_a_mask_of_64_by_64_zeros(call: CallNode, context: Any) -> None:
    save(context, "a.jpg", Image.new("RGB", (5, 4), "red"))
    _, mask = call("LoadImage", image="a.jpg").outputs
    assert mask.shape == (1, 64, 64)
    assert not mask.any()


def test_load_image_reads_transparent_palettes(call: CallNode, context: Any) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    save(context, "a.png", image, transparency=1)
    pixels, mask = call("LoadImage", image="a.png").outputs
    assert pixels[0, 0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert mask.tolist() == [[[0, 1]]]


def test_load_image_reads_sixteen_bit_grey(call: CallNode, context: Any) -> None:
    save(context, "a.png", Image.fromarray(np.array([[0, 255 * 100, 65535]], dtype=np.uint16)))
    pixels, _ = call("LoadImage", image="a.png").outputs
    assert (pixels[0, 0, :, 0] * 255).round().tolist() == [0, 100, 255]


def test_load_image_turns_photographs_upright(call: CallNode, context: Any) -> None:
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    save(context, "a.png", image, exif=exif)
    pixels, _ = call("LoadImage", image="a.png").outputs
    assert pixels.shape == (1, 4, 2, 3)
    assert pixels[0, 0, 1].tolist() == [1, 1, 1]


def test_load_image_loads_all_frames_of_one_size(call: CallNode, context: Any) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    save(context, "a.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    pixels, mask = call("LoadImage", image="a.webp").outputs
    assert pixels[:, 0, 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert mask.shape[0] == 3


@pytest.mark.parametrize(
    ("name", "where"),
    [("sub/a.png", "input/sub/a.png"), ("a.png [output]", "output/a.png"), ("a.png [temp]", "temp/a.png")],
)
def test_load_image_understands_subfolders_and_annotations(call: CallNode, context: Any, name: str, where: str) -> None:
    path = context.root / where
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (9, 9)).save(path)
    assert call("LoadImage", image=name).outputs[0].shape == (1, 9, 9, 3)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "sub/../../secret.png", "none.png", "", "a\x00b"])
def test_load_image_stays_inside_its_folders(call: CallNode, context: Any, name: str) -> None:
    Image.new("RGB", (2, 2)).save(context.root / "secret.png")
    with pytest.raises(FileNotFoundError, match="No such file"):
        call("LoadImage", image=name)


@pytest.mark.parametrize("node", ["LoadImage", "LoadImageMask"])
@pytest.mark.parametrize("size", [(8000, 8000), (12_000, 12_000), (60_000, 60_000)])
def test_load_image_refuses_decompression_bombs(call: CallNode, context: Any, node: str, size: tuple[int, int]) -> None:
    (context.input_folder / "bomb.png").write_bytes(huge_png(*size))
    with pytest.raises(ValueError, match=r"bomb\.png"):
        call(node, image="bomb.png", **({"channel": "red"} if node == "LoadImageMask" else {}))


def test_frames_are_counted_together(context: Any) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue", "white")]
    save(context, "bomb.webp", frames[0], save_all=True, append_images=frames[1:])
    loaded = open_frames(context.input_folder / "bomb.webp", limit_pixels=2 * 40 * 40)
    assert [next(loaded).size, next(loaded).size] == [(40, 40), (40, 40)]
    with pytest.raises(ValueError, match="frame 3"):
        next(loaded)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
def test_load_image_refuses_truncated_files(call: CallNode, context: Any, kind: str) -> None:
    noise = Image.fromarray((picture(64, 64)[0] * 255).astype(np.uint8))
    save(context, f"whole.{kind}", noise)
    content = (context.input_folder / f"whole.{kind}").read_bytes()
    (context.input_folder / f"cut.{kind}").write_bytes(content[: len(content) // 2])
    with pytest.raises((OSError, EOFError)):
        call("LoadImage", image=f"cut.{kind}")


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"])
def test_load_image_refuses_what_is_no_picture(call: CallNode, context: Any, content: bytes) -> None:
    (context.input_folder / "notes.png").write_bytes(content)
    with pytest.raises(UnidentifiedImageError, match="cannot identify image file"):
        call("LoadImage", image="notes.png")


@pytest.mark.parametrize(("channel", "value"), [("red", 1.0), ("green", 0.2), ("blue", 0.0), ("alpha", 0.6)])
def test_load_image_mask_takes_one_channel(call: CallNode, context: Any, channel: str, value: float) -> None:
    save(context, "a.png", Image.new("RGBA", (3, 2), (255, 51, 0, 102)))
    (mask,) = call("LoadImageMask", image="a.png", channel=channel).outputs
    assert mask.shape == (1, 2, 3)
    assert mask[0, 1, 2] == pytest.approx(value)


def test_choices_validation_and_fingerprint_follow_the_folder(catalog: Any, context: Any) -> None:
    node = NODE_CLASSES["LoadImage"]
    choices, fingerprint, validate = node.required["image"].kind, node.fingerprint, node.validate
    assert callable(choices)
    assert fingerprint
    assert validate
    save(context, "b.png", Image.new("RGB", (2, 2)))
    Path(context.input_folder / "notes.txt").write_text("hello")
    assert choices(catalog) == ["b.png"]
    assert validate(catalog, image="b.png") is True
    assert validate(catalog, image="c.png") == "Invalid image file: c.png"
    before = fingerprint(catalog, image="b.png")
    assert fingerprint(catalog, image="b.png") == before
    save(context, "b.png", Image.new("RGB", (2, 2), "red"))
    assert fingerprint(catalog, image="b.png") != before


@pytest.mark.parametrize(
    ("old", "width", "height", "new"),
    [
        ((100, 50), 40, 0, (40, 20)),
        ((100, 50), 0, 40, (80, 40)),
        ((100, 50), 0, 0, (100, 50)),
        ((100, 50), 30, 70, (30, 70)),
        ((3, 1000), 0, 1, (1, 1)),
        ((5, 3), 4, 0, (4, 2)),  # 3 * 4 / 5 = 2.4
        ((2, 5), 1, 0, (1, 2)),  # 5 * 1 / 2 = 2.5, rounded to even
    ],
)
def test_image_scale_keeps_proportions_where_a_side_is_zero(
    call: CallNode, old: tuple[int, int], width: int, height: int, new: tuple[int, int]
) -> None:
    (scaled,) = call(
        "ImageScale", image=picture(*old), upscale_method="bilinear", width=width, height=height, crop="disabled"
    ).outputs
    assert scaled.shape == (1, new[1], new[0], 3)


def test_image_scale_crops_the_centre(call: CallNode) -> None:
    image = picture(10, 4)
    (scaled,) = call(
        "ImageScale", image=image, upscale_method="nearest-exact", width=4, height=4, crop="center"
    ).outputs
    assert np.array_equal(scaled, image[:, :, 3:7])


def test_scaling_methods_give_the_values_of_torch(call: CallNode) -> None:
    # torch.nn.functional.interpolate(torch.tensor([[[[0., 1., 0., 2.]]]]), size=(1, n), mode=…)
    row = np.repeat(np.array([0, 1, 0, 2], dtype=np.float32)[None, None, :, None], 3, axis=-1)

    def scaled(method: str, width: int) -> list[float]:
        (image,) = call("ImageScale", image=row, upscale_method=method, width=width, height=1, crop="disabled").outputs
        return [float(value) for value in image[0, 0, :, 0]]

    assert scaled("nearest-exact", 2) == [1, 2]
    assert scaled("bilinear", 2) == [0.5, 1.0]
    assert scaled("bilinear", 8) == pytest.approx([0, 0.25, 0.75, 0.75, 0.25, 0.5, 1.5, 2])
    assert scaled("area", 2) == [0.5, 1.0]
    assert scaled("area", 3) == [0.5, 0.5, 1.0]
    # Weights at a quarter: -0.10546875, 0.87890625, 0.26171875, -0.03515625.
    assert scaled("bicubic", 8)[3] == pytest.approx(0.87890625 * 1 - 0.03515625 * 2, abs=1e-6)
    assert scaled("bicubic", 2) == pytest.approx([0.59375 * 1, 0.59375 * 2 - 0.09375 * (1 + 2)], abs=1e-6)


def test_lanczos_is_pillows(call: CallNode) -> None:
    image = picture(16, 16)
    (scaled,) = call("ImageScaleBy", image=image, upscale_method="lanczos", scale_by=0.5).outputs
    expected = Image.fromarray((image[0] * 255).astype(np.uint8)).resize((8, 8), Image.Resampling.LANCZOS)
    assert np.array_equal((scaled[0] * 255).round(), np.asarray(expected))


def test_scaling_to_nothing_or_too_much_is_refused(call: CallNode) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        call("ImageScaleBy", image=picture(10, 10), upscale_method="area", scale_by=0.01)
    with pytest.raises(MemoryError):
        call("ImageScale", image=picture(2, 2), upscale_method="area", width=16384, height=16384, crop="disabled")
    with pytest.raises(MemoryError):
        call("EmptyImage", width=16384, height=16384, batch_size=4096)


def test_image_batch_fits_the_second_to_the_first(call: CallNode) -> None:
    first, second = picture(4, 4), picture(12, 4)
    (batch,) = call("ImageBatch", image1=first, image2=second).outputs
    assert batch.shape == (2, 4, 4, 3)
    assert np.array_equal(batch[0], first[0])
    assert np.allclose(batch[1], second[0, :, 4:8])


def test_image_crop_keeps_to_the_image(call: CallNode) -> None:
    image = picture(10, 8)
    assert np.array_equal(call("ImageCrop", image=image, width=4, height=3, x=2, y=1).outputs[0], image[:, 1:4, 2:6])
    assert call("ImageCrop", image=image, width=9, height=9, x=500, y=500).outputs[0].shape == (1, 1, 1, 3)


@pytest.mark.parametrize(
    ("mode", "value"),
    [
        ("normal", 0.8),
        ("multiply", 0.2 * 0.8),
        ("screen", 1 - 0.8 * 0.2),
        ("overlay", 2 * 0.2 * 0.8),
        ("soft_light", 0.2 + 0.6 * ((((16 * 0.2 - 12) * 0.2 + 4) * 0.2) - 0.2)),
        ("difference", 0.0),  # signed in ComfyUI, then cut at 0
    ],
)
def test_image_blend_has_comfyuis_modes(call: CallNode, mode: str, value: float) -> None:
    dark, light = np.full((1, 4, 4, 3), 0.2, np.float32), np.full((1, 8, 8, 3), 0.8, np.float32)
    (blended,) = call("ImageBlend", image1=dark, image2=light, blend_factor=1.0, blend_mode=mode).outputs
    assert blended.shape == dark.shape
    assert blended == pytest.approx(value, abs=1e-5)


def test_empty_image_and_invert(call: CallNode) -> None:
    (image,) = call("EmptyImage", width=3, height=2, batch_size=2, color=0xFF8000).outputs
    assert image.shape == (2, 2, 3, 3)
    assert image[1, 1, 2] == pytest.approx([1.0, 128 / 255, 0.0])
    assert call("ImageInvert", image=image).outputs[0][0, 0, 0] == pytest.approx([0.0, 127 / 255, 1.0])


def test_a_batch_is_repeated_and_taken_apart(call: CallNode) -> None:
    images = np.random.default_rng(0).random((2, 4, 6, 3), dtype=np.float32)
    (repeated,) = call("RepeatImageBatch", image=images, amount=3).outputs
    assert np.array_equal(repeated, np.concatenate([images] * 3))
    (part,) = call("ImageFromBatch", image=repeated, batch_index=1, length=2).outputs
    assert np.array_equal(part, images[::-1])
    (last,) = call("ImageFromBatch", image=repeated, batch_index=99, length=99).outputs
    assert np.array_equal(last, images[1:])
    with pytest.raises(MemoryError):
        call("RepeatImageBatch", image=np.zeros((1, 256, 256, 3), dtype=np.float32), amount=4096)


def test_a_saved_picture_is_loaded_from_the_output_folder(call: CallNode, context: Any) -> None:
    Image.new("RGB", (3, 2), (255, 0, 0)).save(context.output_folder / "a.png")
    image, mask = call("LoadImageOutput", image="a.png [output]").outputs
    assert image.tolist() == [[[[1.0, 0.0, 0.0]] * 3] * 2]
    assert mask.shape == (1, 64, 64)
