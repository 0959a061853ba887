"""Sound: what is written is what is read again, by FFmpeg and by LoadAudio."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import NodeResult

CallNode = Callable[..., NodeResult]


def tones(seconds: float = 0.5, rate: int = 44100, channels: int = 2, pieces: int = 1) -> dict[str, Any]:
    """Another pitch in every channel of every piece."""
    moments = np.arange(round(seconds * rate)) / rate
    pitches = 220 * np.arange(1, pieces * channels + 1).reshape(pieces, channels, 1)
    return {"waveform": (0.5 * np.sin(2 * np.pi * pitches * moments)).astype(np.float32), "sample_rate": rate}


def saved(result: NodeResult) -> list[dict[str, str]]:
    assert result.ui is not None
    assert list(result.ui) == ["audio"]
    return list(result.ui["audio"])


def load(call: CallNode, context: Any, path: Path) -> dict[str, Any]:
    (context.input_folder / path.name).write_bytes(path.read_bytes())
    return dict(call("LoadAudio", audio=path.name).outputs[0])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_flac_keeps_every_sample(call: CallNode, context: Any, channels: int, rate: int) -> None:
    sound = tones(rate=rate, channels=channels)
    (entry,) = saved(call("SaveAudio", audio=sound))
    assert entry == {"filename": "ComfyUI_00001_.flac", "subfolder": "audio", "type": "output"}
    loaded = load(call, context, context.output_folder / "audio" / entry["filename"])
    assert loaded["sample_rate"] == rate
    assert loaded["waveform"].dtype == np.float32
    assert loaded["waveform"].shape == sound["waveform"].shape
    assert np.abs(loaded["waveform"] - sound["waveform"]).max() < 1e-4


@pytest.mark.parametrize(
    ("class_type", "extension", "qualities"),
    [("SaveAudioMP3", "mp3", ("128k", "320k", "V0")), ("SaveAudioOpus", "opus", ("64k", "128k", "320k"))],
)
def test_a_higher_quality_makes_a_larger_file(
    call: CallNode, context: Any, class_type: str, extension: str, qualities: tuple[str, ...]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (1, 2, 44100)).astype(np.float32)
    sizes = []
    for quality in qualities:
        (entry,) = saved(call(class_type, audio={"waveform": noise, "sample_rate": 44100}, quality=quality))
        assert entry["filename"].endswith(f".{extension}")
        sizes.append((context.output_folder / "audio" / entry["filename"]).stat().st_size)
    assert sizes[0] < sizes[1]
    assert sizes[1] != sizes[2]


@pytest.mark.parametrize(("rate", "expected"), [(8000, 8000), (22050, 24000), (44100, 48000), (96000, 48000)])
def test_opus_takes_the_next_rate_that_it_knows(call: CallNode, context: Any, rate: int, expected: int) -> None:
    (entry,) = saved(call("SaveAudioOpus", audio=tones(rate=rate, seconds=1)))
    path = context.output_folder / "audio" / entry["filename"]
    content = path.read_bytes()
    start = content.index(b"OpusHead") + 12
    assert int.from_bytes(content[start : start + 4], "little") == expected
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        assert samples / stream.sample_rate == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("class_type", ["SaveAudio", "SaveAudioMP3", "SaveAudioOpus"])
def test_the_workflow_is_inside(call: CallNode, context: Any, class_type: str) -> None:
    context.prompt, context.extra_pnginfo = {"1": {"class_type": "狐"}}, {"workflow": {"nodes": [1]}}
    (entry,) = saved(call(class_type, audio=tones()))
    with av.open(str(context.output_folder / "audio" / entry["filename"])) as container:
        tags = {key.lower(): text for key, text in {**container.metadata, **container.streams[0].metadata}.items()}
    assert json.loads(tags["prompt"]) == context.prompt
    assert json.loads(tags["workflow"]) == {"nodes": [1]}


def test_every_piece_of_a_batch_gets_a_file(call: CallNode, context: Any) -> None:
    sound = tones(pieces=3, channels=1)
    entries = saved(call("SaveAudio", audio=sound, filename_prefix="a/%batch_num%"))
    assert [entry["filename"] for entry in entries] == ["0_00001_.flac", "1_00002_.flac", "2_00003_.flac"]
    last = load(call, context, context.output_folder / "a" / "2_00003_.flac")
    assert np.abs(last["waveform"][0] - sound["waveform"][2]).max() < 1e-4


def test_a_preview_goes_to_the_temporary_folder(call: CallNode, context: Any) -> None:
    (entry,) = saved(call("PreviewAudio", audio=tones()))
    assert re.fullmatch(r"ComfyUI_temp_[a-z]{5}_00001_\.flac", entry["filename"])
    assert (entry["subfolder"], entry["type"]) == ("", "temp")
    assert (context.temporary_folder / entry["filename"]).is_file()


def test_interleaved_whole_numbers_are_read(call: CallNode, context: Any) -> None:
    samples = np.array([[0, 16384, -32768, 32767], [100, 200, 300, 400]], dtype="<i2")
    with wave.open(str(context.input_folder / "whole.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(11025)
        file.writeframes(samples.T.tobytes())
    sound = call("LoadAudio", audio="whole.wav").outputs[0]
    assert sound["sample_rate"] == 11025
    assert np.array_equal(sound["waveform"], (samples / 32768).astype(np.float32)[None])


def test_the_sound_of_a_video_is_read(call: CallNode, context: Any) -> None:
    images = np.zeros((4, 32, 32, 3), dtype=np.float32)
    (video,) = call("CreateVideo", images=images, fps=8.0, audio=tones(seconds=2)).outputs
    call("SaveVideo", video=video, filename_prefix="clip")
    sound = load(call, context, context.output_folder / "clip_00001_.mp4")
    # Cut to the length of the pictures.
    assert sound["waveform"].shape[-1] / sound["sample_rate"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.mp3", b"this is no sound"),
        ("empty.wav", b""),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.mp4\n#EXT-X-ENDLIST\n"),
        ("list.concat", b"ffconcat version 1.0\nfile other.mp4\n"),
    ],
)
def test_what_is_no_sound_or_leads_to_other_files_is_refused(
    call: CallNode, context: Any, name: str, content: bytes
) -> None:
    images = np.zeros((4, 32, 32, 3), dtype=np.float32)
    (video,) = call("CreateVideo", images=images, fps=8.0, audio=tones(seconds=2)).outputs
    call("SaveVideo", video=video, filename_prefix="clip")
    (context.output_folder / "clip_00001_.mp4").rename(context.input_folder / "other.mp4")
    call("LoadAudio", audio="other.mp4")
    (context.input_folder / name).write_bytes(content)
    with pytest.raises(av.FFmpegError):
        call("LoadAudio", audio=name)


def test_a_video_without_sound_is_refused(call: CallNode, context: Any) -> None:
    (video,) = call("CreateVideo", images=np.zeros((2, 32, 32, 3), dtype=np.float32)).outputs
    call("SaveVideo", video=video, filename_prefix="mute")
    with pytest.raises(ValueError, match=r"No audio stream found in the file\."):
        load(call, context, context.output_folder / "mute_00001_.mp4")


def test_silence_has_the_length_that_was_asked_for(call: CallNode) -> None:
    sound = call("EmptyAudio", duration=1.5, sample_rate=8000, channels=1).outputs[0]
    assert sound["waveform"].shape == (1, 1, 12000)
    assert not sound["waveform"].any()
    with pytest.raises(MemoryError, match="use less audio"):
        call("EmptyAudio", duration=1e15)


@pytest.mark.parametrize(
    ("start", "duration", "expected"), [(0.25, 0.5, (2, 6)), (-0.5, 9.0, (4, 8)), (0.0, 60.0, (0, 8))]
)
def test_a_piece_is_cut_out(call: CallNode, start: float, duration: float, expected: tuple[int, int]) -> None:
    waveform = np.arange(8, dtype=np.float32).reshape(1, 1, 8)
    sound = {"waveform": waveform, "sample_rate": 8}
    cut = call("TrimAudioDuration", audio=sound, start_index=start, duration=duration).outputs[0]
    assert np.array_equal(cut["waveform"], waveform[..., slice(*expected)])
    with pytest.raises(ValueError, match="Start time must be less than end time"):
        call("TrimAudioDuration", audio=sound, start_index=0.0, duration=0.0)


def test_only_sound_and_video_are_offered(context: Any, catalog: Any) -> None:
    for name in ("a.mp3", "b.mp4", "c.flac", "d.png", "e.txt", "f.webm", "g"):
        (context.input_folder / name).touch()
    choices = NODE_CLASSES["LoadAudio"].required["audio"].kind
    assert callable(choices)
    assert choices(catalog) == ["a.mp3", "b.mp4", "c.flac", "f.webm"]
