"""Shared by the tests of the built-in nodes: a context to run them in, and a way to call one by its declared inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import InterruptedByUserError, NodeResult

CallNode = Callable[..., NodeResult]


@dataclass
class RecordingContext:
    """Runs nodes below one folder; notes the progress, and interrupts when a given number of steps was reported."""

    root: Path
    prompt: Mapping[str, Any] = field(default_factory=dict)
    extra_pnginfo: Mapping[str, Any] | None = None
    previews_wanted: bool = True
    interrupt_at: int | None = None
    steps: list[tuple[int, int]] = field(default_factory=list)
    previews: list[Image.Image] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)

    @property
    def input_folder(self) -> Path:
        return self.root / "input"

    @property
    def output_folder(self) -> Path:
        return self.root / "output"

    @property
    def temporary_folder(self) -> Path:
        return self.root / "temp"

    def check_interrupted(self) -> None:
        if self.interrupt_at is not None and len(self.steps) >= self.interrupt_at:
            raise InterruptedByUserError

    def report_progress(self, value: int, maximum: int, preview: Image.Image | None = None) -> None:
        self.steps.append((value, maximum))
        if preview is not None:
            self.previews.append(preview)
        self.check_interrupted()

    def send_picture(self, value: int, maximum: int, picture: Image.Image) -> None:
        self.report_progress(value, maximum)
        self.pictures.append(picture)


@dataclass(frozen=True)
class FolderCatalog:
    """Offers the files of an input folder and a few models."""

    root: Path

    def models(self, folder: str) -> Sequence[str]:
        return {"checkpoints": ["a.safetensors", "b.safetensors"], "loras": ["ink.safetensors"]}.get(folder, [])

    def input_files(self) -> Sequence[str]:
        return sorted(path.name for path in self.root.iterdir() if path.is_file())

    def resolve_input(self, name: str) -> Path | None:
        path = self.root / name
        return path if path.is_file() else None


@pytest.fixture
def context(tmp_path: Path) -> RecordingContext:
    context = RecordingContext(tmp_path)
    for folder in (context.input_folder, context.output_folder, context.temporary_folder):
        folder.mkdir()
    return context


@pytest.fixture
def catalog(context: RecordingContext) -> FolderCatalog:
    return FolderCatalog(context.input_folder)


@pytest.fixture
def call(context: RecordingContext) -> CallNode:
    """Call a node as the engine does: with every declared input; what is not given has its declared default."""

    def call_node(name: str, **given: Any) -> NodeResult:
        node = NODE_CLASSES[name]
        unknown = set(given) - set(node.required) - set(node.optional)
        assert not unknown, f"{name} declares no input {unknown}"
        defaults = {key: spec.options["default"] for key, spec in node.required.items() if "default" in spec.options}
        return node.run(context, **{**defaults, **given})

    return call_node
