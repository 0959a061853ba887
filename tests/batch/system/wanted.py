"""A batch of pictures over several checkpoints and LoRAs, and the files that it needs."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.batch.system.servers import Servers, model_file

SHAPES = ("red circle", "blue square", "yellow star", "green triangle", "white moon", "purple heart")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many pictures of what size, over how many files of which size."""

    items: int
    checkpoints: int = 4
    loras: int = 6
    checkpoint_bytes: int = 3_000_000
    lora_bytes: int = 300_000
    side: int = 64
    steps: int = 4

    def files(self) -> Mapping[str, int]:
        """Sizes by key."""
        return {
            **{f"checkpoints/base-{n}.safetensors": self.checkpoint_bytes for n in range(self.checkpoints)},
            **{f"loras/style-{n}.safetensors": self.lora_bytes for n in range(self.loras)},
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Of the manifest; one after the other they want other files, as if somebody had asked as it came."""
        styles = [(), *((n,) for n in range(self.loras)), *itertools.pairwise(range(self.loras))]
        for number in range(self.items):
            chosen = styles[number // self.checkpoints % len(styles)]
            yield {"name": self.name(number), "workflow": self._workflow(number, chosen)}

    def name(self, number: int) -> str:
        """Of an item."""
        return f"picture-{number:05d}"

    def _workflow(self, number: int, styles: tuple[int, ...]) -> dict[str, Any]:
        checkpoint = f"base-{number % self.checkpoints}.safetensors"
        nodes: dict[str, Any] = {"4": _node("CheckpointLoaderSimple", ckpt_name=checkpoint)}
        model, clip = ["4", 0], ["4", 1]
        for style in styles:
            key = str(10 + style)
            lora = f"style-{style}.safetensors"
            nodes[key] = _node(
                "LoraLoader", model=model, clip=clip, lora_name=lora, strength_model=0.7, strength_clip=0.7
            )
            model, clip = [key, 0], [key, 1]
        text = f"a {SHAPES[number % len(SHAPES)]} number {number}"
        return {
            **nodes,
            "5": _node("EmptyLatentImage", width=self.side, height=self.side, batch_size=1),
            "6": _node("CLIPTextEncode", text=text, clip=clip),
            "7": _node("CLIPTextEncode", text="", clip=clip),
            "3": _node(
                "KSampler",
                model=model,
                positive=["6", 0],
                negative=["7", 0],
                latent_image=["5", 0],
                seed=number,
                steps=self.steps,
                cfg=7.0,
                sampler_name="euler",
                scheduler="normal",
                denoise=1.0,
            ),
            "8": _node("VAEDecode", samples=["3", 0], vae=["4", 2]),
            "9": _node("SaveImage", filename_prefix="picture", images=["8", 0]),
        }


def prepare(wanted: Wanted, servers: Servers, folder: Path) -> Path:
    """Write the manifest and ``models.toml`` to a folder, and the files to the server; answers the manifest."""
    entries = []
    for key, size_bytes in wanted.files().items():
        kind, _, name = key.partition("/")
        content = servers.models.files[key] = model_file(key, size_bytes)
        fields = {"name": name, "folder": kind, "url": f"{servers.url}/models/{key}"}
        fields["sha256"] = hashlib.sha256(content).hexdigest()
        lines = [f"{field} = {json.dumps(value)}" for field, value in fields.items()]
        entries.append("\n".join(["[[model]]", *lines, f"size_bytes = {size_bytes}"]))
    (folder / "models.toml").write_text("\n\n".join(entries) + "\n")
    manifest = folder / "pictures.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in wanted.rows()))
    return manifest


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}
