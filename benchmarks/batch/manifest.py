"""Manifests read: rows a second, and memory, with a template for all rows or a workflow in each of them.

python -m benchmarks.batch.manifest --items 100000
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfypod.batch.manifest.manifest import read_manifest
from comfypod.batch.manifest.options import ManifestOptions
from comfypod.schema.template import load_template, templates_folder

CHECKPOINTS = 4


def main() -> None:
    """Measure both kinds of rows, the smaller one last: the most memory is that of the larger."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--items", type=int, default=100_000, help="rows with a template; of the others a tenth")
    items = arguments.parse_args().items
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), "a template", template_rows(items))
        measure(Path(folder), "a workflow in each row", workflow_rows(items // 10))


def template_rows(items: int) -> Iterator[dict[str, Any]]:
    """A name, a prompt of twelve words, and three parameters."""
    yield {"defaults": {"template": "text_to_image", "parameters": {"steps": 25}}}
    for number in range(items):
        prompt = " ".join(f"word{number % (place + 7)}" for place in range(12))
        parameters = {"checkpoint": checkpoint(number), "width": (832, 1024, 1216)[number % 3], "seed": number}
        yield {"name": f"picture-{number:07}", "prompt": prompt, "parameters": parameters}


def workflow_rows(items: int) -> Iterator[dict[str, Any]]:
    """The same workflow with another prompt, seed and checkpoint in every row."""
    template = load_template(templates_folder(), "text_to_image")
    for number in range(items):
        values = {"prompt": f"a fox, number {number}", "seed": number, "checkpoint": checkpoint(number)}
        yield {"name": f"picture-{number:07}", "workflow": template.render(values, lambda _: 0).nodes}


def checkpoint(number: int) -> str:
    """Of this row."""
    return f"model-{number % CHECKPOINTS}.safetensors"


def measure(folder: Path, title: str, rows: Iterator[dict[str, Any]]) -> None:
    """Print how long it takes to know a manifest, and to give its items."""
    source = folder / "batch.jsonl"
    with source.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    models = folder / "models.toml"
    models.write_text(
        "".join(
            f'[[model]]\nname = "{checkpoint(number)}"\nfolder = "checkpoints"\nsize_bytes = 6900000000\n'
            f'url = "https://models.example/{number}"\n'
            for number in range(CHECKPOINTS)
        )
    )
    began, busy = time.perf_counter(), time.process_time()
    manifest = read_manifest(source, ManifestOptions(models_toml=models, look_up=False))
    show(f"{manifest.count:,} rows with {title}: known", manifest.count, began, busy)
    began, busy = time.perf_counter(), time.process_time()
    show("their items given", sum(1 for _ in manifest.items()), began, busy)
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:,.0f} MB of memory so far")


def show(what: str, items: int, began: float, busy: float) -> None:
    """One figure."""
    seconds, processor = time.perf_counter() - began, time.process_time() - busy
    print(f"{what} in {seconds:.1f} s, {items / seconds:,.0f} a second ({items / processor:,.0f} of processor time)")


if __name__ == "__main__":
    main()
