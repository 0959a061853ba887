"""Where the engine's files lie: the folders it is given, the models it finds, and what it says of both."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfypod.emulator.comfyui import ComfyUIEmulator

EngineFactory = Callable[..., Awaitable[ComfyUIEmulator]]
DEADLINE_SECONDS = 20.0


async def ask(engine: ComfyUIEmulator, path: str, document: Any = None) -> tuple[int, Any]:
    method = "GET" if document is None else "POST"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, engine.url + path, json=document) as response,
    ):
        return response.status, await response.json(content_type=None)


async def run(engine: ComfyUIEmulator, workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the history entry of a workflow that is accepted."""
    status, answer = await ask(engine, "/prompt", {"prompt": workflow, "client_id": "me"})
    assert status == 200, answer
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (history := (await ask(engine, f"/history/{answer['prompt_id']}"))[1]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return dict(history[answer["prompt_id"]])


def painting(checkpoint: str) -> dict[str, Any]:
    sampler = {
        "seed": 1,
        "steps": 1,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "model": ["1", 0],
        "positive": ["2", 0],
        "negative": ["2", 0],
        "latent_image": ["3", 0],
    }
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a red circle"}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": sampler},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}},
    }


async def test_a_missing_model_is_refused_until_its_file_is_there(start_engine: EngineFactory) -> None:
    engine = await start_engine(only_present_models=True)
    workflow = painting("sdxl/new.safetensors")
    status, answer = await ask(engine, "/prompt", {"prompt": workflow})
    (error,) = answer["node_errors"]["1"]["errors"]
    assert (status, error["type"]) == (400, "value_not_in_list")
    assert error["details"] == "ckpt_name: 'sdxl/new.safetensors' not in []"
    folder = Path((await ask(engine, "/internal/folder_paths"))[1]["checkpoints"][0])
    (folder / "sdxl").mkdir()
    (folder / "sdxl" / "new.safetensors").touch()
    assert (await ask(engine, "/models/checkpoints"))[1] == ["sdxl/new.safetensors"]
    assert (await run(engine, workflow))["status"]["status_str"] == "success"


@pytest.mark.parametrize(("only_present", "names"), [(False, ["tiny_sd15.safetensors"]), (True, [])])
async def test_declared_models_are_offered_unless_only_present_ones_are_wanted(
    start_engine: EngineFactory, only_present: bool, names: list[str]
) -> None:
    engine = await start_engine(only_present_models=only_present)
    assert (await ask(engine, "/models/checkpoints"))[1] == names


async def test_many_models_are_only_counted_in_a_refusal(start_engine: EngineFactory, tmp_path: Path) -> None:
    engine = await start_engine(only_present_models=True)
    for number in range(21):
        (tmp_path / "engine" / "models" / "checkpoints" / f"{number}.ckpt").touch()
    _, answer = await ask(engine, "/prompt", {"prompt": painting("other.ckpt")})
    (error,) = answer["node_errors"]["1"]["errors"]
    assert error["details"] == "ckpt_name: 'other.ckpt' not in (list of length 21)"
    assert error["extra_info"] == {"input_name": "ckpt_name", "input_config": None, "received_value": "other.ckpt"}


async def test_the_folders_of_every_kind_of_model_are_made(start_engine: EngineFactory, tmp_path: Path) -> None:
    base = tmp_path / "engine"
    engine = await start_engine()
    _, folders = await ask(engine, "/internal/folder_paths")
    for kind in ("checkpoints", "loras", "vae", "controlnet", "upscale_models"):
        assert folders[kind][0] == str(base / "models" / kind)
    assert folders["text_encoders"] == [
        str(base / "models" / "text_encoders"),
        str(base / "models" / "clip"),
        str(base / "output" / "clip"),
    ]
    assert missing_folders(folders) == []


def missing_folders(folders: dict[str, list[str]]) -> list[str]:
    return [path for paths in folders.values() for path in paths if not Path(path).is_dir()]


async def test_models_are_found_in_every_folder_of_their_kind_by_their_suffix(
    start_engine: EngineFactory, tmp_path: Path
) -> None:
    engine = await start_engine()
    base = tmp_path / "engine"
    for path in (
        "models/unet/a.safetensors",
        "models/diffusion_models/b.SFT",
        "output/diffusion_models/c.pt",
        "models/diffusion_models/.git/d.pt",
        "models/diffusion_models/e.safetensors.part",
        "models/diffusion_models/f.yaml",
        "models/configs/v1.yaml",
        "custom_nodes/pack/nodes.py",
        "elsewhere/far.safetensors",
    ):
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).touch()
    (base / "models" / "diffusion_models" / "link").symlink_to(base / "elsewhere")
    found = ["a.safetensors", "b.SFT", "c.pt", "link/far.safetensors"]
    assert (await ask(engine, "/models/diffusion_models"))[1] == found
    assert (await ask(engine, "/models/configs"))[1] == ["v1.yaml"]
    assert (await ask(engine, "/models/custom_nodes"))[1] == ["pack/nodes.py"]


async def test_kinds_of_models_that_only_an_extension_has(tmp_path: Path) -> None:
    declared = '[[model]]\nname = "a.gguf"\nfolder = "unet_gguf"\n[[model]]\nname = "b.pt"\nfolder = "clip"\n'
    (tmp_path / "models.toml").write_text(declared)
    engine = ComfyUIEmulator(tmp_path / "engine", models_file=tmp_path / "models.toml", only_present_models=True)
    await engine.start()
    try:
        assert (await ask(engine, "/models/unet_gguf"))[1] == []
        (tmp_path / "engine" / "models" / "unet_gguf" / "a.gguf").touch()
        assert (await ask(engine, "/models/unet_gguf"))[1] == ["a.gguf"]
        # A former name is no kind of its own.
        assert "clip" not in (await ask(engine, "/models"))[1]
    finally:
        await engine.stop()


@pytest.mark.parametrize("folder", ["../x", "/etc", "", ".", "a/../.."])
def test_a_models_folder_outside_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "models.toml").write_text(f'[[model]]\nname = "a.pt"\nfolder = "{folder}"\n')
    with pytest.raises(ValueError, match="must be a name below models/"):
        ComfyUIEmulator(tmp_path / "engine", models_file=tmp_path / "models.toml")


async def test_each_folder_can_be_elsewhere(start_engine: EngineFactory, tmp_path: Path) -> None:
    (tmp_path / "t" / "temp").mkdir(parents=True)
    for old in ("t/old.png", "t/temp/old.png"):
        (tmp_path / old).touch()
    engine = await start_engine(
        input_directory=tmp_path / "i", output_directory=tmp_path / "o", temporary_directory=tmp_path / "t"
    )
    # Only the folder called temp is emptied.
    assert [path.name for path in (tmp_path / "t").rglob("*.png")] == ["old.png"]
    picture = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}}
    for name, inputs in (("SaveImage", {"filename_prefix": "x"}), ("PreviewImage", {})):
        saving = {"class_type": name, "inputs": {"images": ["1", 0], **inputs}}
        await run(engine, {"1": picture, "2": saving})
    assert (tmp_path / "o" / "x_00001_.png").is_file()
    assert len(list((tmp_path / "t" / "temp").glob("ComfyUI_temp_*.png"))) == 1
    (tmp_path / "i" / "up.png").write_bytes((tmp_path / "o" / "x_00001_.png").read_bytes())
    assert (await ask(engine, "/internal/files/input"))[1] == ["up.png"]
    assert (await ask(engine, "/internal/folder_paths"))[1]["loras"][1] == str(tmp_path / "o" / "loras")
    await run(engine, {"1": {"class_type": "LoadImage", "inputs": {"image": "up.png"}}, "2": saving})


async def arguments_of(engine: ComfyUIEmulator) -> list[str]:
    return list((await ask(engine, "/system_stats"))[1]["system"]["argv"])


async def test_the_arguments_say_where_the_folders_are(start_engine: EngineFactory, tmp_path: Path) -> None:
    base = tmp_path / "engine"
    arguments = await arguments_of(await start_engine(input_directory=relative(tmp_path / "i")))
    assert arguments[0] == str(base / "main.py")
    given = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert given == {
        "--base-directory": str(base),
        "--input-directory": str(tmp_path / "i"),
        "--output-directory": str(base / "output"),
        "--temp-directory": str(base),
    }


def relative(path: Path) -> Path:
    return Path(os.path.relpath(path))


async def test_the_arguments_are_the_processs_own_or_those_that_were_given(
    start_engine: EngineFactory, tmp_path: Path
) -> None:
    assert await arguments_of(await start_engine(arguments=["main.py", "--cpu"])) == ["main.py", "--cpu"]
    own = ComfyUIEmulator(tmp_path / "own", own_process=True)
    await own.start()
    try:
        assert await arguments_of(own) == sys.argv
    finally:
        await own.stop()


async def test_internal_routes_stay_inside(start_engine: EngineFactory) -> None:
    engine = await start_engine()
    for path in ("/internal/files/models", "/internal/files/..%2f", "/internal/files/base"):
        status, answer = await ask(engine, path)
        assert (status, answer) == (400, {"error": "Invalid directory type"})
