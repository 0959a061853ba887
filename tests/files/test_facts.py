"""What is said of output files, and that looking into a file costs this process neither time, memory nor its life."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import av
import pytest

from comfypod.files.facts import EVERYDAY_BYTES, MediaInfo, probe
from comfypod.files.isolation import FileRefused, HoldsSomethingElse, run_isolated
from tests.files import media_files as files


def is_animated(path: Path) -> bool:
    return (probe(path, "image/png").frames or 0) > 1


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_a_still_picture_has_a_size_and_one_frame(tmp_path: Path, kind: str) -> None:
    path = _file(tmp_path, "a", files.picture(kind, (37, 21)))
    assert probe(path, f"image/{kind.lower()}") == MediaInfo(37, 21, None, 1)
    assert not is_animated(path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF"])
def test_an_animation_has_frames_and_a_duration(tmp_path: Path, kind: str) -> None:
    path = _file(tmp_path, "a", files.animation(kind, frames=5, milliseconds=80, size=(20, 10)))
    info = probe(path, "image/whatever")
    assert (info.width, info.height, info.frames) == (20, 10, 5)
    assert info.duration_seconds == pytest.approx(0.4)
    assert is_animated(path)


def test_several_pages_are_no_still_picture(tmp_path: Path) -> None:
    assert is_animated(_file(tmp_path, "a.tiff", files.tiff_pages([(4, 4), (4, 4)])))


def test_the_stored_size_is_told_not_the_turned_one(tmp_path: Path) -> None:
    image = files.pixels((30, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert probe(tmp_path / "a.jpg", "image/jpeg") == MediaInfo(30, 20, None, 1)


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [
        ("a.mp4", "libx264", "aac"),
        ("a.webm", "libvpx-vp9", "libopus"),
        ("a.mkv", "libx264", None),
        ("a.mov", "mpeg4", None),
        ("a.avi", "mpeg4", None),
    ],
)
def test_a_video_has_a_size_a_duration_and_frames(tmp_path: Path, name: str, codec: str, sound: str | None) -> None:
    files.write_video(tmp_path / name, codec, frames=48, sound=sound)
    info = probe(tmp_path / name, "video/whatever")
    assert (info.width, info.height) == (64, 48)
    assert info.duration_seconds == pytest.approx(2.0, abs=0.06)
    # A container may not tell how many there are, but must not tell a wrong number.
    assert info.frames == 48 or (info.frames is None and name in {"a.webm", "a.mkv"})


@pytest.mark.parametrize(
    ("name", "codec"), [("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.opus", "libopus"), ("a.wav", "pcm_s16le")]
)
def test_a_sound_has_a_duration(tmp_path: Path, name: str, codec: str) -> None:
    files.write_sound(tmp_path / name, codec, seconds=1.5)
    info = probe(tmp_path / name, "audio/whatever")
    assert info.duration_seconds == pytest.approx(1.5, abs=0.06)
    assert (info.width, info.height, info.frames) == (None, None, None)


def test_a_still_png_of_any_size_is_looked_at_without_another_process(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.png", files.picture("PNG", (37, 21)) + bytes(EVERYDAY_BYTES))
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert probe(path, "image/png") == MediaInfo(37, 21, None, 1)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime == started.ru_utime


BROKEN = {
    "empty": b"",
    "text": b"no media",
    "a cut PNG": files.picture("PNG")[:24],
    "a cut WEBP": files.animation("WEBP")[:40],
    "an animation that ends early": files.animation("PNG")[:-40],
    "a GIF header": b"GIF89a",
    "an MP4 that is a trap": files.mp4_bomb(80_000_000),
    "a playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("content_type", ["image/png", "video/mp4"])
def test_a_broken_output_has_no_facts(tmp_path: Path, what: str, content_type: str) -> None:
    path = _file(tmp_path, "a", BROKEN[what])
    assert probe(path, content_type) == MediaInfo()
    assert not is_animated(path)


def test_an_output_that_is_gone_has_no_facts(tmp_path: Path) -> None:
    assert probe(tmp_path / "gone.png", "image/png") == MediaInfo()
    assert probe(tmp_path / "gone.mp4", "video/mp4") == MediaInfo()


def test_other_kinds_have_no_facts(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.png", files.picture("PNG"))
    for content_type in ("application/octet-stream", "model/gltf-binary", "text/plain", ""):
        assert probe(path, content_type) == MediaInfo()


def test_names_are_no_addresses(tmp_path: Path) -> None:
    """libav takes "concat:a|b" for two files, Pillow and the shell take nothing for anything."""
    files.write_sound(tmp_path / "one.wav", "pcm_s16le", seconds=1)
    for name in ("concat:one.wav|one.wav", "$(touch x).wav", "-version", "a%03d.wav", "späte \udcff.wav"):
        (tmp_path / "one.wav").rename(path := tmp_path / os.fsdecode(os.fsencode(name)))
        assert probe(path, "audio/wav").duration_seconds == pytest.approx(1, abs=0.01), name
        path.rename(tmp_path / "one.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["one.wav"]


def test_a_large_header_is_read_without_the_pixels(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.png", files.png_with(size=(20_000, 20_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert probe(path, "image/png") == MediaInfo(20_000, 20_000, None, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB


def test_a_picture_of_many_bytes_is_looked_at_too(tmp_path: Path) -> None:
    text = files.png_chunk(b"tEXt", b"k\0" + b"a" * EVERYDAY_BYTES)
    path = _file(tmp_path, "a.png", files.png_with(text, size=(5, 6)))
    assert probe(path, "image/png") == MediaInfo(5, 6, None, 1)


def test_the_process_that_looks_gets_no_more_than_its_memory(tmp_path: Path) -> None:
    """Two canvases of 4 bytes a pixel: 17 GB in all."""
    path = _file(tmp_path, "a.webp", files.webp_canvas((46_000, 46_000)))
    with pytest.raises(FileRefused):
        run_isolated("look_at_picture", str(path))


def test_the_process_that_looks_writes_no_files(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from comfypod.files import child_process\n"
        "child_process.OPERATIONS['tell'] = lambda path: open(path, 'w').write('x' * 100000)\n"
        "child_process.main('5', 'tell', sys.argv[1])\n"
    )
    target = tmp_path / "written"
    command = [sys.executable, "-c", script, f'["{target}"]']
    done = subprocess.run(command, check=False, capture_output=True, timeout=30)
    assert done.returncode != 0
    assert target.stat().st_size == 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="Linux tells what a process was given")
def test_the_process_that_looks_is_given_a_time_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "secret")
    path = _file(tmp_path, "a.gif", files.gif_with_comment(24 * 1024**2))  # it takes Pillow half a minute
    start, seen = time.monotonic(), []

    def look() -> None:
        with pytest.raises(FileRefused, match="takes longer than 3 s"):
            run_isolated("look_at_picture", str(path), timeout_seconds=3)

    with ThreadPoolExecutor() as pool:
        looking = pool.submit(look)
        while not looking.done():
            seen.extend(_environments_of(str(path)))
            wait([looking], timeout=0.05)
        looking.result()
    assert time.monotonic() - start < 12
    assert seen[-1] == b""
    assert _environments_of(str(path)) == [], "it is still running"


def _environments_of(argument: str) -> list[bytes]:
    """What the processes were given that have this in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if argument.encode() in (process / "cmdline").read_bytes():
                found.append((process / "environ").read_bytes())
    return found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{path}\n#EXT-X-ENDLIST\n"),
        ("b.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n"),
        ("c.mp4", "ffconcat version 1.0\nfile secret.ts\n"),
    ],
)
def test_libav_is_kept_from_opening_other_files(tmp_path: Path, name: str, text: str) -> None:
    files.write_video(tmp_path / "secret.ts", "mpeg2video")
    path = _file(tmp_path, name, text.format(path=tmp_path / "secret.ts").encode())
    with av.open(str(path)) as followed:  # left to itself, it does
        assert len(followed.streams.video) == 1
    with pytest.raises(HoldsSomethingElse, match="not accepted"):
        run_isolated("look_at_streams", str(path))
    assert probe(path, "video/mp4") == MediaInfo()


def test_what_becomes_of_a_crash_and_of_a_refusal() -> None:
    with pytest.raises(FileRefused, match="library"):
        run_isolated("no such operation")
    with pytest.raises(HoldsSomethingElse, match="no picture"):
        run_isolated("look_at_picture", __file__)


def test_libav_stays_out_of_this_process(tmp_path: Path) -> None:
    files.write_video(tmp_path / "a.mp4", "mpeg4")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from comfypod.files import content_check, conversion, facts\n"
        "path = Path(sys.argv[1])\n"
        "content_check.check_content(path, 'a.mp4', 10**6)\n"
        "assert facts.probe(path, 'video/mp4').frames == 12\n"
        "assert conversion.strip_metadata(path, path.with_name('b.mp4'))\n"
        "print([name for name in ('av', 'numpy') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.mp4")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
