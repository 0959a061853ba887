"""Texts, drawings (SVG) and scenes (GLB), and what in any file would make a reader open other files."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from comfypod.files.isolation import FileRefused, HoldsSomethingElse

TEXT_SUFFIXES = frozenset({".csv", ".gltf", ".json", ".md", ".srt", ".txt", ".vtt", ".yaml", ".yml"})
MAXIMUM_DRAWING_BYTES = 16 * 1024**2

_BLOCK_BYTES = 1024**2

# What libav takes for a playlist or a description of streams, whatever the file's name is: hls_probe, concat_probe,
# sdp_probe, dash_probe and imf_probe (libavformat: hls.c, concatdec.c, rtsp.c, dashdec.c, imfdec.c). In capitals.
_REFERENCES = {
    "an HLS playlist": re.compile(rb"\A(?:\xEF\xBB\xBF)?\s*+#EXTM3U"),
    "a list of files to join": re.compile(rb"\A(?:\xEF\xBB\xBF)?\s*+FFCONCAT"),
    "a description of network streams": re.compile(rb"(?:\A|[\r\n])C=IN IP"),
    "a DASH playlist": re.compile(rb"<MPD(?=[\s>])"),
    "an IMF playlist": re.compile(rb"<COMPOSITIONPLAYLIST(?=[\s>])"),
}

_W3C = "http://www.w3.org/"
# Possessive (`*+`), so that a long run of spaces takes no more than its length.
_EXTERNAL_STYLE = re.compile(r"""@import|url\(\s*+["']?+\s*+(?!#|data:)""", re.IGNORECASE)


def check_references(head: bytes) -> None:
    """Raise if libav would take the file that begins so for a list of other files or addresses, and open those.

    Raises:
        FileRefused: it would.
    """
    capitals = head.upper()
    for what, pattern in _REFERENCES.items():
        if pattern.search(capitals):
            raise FileRefused(f"is {what}, which refers to other files")


def check_text(path: Path) -> None:
    """Raise unless the file is UTF-8 text.

    Raises:
        FileRefused: it is not.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(path):
            if "\0" in decoder.decode(block):
                raise FileRefused("is not text: it has zero bytes")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise FileRefused("is not UTF-8 text") from error


def check_scene(path: Path) -> None:
    """Raise unless the file is a whole GLB: magic, version, and its own length (glTF 2.0 specification, 4.4.2).

    Raises:
        FileRefused: it is not.
    """
    with path.open("rb") as file:
        header = file.read(12)
    if header[:4] != b"glTF":
        raise HoldsSomethingElse("holds no GLB scene")
    if len(header) < 12 or int.from_bytes(header[8:12], "little") > path.stat().st_size:
        raise FileRefused("is a truncated GLB scene")


def check_drawing(path: Path) -> None:
    """Raise unless the file is an SVG drawing that declares no entities and needs no other file.

    Raises:
        FileRefused: it is not.
    """
    if path.stat().st_size > MAXIMUM_DRAWING_BYTES:
        raise FileRefused(f"is an SVG drawing of more than {MAXIMUM_DRAWING_BYTES:,} bytes")
    reader = _DrawingReader()
    try:
        for block in _blocks(path):
            reader.parser.Parse(block, False)
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise FileRefused(f"is not a well-formed SVG drawing ({error})") from error


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_BLOCK_BYTES), b"")


class _DrawingReader:
    """Reads a drawing element by element; raises `FileRefused` at the first thing it must not have."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._on_document_type
        self.parser.ProcessingInstructionHandler = self._on_instruction
        self.parser.StartElementHandler = self._on_element
        self.parser.EndElementHandler = self._on_end
        self.parser.CharacterDataHandler = self._on_text
        self._names: list[str] = []
        self._style: list[str] = []

    def _on_document_type(self, _name: str, system: str | None, _public: str | None, has_declarations: int) -> None:
        # Many programs name the W3C's document type, which no reader fetches; anything more can be used for attacks.
        if has_declarations or not (system or _W3C).startswith(_W3C):
            raise FileRefused("is an SVG drawing with declarations (DTD), which are not accepted")

    def _on_instruction(self, target: str, _data: str) -> None:
        if target == "xml-stylesheet":
            raise FileRefused("is an SVG drawing that needs another file (xml-stylesheet)")

    def _on_element(self, name: str, attributes: dict[str, str]) -> None:
        local_name = name.rpartition(" ")[2]
        if not self._names and local_name != "svg":
            raise FileRefused(f"is no SVG drawing: it begins with <{local_name[:50]}>")
        self._names.append(local_name)
        for attribute, value in attributes.items():
            refers = attribute.rpartition(" ")[2] in {"href", "src"} and local_name != "a"
            if (refers and not value.strip().startswith(("#", "data:"))) or _EXTERNAL_STYLE.search(value):
                raise FileRefused(f"is an SVG drawing that needs another file (<{local_name[:50]}>)")

    def _on_text(self, text: str) -> None:
        if self._names[-1] == "style":
            self._style.append(text)

    def _on_end(self, _name: str) -> None:
        if self._names.pop() == "style":
            if _EXTERNAL_STYLE.search("".join(self._style)):
                raise FileRefused("is an SVG drawing that needs another file (<style>)")
            self._style.clear()
