"""Which model files a workflow loads, told by its nodes alone. Pure.

ComfyUI's own loaders are known by class and input (`comfypod.comfyui.checks.models_folder`). Of any other node every
text that ends as model files do is taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from comfypod.batch.manifest.reading import WorkflowReading
from comfypod.comfyui.checks import MODEL_SUFFIXES, models_folder
from comfypod.schema.wire import as_object

EMBEDDINGS: Final = "embeddings"
LONGEST_NAME: Final = 500
"""Longer texts are no file's name."""
_EMBEDDING: Final = re.compile(r"embedding:([^\s,():<>|\"]+)")
"""ComfyUI, comfy/sd1_clip.py: SDTokenizer.embedding_identifier; a weight may follow after a colon."""
_SUFFIXES: Final = tuple(sorted(MODEL_SUFFIXES))
_LONGEST_SUFFIX: Final = max(map(len, _SUFFIXES))


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A model file that a workflow names; ``folder`` is None where only the node itself knows where it looks.

    ``name`` is None if another node computes it. An embedding's name may lack its suffix.
    """

    name: str | None
    folder: str | None
    node_id: str
    class_type: str
    input_name: str

    @property
    def place(self) -> str:
        """Where it is named, for a sentence."""
        return f"node {self.node_id[:80]} ({self.class_type[:80]}): {self.input_name[:80]}"


def may_be_model(text: str) -> bool:
    """Whether a text may name a model file, wherever in a workflow it stands."""
    return text[-_LONGEST_SUFFIX:].lower().endswith(_SUFFIXES) or "embedding:" in text


def named_files(reading: WorkflowReading, needed: list[str]) -> list[NamedFile]:
    """The model files that these nodes name, in the order of ``needed``."""
    return [file for node_id in needed for file in _files_of(reading, node_id)]


def is_loader(reading: WorkflowReading, node_id: str) -> bool:
    """Whether a node is one that loads a model file, for others to use."""
    class_type = reading.class_type(node_id)
    return any(models_folder(class_type, name) for name in reading.inputs(node_id))


def _files_of(reading: WorkflowReading, node_id: str) -> Iterator[NamedFile]:
    class_type = reading.class_type(node_id)
    for name, written in reading.inputs(node_id).items():
        folder = models_folder(class_type, name)
        if folder is not None:
            yield from _loaded(reading.value(node_id, name), folder, (node_id, class_type, name))
        elif isinstance(written, str):
            yield from _in_text(written, (node_id, class_type, name))
        elif isinstance(written, dict) and written.get("on") is not False:
            # rgthree's "Power Lora Loader": {"on": true, "lora": NAME, "strength": 1}
            for part, text in as_object(written).items():
                if isinstance(text, str):
                    yield from _in_text(text, (node_id, class_type, f"{name}.{part}"))


def _loaded(value: Any, folder: str, place: tuple[str, str, str]) -> Iterator[NamedFile]:  # noqa: ANN401 (any JSON)
    """What a loader of a known folder loads; a text without a suffix is a choice of its own, such as ``taesd``."""
    if value is None:
        yield NamedFile(None, folder, *place)
    elif isinstance(value, str) and _is_file_name(value):
        yield NamedFile(value.replace("\\", "/"), folder, *place)


def _in_text(text: str, place: tuple[str, str, str]) -> Iterator[NamedFile]:
    if "embedding:" in text:
        for name in dict.fromkeys(_EMBEDDING.findall(text)):
            yield NamedFile(name.replace("\\", "/"), EMBEDDINGS, *place)
    elif _is_file_name(text):
        yield NamedFile(text.replace("\\", "/"), None, *place)


def _is_file_name(text: str) -> bool:
    return len(text) <= LONGEST_NAME and text.lower().endswith(_SUFFIXES) and text.isprintable()
