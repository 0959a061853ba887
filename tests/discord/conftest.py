"""A stage for the bot: see `tests.discord.stage`."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from comfypod.master.store import Store
from tests.discord.fake_discord import FakeDiscord
from tests.discord.stage import Stage
from tests.s3_server import S3Server

WORKFLOWS = Path(__file__).parents[2] / "workflows"
UPSCALE = {
    "name": "upscale",
    "description": "A picture twice as large.",
    "parameters": {
        "image": {"type": "file", "targets": ["1.image"]},
        "factor": {"type": "number", "targets": ["2.scale_by"], "default": 2.0, "minimum": 1.0, "maximum": 4.0},
        "method": {
            "type": "string",
            "targets": ["2.upscale_method"],
            "default": "area",
            "choices": ["area", "lanczos"],
        },
    },
    "workflow": {
        "1": {"class_type": "LoadImage", "inputs": {"image": "image.png"}},
        "2": {
            "class_type": "ImageScaleBy",
            "inputs": {"image": ["1", 0], "upscale_method": "area", "scale_by": 2.0},
        },
        "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "large", "images": ["2", 0]}},
    },
}


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = tmp_path / "workflows"
    shutil.copytree(WORKFLOWS, folder)
    (folder / "upscale.json").write_text(json.dumps(UPSCALE), encoding="utf-8")
    return folder


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'requests.sqlite'}"
    Store.migrate(url)
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store.open(database_url)
    yield store
    store.close()


@pytest.fixture
async def stage(store: Store, s3_server: S3Server, templates: Path) -> AsyncIterator[Stage]:
    async with FakeDiscord() as discord:
        yield Stage(discord, store, s3_server, templates)
        assert discord.faults == []
