"""Files of tensors: the format, what latents keep, and what is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comfypod.emulator.media.tensors import LIMIT_FILE_BYTES, SafetensorError
from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import NodeResult

CallNode = Callable[..., NodeResult]


def header_of(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    return dict(json.loads(content[8 : 8 + length]))


def some_latent(batch: int = 2) -> dict[str, Any]:
    return {"samples": np.random.default_rng(0).normal(size=(batch, 4, 3, 5)).astype(np.float32)}


def tensor_file(path: Path, header: object, data: bytes = b"") -> None:
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)


def test_a_latent_is_saved_with_its_workflow(call: CallNode, context: Any) -> None:
    context.prompt, context.extra_pnginfo = {"1": {"class_type": "狐"}}, {"workflow": {"nodes": [1]}}
    result = call("SaveLatent", samples=some_latent())
    assert result.ui == {"latents": [{"filename": "ComfyUI_00001_.latent", "subfolder": "latents", "type": "output"}]}
    path = context.output_folder / "latents" / "ComfyUI_00001_.latent"
    header = header_of(path)
    assert header.pop("__metadata__") == {"prompt": json.dumps(context.prompt), "workflow": '{"nodes": [1]}'}
    assert header == {
        "latent_tensor": {"dtype": "F32", "shape": [2, 4, 3, 5], "data_offsets": [0, 480]},
        "latent_format_version_0": {"dtype": "F32", "shape": [0], "data_offsets": [480, 480]},
    }
    assert path.read_bytes()[-480:] == some_latent()["samples"].tobytes()


def test_a_saved_latent_is_loaded(call: CallNode, context: Any) -> None:
    call("SaveLatent", samples=some_latent(), filename_prefix="x")
    (context.output_folder / "x_00001_.latent").rename(context.input_folder / "x.latent")
    (loaded,) = call("LoadLatent", latent="x.latent").outputs
    assert list(loaded) == ["samples"]
    assert np.array_equal(loaded["samples"], some_latent()["samples"])


@pytest.mark.parametrize(("dtype", "kind"), [("F16", "<f2"), ("F64", "<f8")])
def test_old_latents_are_scaled_and_other_precisions_read(call: CallNode, context: Any, dtype: str, kind: str) -> None:
    values = np.arange(4, dtype=kind)
    header = {"latent_tensor": {"dtype": dtype, "shape": [1, 4, 1, 1], "data_offsets": [0, values.nbytes]}}
    tensor_file(context.input_folder / "old.latent", header, values.tobytes())
    (loaded,) = call("LoadLatent", latent="old.latent").outputs
    assert loaded["samples"].dtype == np.float32
    assert loaded["samples"].ravel() == pytest.approx(np.arange(4) / 0.18215)


ENTRY = {"dtype": "F32", "shape": [1, 4, 1, 1], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "entry",
    [
        {**ENTRY, "dtype": "I64"},
        {**ENTRY, "shape": [1, 4, 1, 2]},
        {**ENTRY, "shape": [-1, -4, 1, 1]},
        {**ENTRY, "shape": "4"},
        {**ENTRY, "data_offsets": [0, 17]},
        {**ENTRY, "data_offsets": [16, 0]},
        {**ENTRY, "data_offsets": [-16, 0]},
        {**ENTRY, "data_offsets": [0, 1e99]},
        {**ENTRY, "data_offsets": [0]},
        {"shape": [1]},
        [],
        None,
    ],
)
def test_a_lying_header_is_refused(call: CallNode, context: Any, entry: object) -> None:
    tensor_file(context.input_folder / "bad.latent", {"latent_tensor": entry}, bytes(16))
    with pytest.raises(SafetensorError):
        call("LoadLatent", latent="bad.latent")


@pytest.mark.parametrize(
    "content",
    [b"", b"1234567", bytes(8), b"\xff" * 16, struct.pack("<Q", 4) + b"none", struct.pack("<Q", 2) + b"[]"],
)
def test_another_format_is_refused(call: CallNode, context: Any, content: bytes) -> None:
    (context.input_folder / "bad.latent").write_bytes(content)
    with pytest.raises(SafetensorError, match="Error while deserializing header"):
        call("LoadLatent", latent="bad.latent")


def test_a_huge_file_is_not_read(call: CallNode, context: Any) -> None:
    with (context.input_folder / "huge.latent").open("wb") as file:
        file.truncate(LIMIT_FILE_BYTES + 1)
    with pytest.raises(SafetensorError, match="a latent has far fewer"):
        call("LoadLatent", latent="huge.latent")


def test_a_file_without_a_latent_is_refused(call: CallNode, context: Any) -> None:
    tensor_file(context.input_folder / "vae.latent", {"weights": ENTRY}, bytes(16))
    with pytest.raises(KeyError, match="latent_tensor"):
        call("LoadLatent", latent="vae.latent")


def test_only_latents_are_offered(context: Any, catalog: Any) -> None:
    for name in ("a.latent", "b.png", "c.safetensors"):
        (context.input_folder / name).touch()
    choices = NODE_CLASSES["LoadLatent"].required["latent"].kind
    assert callable(choices)
    assert choices(catalog) == ["a.latent"]


def test_a_vae_is_written_and_not_reported(call: CallNode, context: Any) -> None:
    _, _, vae = call("CheckpointLoaderSimple", ckpt_name="a.safetensors").outputs
    assert call("VAESave", vae=vae, filename_prefix="vae/v") == NodeResult()
    header = header_of(context.output_folder / "vae" / "v_00001_.safetensors")
    assert header == {"__metadata__": {"prompt": "{}", "comfypod_vae": "a.safetensors"}}
