"""A worker's start with a job waiting: see `benchmarks.boot`, which can also be run by itself."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks import boot
from benchmarks.figures import Report, Table


def measure(comfyui_command: str | None, folder: Path, rounds: int) -> Report:
    """ComfyUI alone and our worker, in turn."""
    engine = f"{shlex.quote(sys.executable)} -m comfypod emulate comfyui"
    folder.mkdir(parents=True, exist_ok=True)
    arguments = argparse.Namespace(comfyui=comfyui_command or engine, runs=rounds, usual=False, torch_python="")
    found = boot.measure(arguments, folder)
    alone, worker = found["bare"], found["worker"]
    columns, rows = _rows(alone, worker)
    note = "Medians, in seconds since exec, of start.sh of this repository and of ComfyUI alone, with a job waiting."
    raw = {name: [vars(start) for start in starts] for name, starts in found.items()}
    return Report([Table("Start", columns, rows, note)], raw)


def _rows(alone: list[boot.Start], worker: list[boot.Start]) -> tuple[list[str], list[list[str]]]:
    bare = boot.median(start.answers for start in alone)
    taken, result = boot.median(start.taken for start in worker), boot.median(start.result for start in worker)
    rows = [
        ["ComfyUI alone: answers", f"{bare:.2f} s", ""],
        *(
            [f"phase: {phase}", f"{boot.median(start.boot_ms.get(phase) for start in worker) / 1000:.2f} s", ""]
            for phase in worker[-1].boot_ms
        ),
        ["job taken", f"{taken:.2f} s", f"{taken - bare:+.2f} s"],
        ["first result", f"{result:.2f} s", f"{result - bare:+.2f} s"],
    ]
    return ["", "after", "beyond ComfyUI alone"], rows
