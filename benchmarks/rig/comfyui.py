"""Which ComfyUI is measured with, and how each contender's own is started."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.nodes.benchmark_pictures.stamps import JOURNAL_VARIABLE
from benchmarks.rig.contenders import ROOT, Contender
from benchmarks.rig.journal import Journal
from comfypod.comfyui.pin import PIN_FILE, ComfyUIPin

ENGINE = [sys.executable, "-m", "benchmarks.rig.engine"]


@dataclass(frozen=True)
class ComfyUI:
    """One ComfyUI with folders of its own below ``folder``; ``command`` is without address and port."""

    command: Sequence[str]
    folder: Path

    @property
    def output_folder(self) -> Path:
        return self.folder / "output"

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "journal")

    @property
    def environment(self) -> dict[str, str]:
        """What its process must be given."""
        return {JOURNAL_VARIABLE: str(self.folder / "journal")}


def comfyui_for(given: str | None, folder: Path, contender: Contender) -> ComfyUI:
    """The built-in engine, or the real one of COMFYUI_COMMAND with the benchmark's node.

    A real one of our worker's also has the repository's node packs and flags, as in the image; others' have not.
    """
    is_ours = contender.starts_comfyui
    folder.mkdir(parents=True, exist_ok=True)
    if given is None:
        return ComfyUI([*ENGINE, "--base-directory", str(folder)], folder)
    for name in ("input", "output", "user"):
        (folder / name).mkdir(exist_ok=True)
    paths = folder / "paths.yaml"
    packs = [ROOT / "benchmarks" / "nodes", *([contender.folder / "custom_nodes"] if is_ours else [])]
    paths.write_text("benchmark:\n  custom_nodes: |\n" + "".join(f"    {pack}\n" for pack in packs), encoding="utf-8")
    flags = ComfyUIPin.load(contender.folder / "ComfyUI" / PIN_FILE).flags if is_ours else ()
    return ComfyUI([*shlex.split(given), *flags, *_folder_flags(folder, paths)], folder)


def _folder_flags(folder: Path, paths: Path) -> list[str]:
    return [
        *("--input-directory", str(folder / "input"), "--output-directory", str(folder / "output")),
        *("--temp-directory", str(folder), "--user-directory", str(folder / "user")),
        *("--database-url", f"sqlite:///{folder}/user/comfyui.db", "--extra-model-paths-config", str(paths)),
    ]
