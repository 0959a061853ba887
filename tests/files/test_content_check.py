"""Input files: each is what its name says, or is refused with a reason; none costs much, whatever is in it."""

from __future__ import annotations

import io
import json
import pickle
import resource
import socketserver
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from comfypod.errors import InputFetchFailed
from comfypod.files.content_check import check_content
from comfypod.files.isolation import FileRefused, run_isolated
from tests.files import media_files as files

MAXIMUM_PIXELS = 1_000_000


class _Order:
    """What an attacker pickles."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("hello",)


def _check(folder: Path, name: str, content: bytes, maximum_pixels: int = MAXIMUM_PIXELS) -> None:
    path = folder / "fetched"
    path.write_bytes(content)
    check_content(path, name, maximum_pixels)


def _refusal(folder: Path, name: str, content: bytes) -> str:
    with pytest.raises(InputFetchFailed) as caught:
        _check(folder, name, content)
    assert caught.value.name == name
    assert str(folder) not in str(caught.value)
    return caught.value.cause


def _archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


PICTURES = {
    "PNG": files.picture("PNG"),
    "PNG with a workflow": files.png_with(files.png_chunk(b"tEXt", b"workflow\0" + b"{}" * 100_000)),
    "JPEG": files.picture("JPEG"),
    "JPEG, progressive": files.picture("JPEG", (64, 64), progressive=True),
    "JPEG, with restarts": files.picture("JPEG", (64, 64), restart_marker_blocks=1),
    "WEBP": files.picture("WEBP"),
    "GIF": files.picture("GIF"),
    "BMP": files.picture("BMP"),
    "TIFF": files.picture("TIFF"),
    "AVIF": files.picture("AVIF"),
    "JPEG2000": files.picture("JPEG2000"),
    "ICO": files.picture("ICO", (16, 16)),
    "PPM": files.picture("PPM"),
    "TGA": files.picture("TGA"),
    "PNG, animated": files.animation("PNG"),
    "WEBP, animated": files.animation("WEBP"),
    "GIF, animated": files.animation("GIF"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_of_picture_is_accepted_under_any_picture_suffix(tmp_path: Path, kind: str) -> None:
    _check(tmp_path, "folder/a.JPG", PICTURES[kind])


@pytest.mark.parametrize("kind", [kind for kind in PICTURES if kind not in {"PPM", "TGA", "BMP", "ICO"}])
def test_a_picture_that_ends_early_is_refused(tmp_path: Path, kind: str) -> None:
    whole = PICTURES[kind]
    assert (
        "truncated" in (cause := _refusal(tmp_path, "a.png", whole[: len(whole) * 2 // 3]))
        or "broken" in cause
        or "no picture" in cause
    )


NO_PICTURES = {
    "empty": (b"", "is empty"),
    "an HTML page": (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "an XML error": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
    "JSON": (b'{"error": "not found"}', "no picture"),
    "text": (b"I am no picture", "no picture"),
    "a zip archive": (_archive("a.txt"), "zip archive"),
    "a video": (files.mp4_bomb(10), "MPEG-4"),
    "the first bytes of a PNG": (files.picture("PNG")[:20], "picture"),
    "the first bytes of a JPEG": (files.picture("JPEG")[:20], "picture"),
    "the first bytes of a WEBP": (files.picture("WEBP")[:20], "picture"),
    "PostScript, which Pillow would run": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "picture",
    ),
}


@pytest.mark.parametrize("what", NO_PICTURES)
def test_what_is_no_picture_is_refused_under_a_pictures_name(tmp_path: Path, what: str) -> None:
    content, word = NO_PICTURES[what]
    cause = _refusal(tmp_path, "photo.png", content)
    assert cause.startswith("it ")
    assert word in cause


LARGE = (30_000, 30_000)
BOMBS = {
    "PNG": files.png_with(size=LARGE),
    "PNG of the largest size": files.png_with(size=(2**31 - 1, 2**31 - 1)),
    "PNG with 2 billion frames": files.png_with(files.png_chunk(b"acTL", struct.pack(">II", 2**31, 0))),
    "JPEG": files.picture("JPEG").replace(struct.pack(">HH", 4, 6), struct.pack(">HH", 65_500, 65_500), 1),
    "WEBP canvas": files.webp_canvas((16_383, 16_383)),
    "WEBP canvas of 17 GB": files.webp_canvas((65_535, 65_535)),
    "WEBP frames": files.webp_canvas((1000, 1000), frames=20),
    "GIF screen": files.gif_bomb((60_000, 60_000), 1),
    "GIF frames": files.gif_bomb((1000, 1000), 2000),
    "TIFF": files.tiff_pages([LARGE]),
    "TIFF, the second page": files.tiff_pages([(1, 1), LARGE]),
    "JPEG 2000": files.jpeg_2000(LARGE),
    "ICO with a large PNG": files.icon_with(files.png_with(size=LARGE)),
    "PSD": files.photoshop(LARGE),
}


# An icon says 16 x 16; what it holds is looked at only where a picture is expected.
HIDDEN_BOMBS = [(bomb, "dat") for bomb in BOMBS if bomb != "ICO with a large PNG"]


@pytest.mark.parametrize(("bomb", "suffix"), [*((bomb, "png") for bomb in BOMBS), *HIDDEN_BOMBS])
def test_a_picture_larger_than_allowed_is_refused_without_being_unpacked(
    tmp_path: Path, bomb: str, suffix: str
) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    cause = _refusal(tmp_path, f"a.{suffix}", BOMBS[bomb])
    assert "pixels" in cause or "larger than is allowed" in cause or "memory" in cause or "broken" in cause, cause
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_the_sentence_names_the_size_the_limit_and_the_setting(tmp_path: Path) -> None:
    cause = _refusal(tmp_path, "a.png", files.png_with(size=(20_000, 20_000)))
    assert "20000 x 20000" in cause
    assert "1,000,000" in cause
    assert "MAXIMUM_IMAGE_PIXELS" in cause


def test_a_picture_just_within_the_limit_is_accepted_however_large_pillows_own_limit_is(tmp_path: Path) -> None:
    content = files.picture("PNG", (2000, 100), "1")
    _check(tmp_path, "a.png", content, maximum_pixels=200_000)
    with pytest.raises(InputFetchFailed):
        _check(tmp_path, "a.png", content, maximum_pixels=199_999)
    header = files.png_with(size=(20_000, 15_000))  # more than 2 x 89 million, where Pillow gives up
    _check(tmp_path, "a.png", header, maximum_pixels=300_000_000)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_text_that_unpacks_to_too_much_is_refused(tmp_path: Path, kind: bytes) -> None:
    assert "broken picture" in _refusal(tmp_path, "a.png", files.png_with(files.compressed_text_bomb(kind)))


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(files.picture("PNG", (40, 40)))
    content[-20] ^= 1
    assert "broken" in _refusal(tmp_path, "a.png", bytes(content))


def test_what_an_unknown_suffix_hides_may_be_any_picture_of_an_allowed_size(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "GIF, animated", "JPEG2000"):
        _check(tmp_path, "a.dat", PICTURES[kind])


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
TENSORS = {
    "no length": (b"\0\0", "longer than the file"),
    "a header longer than the file": (struct.pack("<Q", 10**6) + b"{}", "longer than the file"),
    "a header of 2**63 bytes": (struct.pack("<Q", 2**63) + b"{}", "longer than the file"),
    "no JSON": (files.tensors_with(b"{not json"), "not valid JSON"),
    "no object": (files.tensors_with(b"[1, 2]"), "not a JSON object"),
    "deep": (files.tensors_with(b'{"a":' + b"[" * 200_000), "not valid JSON"),
    "large numbers": (files.tensors_with(b'{"a":' + b"9" * 10_000 + b"}"), "not valid JSON"),
    "a name twice": (files.tensors_with(b'{"a": 1, "a": 2}'), "twice"),
    "an offset twice": (
        files.tensors_with(b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0], "data_offsets": [0, 9]}}'),
        "twice",
    ),
    "no dtype": (files.tensors_with(json.dumps({"a": {**TENSOR, "dtype": 3}}).encode(), bytes(16)), "dtype"),
    "a negative shape": (files.tensors_with(json.dumps({"a": {**TENSOR, "shape": [-1]}}).encode(), bytes(16)), "shape"),
    "offsets backwards": (
        files.tensors_with(json.dumps({"a": {**TENSOR, "data_offsets": [9, 2]}}).encode(), bytes(16)),
        "data_offsets",
    ),
    "no offsets": (files.tensors_with(b'{"a": {"dtype": "F32", "shape": [1]}}'), "data_offsets"),
    "truncated": (files.tensors()[:-1], "truncated"),
    "metadata that are no texts": (files.tensors_with(b'{"__metadata__": {"a": 1}}'), "metadata"),
    "an HTML page": (b"<!DOCTYPE html><html></html>", "longer than the file"),
}


@pytest.mark.parametrize("what", TENSORS)
@pytest.mark.parametrize("name", ["a.safetensors", "a.latent"])
def test_broken_tensors_are_refused(tmp_path: Path, name: str, what: str) -> None:
    content, word = TENSORS[what]
    assert word in _refusal(tmp_path, name, content)


def test_whole_tensors_are_accepted_also_with_a_long_header(tmp_path: Path) -> None:
    _check(tmp_path, "a.latent", files.tensors({"prompt": "{}"}))
    _check(tmp_path, "a.latent", files.tensors())
    _check(tmp_path, "lora.safetensors", files.tensors({"workflow": "x" * 3_000_000}))


LEGACY_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2)
CODE = {
    "pickle, protocol 0": pickle.dumps(_Order(), protocol=0),
    "pickle, protocol 1": pickle.dumps(_Order(), protocol=1),
    "pickle, protocol 2": pickle.dumps(_Order(), protocol=2),
    "pickle, protocol 5": pickle.dumps(_Order(), protocol=5),
    "pickle of plain data": pickle.dumps({"a": [1, 2, 3]}, protocol=4),
    "pickle of plain data, long": pickle.dumps(["text"] * 1_000_000, protocol=4),
    "pickle behind 2 MB of data": b"\x80\x04\x8e" + struct.pack("<Q", 2**21) + bytes(2**21) + b"0cos\nsystem\n.",
    "pickle with something behind": pickle.dumps(_Order(), protocol=0) + b"\nand a text\n",
    "torch before 1.6": LEGACY_TORCH,
    "torch": _archive("archive/data.pkl", "archive/data/0"),
    "a zip with a pickle": _archive("readme.txt", "weights/model.PT"),
    "a Linux program": Path(sys.executable).resolve().read_bytes()[:4096],
    "a Windows program": b"MZ" + bytes(58) + b"\x40\0\0\0" + b"PE\0\0" + bytes(100),
    "a macOS program": b"\xcf\xfa\xed\xfe" + bytes(100),
    "a script": b"#!/bin/sh\nrm -rf /\n",
}


@pytest.mark.parametrize("what", CODE)
@pytest.mark.parametrize("name", ["photo.png", "notes.txt", "a.safetensors", "mesh.obj", "noname"])
def test_what_runs_code_is_refused_under_every_name(tmp_path: Path, name: str, what: str) -> None:
    assert any(word in _refusal(tmp_path, name, CODE[what]) for word in ("pickle", "program", "script"))


@pytest.mark.parametrize("suffix", ["pt", "PTH", "ckpt", "bin", "pkl"])
def test_names_of_pickles_are_refused_whatever_they_hold(tmp_path: Path, suffix: str) -> None:
    assert "run code" in _refusal(tmp_path, f"model.{suffix}", b"anything")


TEXTS = {
    "a.txt": "MZ-80K computers, cats; dogs.\n",
    "b.txt": "...\n",
    "c.txt": "",
    "d.csv": "cos,name\n1,2\n.5,3\n",
    "e.csv": "c1,c2\n1,2\n.5,3\n",
    "f.json": '{"ü": 1}',
    "g.txt": "\ufeffwith a mark",
    "h.txt": "I am a line\nNo pickle.\n",
    "i.gltf": '{"asset": {"version": "2.0"}}',
    "j.txt": "ä" * 2_000_000,
    "k.obj": "v 0 0 0\nf 1 1 1\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_accepted(tmp_path: Path, name: str) -> None:
    _check(tmp_path, name, TEXTS[name].encode())


@pytest.mark.parametrize(
    "content", [b"\xff\xfea\0b\0", "Grüße".encode("latin-1"), b"a\0b", b"fine, and then half a letter \xc3"]
)
def test_texts_in_other_encodings_are_refused(tmp_path: Path, content: bytes) -> None:
    assert "text" in _refusal(tmp_path, "a.txt", content)


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">{}</svg>'
DRAWINGS = {
    "plain": SVG.format('<rect fill="url(#g)" style="fill: url( \'#g\' )"/><use xlink:href="#a"/>'),
    "with a link": SVG.format('<a href="https://example.com"><text>there</text></a>'),
    "with a picture inside": SVG.format('<image href="data:image/png;base64,AAAA"/>'),
    "of the W3C's type": '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
    '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">' + SVG.format(""),
}
ENTITIES = "".join(f'<!ENTITY a{number} "{f"&a{number - 1};" * 10}">' for number in range(1, 12))
BAD_DRAWINGS = {
    "a billion laughs": (f'<!DOCTYPE svg [<!ENTITY a0 "ha">{ENTITIES}]>' + SVG.format("&a11;"), "DTD"),
    "a file as an entity": (
        '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + SVG.format("&a;"),
        "DTD",
    ),
    "a type from elsewhere": ('<!DOCTYPE svg SYSTEM "http://10.0.0.1/x.dtd">' + SVG.format(""), "DTD"),
    "a picture from elsewhere": (SVG.format('<image href="http://10.0.0.1/a.png"/>'), "another file"),
    "a file by xlink": (SVG.format('<image xlink:href="file:///etc/passwd"/>'), "another file"),
    "a style sheet": ('<?xml-stylesheet href="http://10.0.0.1/a.css"?>' + SVG.format(""), "another file"),
    "a style with an address": (SVG.format("<style>rect { fill: url(http://10.0.0.1/a) }</style>"), "another file"),
    "an import, in parts": (SVG.format("<style>@im<![CDATA[port 'http://10.0.0.1/a']]></style>"), "another file"),
    "a page": ("<html><body/></html>", "no SVG"),
    "cut off": (SVG.format("")[:-3], "well-formed"),
    "text": ("a text", "well-formed"),
}


@pytest.mark.parametrize("what", DRAWINGS)
def test_drawings_that_stand_alone_are_accepted(tmp_path: Path, what: str) -> None:
    _check(tmp_path, "a.svg", DRAWINGS[what].encode())


@pytest.mark.parametrize("what", BAD_DRAWINGS)
def test_drawings_that_need_or_declare_more_are_refused(tmp_path: Path, what: str) -> None:
    content, word = BAD_DRAWINGS[what]
    assert word in _refusal(tmp_path, "a.svg", content.encode())


def test_patterns_made_to_take_long_do_not(tmp_path: Path) -> None:
    start = time.monotonic()
    _refusal(tmp_path, "a.svg", SVG.format(f"<rect style='url({' ' * 2_000_000}x)'/>").encode())
    _check(tmp_path, "a.txt", b" " * 1_000_000)
    assert time.monotonic() - start < 5


def test_a_scene_is_looked_at(tmp_path: Path) -> None:
    scene = b"glTF" + struct.pack("<II", 2, 20) + bytes(8)
    _check(tmp_path, "a.glb", scene)
    assert "truncated" in _refusal(tmp_path, "a.glb", scene[:-1])
    assert "GLB" in _refusal(tmp_path, "a.glb", b"{}")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("media")
    files.write_video(folder / "h264.mp4", "libx264", sound="aac")
    files.write_video(folder / "vp9.webm", "libvpx-vp9", sound="libopus")
    files.write_video(folder / "silent.mkv", "mpeg4")
    files.write_video(folder / "mpeg4.avi", "mpeg4")
    for name, codec in {"a.wav": "pcm_s16le", "a.flac": "flac", "a.mp3": "libmp3lame", "a.opus": "libopus"}.items():
        files.write_sound(folder / name, codec)
    files.write_sound(folder / "recording.webm", "libopus")
    files.write_sound(folder / "a.m4a", "aac")
    return folder


MEDIA = [
    *("h264.mp4", "vp9.webm", "silent.mkv", "mpeg4.avi", "a.wav", "a.flac", "a.mp3", "a.opus", "recording.webm"),
    "a.m4a",
]


@pytest.mark.parametrize("name", MEDIA)
def test_video_and_sound_are_accepted(media: Path, name: str) -> None:
    check_content(media / name, name, MAXIMUM_PIXELS)


def test_video_and_sound_of_another_kind_than_named_are_accepted_if_they_can_serve(media: Path) -> None:
    check_content(media / "vp9.webm", "clip.mp4", MAXIMUM_PIXELS)
    check_content(media / "h264.mp4", "speech.mp3", MAXIMUM_PIXELS)  # it has sound
    with pytest.raises(InputFetchFailed, match=r"named \.wav but holds no sound"):
        check_content(media / "silent.mkv", "speech.wav", MAXIMUM_PIXELS)


NO_MEDIA = {
    "empty": b"",
    "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
    "text": b"I am no video " * 100,
    "a picture": files.picture("PNG", (64, 64)),
    "an animation": files.animation("GIF"),
    "zeros": bytes(100_000),
    "the first bytes of an MP4": files.mp4_bomb(10)[:60],
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n",
}


@pytest.mark.parametrize("what", NO_MEDIA)
@pytest.mark.parametrize("name", ["a.mp4", "a.wav"])
def test_what_is_neither_video_nor_sound_is_refused(tmp_path: Path, name: str, what: str) -> None:
    assert f"named {name[1:]} but" in _refusal(tmp_path, name, NO_MEDIA[what])


def test_a_video_that_claims_millions_of_frames_in_650_bytes_is_refused(tmp_path: Path) -> None:
    start = time.monotonic()
    assert "more frames than" in _refusal(tmp_path, "a.mp4", files.mp4_bomb(80_000_000))
    assert time.monotonic() - start < 10


def test_the_size_of_a_videos_frames_is_limited(media: Path) -> None:
    with pytest.raises(InputFetchFailed, match="64 x 48 pixels"):
        check_content(media / "h264.mp4", "a.mp4", 64 * 48 - 1)


class _Visitors(socketserver.ThreadingTCPServer):
    """A server that remembers whether anybody came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.visits = 0
        super().__init__(("127.0.0.1", 0), _Visit)


class _Visit(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Visitors)
        self.server.visits += 1


@pytest.fixture
def visitors() -> Iterator[_Visitors]:
    with _Visitors() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def _references(port: int) -> dict[str, bytes]:
    address = f"http://127.0.0.1:{port}"
    return {
        "HLS": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}/a.ts\n#EXT-X-ENDLIST\n".encode(),
        "HLS, a file": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "HLS behind a mark": b"\xef\xbb\xbf\n #EXTM3U\n#EXTINF:1,\n" + address.encode(),
        "concat": f"ffconcat version 1.0\nfile '{address}/a.ts'\n".encode(),
        "SDP": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n",
        "DASH": f"<?xml version='1.0'?><MPD profiles='urn:mpeg:dash:profile:isoff-on-demand:2011'><Period>"
        f"<AdaptationSet><Representation id='1'><BaseURL>{address}/a.mp4</BaseURL></Representation></AdaptationSet>"
        f"</Period></MPD>".encode(),
        "an MP4 whose samples lie elsewhere": files.mp4_bomb(10, f"{address}/a.mp4".encode()),
    }


@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.mkv", "a.wav", "a.txt", "a.json"])
@pytest.mark.parametrize("what", list(_references(1))[:-1])
def test_what_refers_to_other_files_is_refused_under_every_name(tmp_path: Path, name: str, what: str) -> None:
    assert "refers to other files" in _refusal(tmp_path, name, _references(9)[what])


@pytest.mark.parametrize("what", list(_references(1)))
def test_nobody_is_asked_for_what_a_file_refers_to(tmp_path: Path, visitors: _Visitors, what: str) -> None:
    path = tmp_path / "a.m3u8"
    path.write_bytes(_references(visitors.server_address[1])[what])
    for name in ("a.mp4", "a.dat"):
        with suppress(InputFetchFailed):
            check_content(path, name, MAXIMUM_PIXELS)
    # The second line of defence: libav itself, where the first one did not recognise the file.
    with suppress(FileRefused):
        run_isolated("look_at_streams", str(path))
    assert visitors.visits == 0


def test_libav_would_ask_if_it_were_let(tmp_path: Path, visitors: _Visitors) -> None:
    """Else the test above would show nothing."""
    path = tmp_path / "a.m3u8"
    path.write_bytes(_references(visitors.server_address[1])["HLS"])
    script = "import av, sys; av.open(sys.argv[1], options={'protocol_whitelist': 'file,http,tcp'})"
    subprocess.run([sys.executable, "-c", script, str(path)], check=False, capture_output=True, timeout=30)
    assert visitors.visits > 0
