"""Video: frames, rates, sound and metadata of what is written and read again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import NodeResult

CallNode = Callable[..., NodeResult]


def steps(count: int = 6, width: int = 64, height: int = 32) -> np.ndarray:
    """Grey pictures, each lighter than the one before."""
    levels = np.linspace(0.1, 0.9, count, dtype=np.float32)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def silence(seconds: float) -> dict[str, Any]:
    return {"waveform": np.zeros((1, 2, round(seconds * 48000)), dtype=np.float32), "sample_rate": 48000}


def save(call: CallNode, context: Any, video: Any, **inputs: Any) -> Path:
    result = call("SaveVideo", video=video, **inputs)
    assert result.ui is not None
    (entry,) = result.ui["images"]
    assert (result.ui["animated"], entry["type"]) == ([True], "output")
    return Path(context.output_folder, entry["subfolder"], entry["filename"])


def created(call: CallNode, images: np.ndarray, fps: float = 8.0, **inputs: Any) -> Any:
    return call("CreateVideo", images=images, fps=fps, **inputs).outputs[0]


def load(call: CallNode, context: Any, path: Path) -> Any:
    (context.input_folder / path.name).write_bytes(path.read_bytes())
    return call("LoadVideo", file=path.name).outputs[0]


@pytest.mark.parametrize("wish", [{}, {"format": "mp4", "codec": "h264"}])
def test_a_created_video_is_saved_as_h264(call: CallNode, context: Any, wish: dict[str, str]) -> None:
    context.prompt, context.extra_pnginfo = {"1": {"class_type": "狐"}}, {"workflow": {"nodes": [1]}}
    path = save(call, context, created(call, steps(), fps=12.5), **wish)
    assert path.relative_to(context.output_folder).as_posix() == "video/ComfyUI_00001_.mp4"
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264"
        assert (stream.frames, stream.average_rate) == (6, Fraction(25, 2))
        assert (stream.width, stream.height) == (64, 32)
        assert json.loads(container.metadata["prompt"]) == context.prompt
        assert json.loads(container.metadata["workflow"]) == {"nodes": [1]}
        levels = [frame.to_ndarray(format="rgb24").mean() / 255 for frame in container.decode(video=0)]
    assert levels == pytest.approx(np.linspace(0.1, 0.9, 6), abs=0.02)


@pytest.mark.parametrize(("seconds", "expected"), [(3.0, 0.75), (0.25, 0.25)])
def test_sound_is_cut_to_the_pictures(call: CallNode, context: Any, seconds: float, expected: float) -> None:
    path = save(call, context, created(call, steps(), audio=silence(seconds)))
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        assert (sound.codec_context.name, sound.sample_rate, sound.channels) == ("aac", 48000, 2)
        samples = sum(frame.samples for frame in container.decode(sound))
    assert samples / 48000 == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("codec", "name"), [("vp9", "vp9"), ("av1", "av1")])
def test_webm(call: CallNode, context: Any, codec: str, name: str) -> None:
    context.prompt = {"1": {"class_type": "EmptyImage"}}
    result = call("SaveWEBM", images=steps(width=96, height=64), codec=codec, fps=5.0)
    entry = {"filename": "ComfyUI_00001_.webm", "subfolder": "", "type": "output"}
    assert result.ui == {"images": [entry], "animated": [True]}
    with av.open(str(context.output_folder / "ComfyUI_00001_.webm")) as container:
        (stream,) = container.streams
        assert stream.codec.canonical_name == name
        assert stream.average_rate == 5
        assert (stream.width, stream.height) == (96, 64)
        assert json.loads(container.metadata["PROMPT"]) == context.prompt
        assert len(list(container.decode(video=0))) == 6


def test_a_video_comes_back_in_parts(call: CallNode, context: Any) -> None:
    images = steps()
    path = save(call, context, created(call, images, audio=silence(0.75)))
    parts, sound, rate = call("GetVideoComponents", video=load(call, context, path)).outputs
    assert parts.shape == images.shape
    assert parts.dtype == np.float32
    assert np.abs(parts - images).max() < 0.03
    assert rate == 8.0
    assert sound["sample_rate"] == 48000
    assert sound["waveform"].shape[:2] == (1, 2)


def test_parts_of_a_created_video_are_what_it_was_made_of(call: CallNode) -> None:
    images = steps()
    assert call("GetVideoComponents", video=created(call, images)).outputs == (images, None, 8.0)


def test_a_loaded_video_is_copied_and_not_encoded_anew(call: CallNode, context: Any) -> None:
    context.prompt, context.extra_pnginfo = {"old": 1}, {"workflow": {"old": 1}}
    path = save(call, context, created(call, steps(), audio=silence(0.75)), filename_prefix="first")
    context.prompt, context.extra_pnginfo = {"new": 1}, None
    copy = save(call, context, load(call, context, path), filename_prefix="second")
    with av.open(str(path)) as original, av.open(str(copy)) as container:
        # The prompt is the new one; what nobody gave anew is kept.
        assert json.loads(container.metadata["prompt"]) == {"new": 1}
        assert json.loads(container.metadata["workflow"]) == {"old": 1}
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert [bytes(packet) for packet in container.demux()] == [bytes(packet) for packet in original.demux()]


def test_a_loaded_video_is_encoded_anew_if_it_must_be(call: CallNode, context: Any) -> None:
    call("SaveWEBM", images=steps(), codec="vp9", fps=8.0, filename_prefix="w")
    video = load(call, context, context.output_folder / "w_00001_.webm")
    assert video.size() == (64, 32)
    with av.open(str(save(call, context, video, filename_prefix="copied"))) as container:
        assert container.streams.video[0].codec.canonical_name == "vp9"
    with av.open(str(save(call, context, video, filename_prefix="anew", codec="h264"))) as container:
        assert container.streams.video[0].codec.canonical_name == "h264"
        assert len(list(container.decode(video=0))) == 6


def test_h264_refuses_odd_sides(call: CallNode) -> None:
    with pytest.raises(av.FFmpegError):
        call("SaveVideo", video=created(call, steps(width=63)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.mp4", b"this is no video"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.mp4\n#EXT-X-ENDLIST\n"),
    ],
)
def test_what_is_no_video_is_refused(call: CallNode, context: Any, name: str, content: bytes) -> None:
    save(call, context, created(call, steps()), filename_prefix="x").rename(context.input_folder / "other.mp4")
    (context.input_folder / name).write_bytes(content)
    (video,) = call("LoadVideo", file=name).outputs  # Not opened before it is needed.
    with pytest.raises(av.FFmpegError):
        call("GetVideoComponents", video=video)


def test_sound_alone_is_no_video(call: CallNode, context: Any) -> None:
    call("SaveAudio", audio=silence(0.2), filename_prefix="sound")
    video = load(call, context, context.output_folder / "sound_00001_.flac")
    for use in (video.size, video.parts):
        with pytest.raises(ValueError, match="No video stream found"):
            use()


def test_a_huge_picture_is_refused_before_it_is_decoded(call: CallNode, context: Any) -> None:
    gif = context.input_folder / "huge.gif"
    Image.new("P", (8, 8)).save(gif)
    content = bytearray(gif.read_bytes())
    content[6:10] = (60_000).to_bytes(2, "little") * 2  # The size of the canvas.
    gif.write_bytes(content)
    with pytest.raises(av.FFmpegError):  # MemoryError would be too late.
        call("LoadVideo", file="huge.gif").outputs[0].parts()


def test_a_long_video_is_refused(call: CallNode, context: Any) -> None:
    path = context.input_folder / "long.mp4"
    frame = av.VideoFrame.from_ndarray(np.zeros((1632, 1920), dtype=np.uint8), format="yuv420p")  # 1920 x 1088
    with av.open(str(path), "w") as output:
        stream = output.add_stream("h264", rate=8, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1088, "yuv420p"
        for number in range(17):  # 35.5 million pixels.
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert path.stat().st_size < 100_000
    with pytest.raises(MemoryError, match="use smaller pictures or a smaller batch"):
        call("LoadVideo", file="long.mp4").outputs[0].parts()


def test_the_fingerprint_of_a_video_is_the_time_of_its_last_change(context: Any, catalog: Any) -> None:
    path = context.input_folder / "a.mp4"
    path.touch()
    fingerprint = NODE_CLASSES["LoadVideo"].fingerprint
    assert fingerprint is not None
    before = fingerprint(catalog, file="a.mp4")
    assert fingerprint(catalog, file="a.mp4") == before
    os.utime(path, ns=(1, 1))
    assert fingerprint(catalog, file="a.mp4") != before
    with pytest.raises(FileNotFoundError):
        fingerprint(catalog, file="b.mp4")
