"""Manifests of a few rows, and what they need beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from comfypod.batch.manifest.manifest import Manifest, read_manifest
from comfypod.batch.manifest.options import ManifestOptions

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "workflows"

MODELS = """
[[model]]
name = "base.safetensors"
folder = "checkpoints"
url = "https://models.example/base.safetensors"
size_bytes = 6_900_000_000
sha256 = "1111111111111111111111111111111111111111111111111111111111111111"

[[model]]
name = "other/anime.safetensors"
folder = "checkpoints"
url = "https://models.example/anime.safetensors"
size_bytes = 2_000_000_000

[[model]]
name = "style.safetensors"
folder = "loras"
url = "https://models.example/style.safetensors"
size_bytes = 200_000_000

[[model]]
name = "detail.safetensors"
folder = "loras"
url = "https://models.example/detail.safetensors"
size_bytes = 100_000_000

[[model]]
name = "fine.safetensors"
folder = "vae"
url = "https://models.example/fine.safetensors"
size_bytes = 300_000_000

[[model]]
name = "bad-hands.pt"
folder = "embeddings"
url = "https://models.example/bad-hands.pt"
size_bytes = 20_000
allow_pickle = true

[[model]]
name = "sd_xl_base_1.0.safetensors"
folder = "checkpoints"
url = "https://models.example/xl.safetensors"
size_bytes = 6_938_078_334
when = "build"
"""

Nodes = dict[str, dict[str, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def picture_workflow(**changes: Mapping[str, Any]) -> Nodes:
    """A checkpoint, two LoRAs, a VAE of its own; ``changes`` are inputs by node (``n6={"text": …}``)."""
    nodes = {
        "3": node(
            "KSampler",
            seed=1,
            steps=20,
            denoise=1.0,
            model=["11", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "5": node("EmptyLatentImage", width=1000, height=1000, batch_size=1),
        "6": node("CLIPTextEncode", text="a fox", clip=["11", 1]),
        "7": node("CLIPTextEncode", text="", clip=["11", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["12", 0]),
        "9": node("SaveImage", filename_prefix="x", images=["8", 0]),
        "10": node("LoraLoader", lora_name="style.safetensors", strength_model=1.0, model=["4", 0], clip=["4", 1]),
        "11": node("LoraLoader", lora_name="detail.safetensors", strength_model=1.0, model=["10", 0], clip=["10", 1]),
        "12": node("VAELoader", vae_name="fine.safetensors"),
    }
    for node_id, inputs in changes.items():
        nodes[node_id[1:]]["inputs"].update(inputs)
    return nodes


def write_models(folder: Path, text: str = MODELS) -> Path:
    path = folder / "models.toml"
    path.write_text(text)
    return path


def write_lines(folder: Path, rows: Iterable[Any], name: str = "batch.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def read(folder: Path, source: Path | str, **options: Any) -> Manifest:
    """Read it as a command would, but never over a network."""
    models = folder / "models.toml"
    if not models.exists():
        write_models(folder)
    return read_manifest(
        source,
        ManifestOptions(**{"models_toml": models, "templates_folder": TEMPLATES, "look_up": False, **options}),
    )


def read_rows(folder: Path, *rows: Any, **options: Any) -> Manifest:
    return read(folder, write_lines(folder, rows), **options)
