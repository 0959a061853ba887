"""Output nodes: names, counters, metadata, and staying inside the output folder."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfypod.emulator.nodes.base import NodeResult

CallNode = Callable[..., NodeResult]


def pictures(count: int = 1, width: int = 16, height: int = 8) -> np.ndarray:
    return np.random.default_rng(0).random((count, height, width, 3), dtype=np.float32)


def saved_names(result: NodeResult) -> list[str]:
    assert result.ui is not None
    return [entry["filename"] for entry in result.ui["images"]]


def test_save_image_counts_on(call: CallNode, context: Any) -> None:
    assert saved_names(call("SaveImage", images=pictures(2))) == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"]
    (context.output_folder / "ComfyUI_00041_.webp").touch()
    (context.output_folder / "ComfyUI_junk.png").touch()
    (context.output_folder / "ComfyUIx_00099_.png").touch()
    assert saved_names(call("SaveImage", images=pictures())) == ["ComfyUI_00042_.png"]
    assert saved_names(call("SaveImage", images=pictures(), filename_prefix="fox")) == ["fox_00001_.png"]


def test_save_image_writes_the_pixels(call: CallNode, context: Any) -> None:
    images = pictures()
    images[0, 0, 0] = (-0.5, 0.9999, 1.5)
    call("SaveImage", images=images)
    with Image.open(context.output_folder / "ComfyUI_00001_.png") as image:
        assert image.size == (16, 8)
        assert np.array_equal(np.asarray(image), np.clip(images[0] * 255.0, 0, 255).astype(np.uint8))
        assert image.getpixel((0, 0)) == (0, 254, 255)


def test_save_image_goes_into_subfolders_and_fills_in_tokens(call: CallNode, context: Any) -> None:
    result = call("SaveImage", images=pictures(2), filename_prefix="jobs/7/%width%x%height%_%year%_%batch_num%")
    year = time.localtime().tm_year
    assert result.ui == {
        "images": [
            {"filename": f"16x8_{year}_0_00001_.png", "subfolder": "jobs/7", "type": "output"},
            {"filename": f"16x8_{year}_1_00002_.png", "subfolder": "jobs/7", "type": "output"},
        ]
    }
    assert (context.output_folder / "jobs/7" / f"16x8_{year}_1_00002_.png").is_file()


def test_save_image_keeps_tokens_that_are_not_the_servers(call: CallNode) -> None:
    assert saved_names(call("SaveImage", images=pictures(), filename_prefix="%date:yyyy%")) == [
        "%date:yyyy%_00001_.png"
    ]


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "/tmp/x", "..", "/", "../output2/x", "a/b/../../../x"])  # noqa: S108
def test_save_image_stays_inside_the_output_folder(call: CallNode, context: Any, prefix: str) -> None:
    before = sorted(context.root.rglob("*"))
    with pytest.raises(ValueError, match="outside the output folder"):
        call("SaveImage", images=pictures(), filename_prefix=prefix)
    assert sorted(context.root.rglob("*")) == before


def test_save_image_accepts_detours_that_end_inside(call: CallNode) -> None:
    result = call("SaveImage", images=pictures(), filename_prefix="a/../b/./c")
    assert result.ui == {"images": [{"filename": "c_00001_.png", "subfolder": "b", "type": "output"}]}


def test_save_image_writes_metadata_as_text_chunks(call: CallNode, context: Any) -> None:
    context.prompt = {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "naïve 狐"}}}
    context.extra_pnginfo = {"workflow": {"nodes": [1, 2]}, "note": "hello"}
    call("SaveImage", images=pictures())
    path = context.output_folder / "ComfyUI_00001_.png"
    with Image.open(path) as image:
        assert json.loads(image.info["prompt"]) == context.prompt
        assert json.loads(image.info["workflow"]) == {"nodes": [1, 2]}
        assert image.info["note"] == '"hello"'
    content = path.read_bytes()
    assert content.count(b"tEXt") == 3
    assert b"iTXt" not in content


def test_preview_image_goes_to_the_temporary_folder(call: CallNode, context: Any) -> None:
    result = call("PreviewImage", images=pictures(2))
    assert result.ui is not None
    first, second = result.ui["images"]
    assert re.fullmatch(r"ComfyUI_temp_[a-z]{5}_00001_\.png", first["filename"])
    assert second["filename"] == first["filename"].replace("00001", "00002")
    assert first["type"] == second["type"] == "temp"
    assert (context.temporary_folder / second["filename"]).is_file()
    assert not list(context.output_folder.iterdir())


@pytest.mark.parametrize(("count", "animated"), [(1, False), (3, True)])
def test_save_animated_webp(call: CallNode, context: Any, count: int, animated: bool) -> None:
    context.prompt, context.extra_pnginfo = {"1": {}}, {"workflow": {"a": 1}, "more": 2}
    result = call("SaveAnimatedWEBP", images=pictures(count), method="fastest", fps=5.0)
    assert result.ui == {
        "images": [{"filename": "ComfyUI_00001_.webp", "subfolder": "", "type": "output"}],
        **({"animated": [True]} if animated else {}),
    }
    with Image.open(context.output_folder / "ComfyUI_00001_.webp") as image:
        assert getattr(image, "n_frames", 1) == count
        assert image.size == (16, 8)
        exif = image.getexif()
        assert exif[0x0110] == 'prompt:{"1": {}}'
        assert exif[0x010F] == 'workflow:{"a": 1}'
        assert exif[0x010E] == "more:2"
        image.seek(count - 1)
        image.load()
        if animated:
            assert image.info["duration"] == 200
            assert np.array_equal(np.asarray(image.convert("RGB")), (pictures(count)[-1] * 255.0).astype(np.uint8))


def test_counter_is_shared_by_all_extensions(call: CallNode) -> None:
    call("SaveImage", images=pictures())
    assert saved_names(call("SaveAnimatedWEBP", images=pictures(), method="fastest")) == ["ComfyUI_00002_.webp"]


@pytest.mark.parametrize(("count", "animated"), [(1, False), (3, True)])
def test_save_animated_png(call: CallNode, context: Any, count: int, animated: bool) -> None:
    context.prompt, context.extra_pnginfo = {"1": {"class_type": "狐"}}, {"workflow": {"a": 1}}
    images = pictures(count)
    result = call("SaveAnimatedPNG", images=images, fps=5.0)
    assert result.ui == {
        "images": [{"filename": "ComfyUI_00001_.png", "subfolder": "", "type": "output"}],
        **({"animated": [True]} if animated else {}),
    }
    path = context.output_folder / "ComfyUI_00001_.png"
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == count
        for number in range(count):
            image.seek(number)
            assert np.array_equal(np.asarray(image.convert("RGB")), (images[number] * 255).astype(np.uint8))
            assert image.info.get("duration", 200) == 200
    content = path.read_bytes()
    # Private chunks behind the pictures, not texts.
    assert [content.count(kind) for kind in (b"comf", b"tEXt")] == [2, 0]
    assert content.index(b"comfprompt\0" + json.dumps(context.prompt).encode()) > content.index(b"IDAT")


def test_pictures_for_the_websocket_are_sent_and_not_saved(call: CallNode, context: Any) -> None:
    images = pictures(2)
    assert call("SaveImageWebsocket", images=images) == NodeResult()
    assert context.steps == [(0, 2), (1, 2)]
    assert [np.asarray(picture).tolist() for picture in context.pictures] == (images * 255).astype(int).tolist()
    assert not list(context.output_folder.iterdir())
