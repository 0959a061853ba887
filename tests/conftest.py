"""Fixtures that several test folders share: a ComfyUI and an S3 server to talk to.

With COMFYUI_URL or COMFYUI_COMMAND set, the tests that need a ComfyUI run against that one; otherwise against the
built-in engine, started as a process of its own.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from comfypod.comfyui.process import ComfyUIProcess
from comfypod.comfyui.selftest import wait_for_remote
from comfypod.comfyui.server import RemoteServer
from tests.s3_server import S3Server
from tests.serving import serve

ROOT = Path(__file__).parents[1]
# For this process and for all that tests start.
_STUBS = str(Path(__file__).parent / "without_cpuinfo")
sys.path.insert(0, _STUBS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_STUBS, os.environ.get("PYTHONPATH")]))
# A quarter of what the start of a process costs is for numpy's threads and the system's certificates: none is needed.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

# The same examples every time, and no example is wrong because the machine is busy.
settings.register_profile("tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

LONGEST_FIRST = (
    "tests/worker/test_recovery.py",
    "tests/system/test_chaos.py",
    "tests/chaos/",
    "tests/system/",
    "tests/browser/",
    "tests/worker/",
    "tests/master/",
    "tests/discord/",
    "tests/cli/",
    "tests/storage/",
    "tests/web/",
)
"""Where the tests of a file stay together (``--dist loadfile``), a long file that comes last is waited for alone."""


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are processors: tests wait for processes half of their time. Not many more share one disk."""
    return min(6, (os.cpu_count() or 2) + 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT).as_posix()
        return next((place for place, name in enumerate(LONGEST_FIRST) if path.startswith(name)), len(LONGEST_FIRST))

    items.sort(key=place)  # stable: within a file, and among the others, the order stays


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 (an address of the tests' own)
        return json.load(response)


@pytest.fixture(scope="session")
def given_comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """The ComfyUI that COMFYUI_URL names, or COMFYUI_COMMAND starts; None without either."""
    url, command = os.environ.get("COMFYUI_URL"), os.environ.get("COMFYUI_COMMAND")
    if url:
        wait_for_remote(RemoteServer(url), 60)
        yield url.rstrip("/")
    elif command:
        process = ComfyUIProcess(shlex.split(command), tmp_path_factory.mktemp("comfyui"))
        process.start()
        try:
            process.wait_until_ready(120)
            yield process.url
        finally:
            process.stop()
    else:
        yield None


@pytest.fixture(scope="session")
def comfyui_url(given_comfyui: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ComfyUI that answers."""
    if given_comfyui:
        yield given_comfyui
        return
    folder = tmp_path_factory.mktemp("engine")
    options = ["--port", "0", "--base-directory", str(folder), "--models", str(ROOT / "models.toml")]
    child, url = serve("emulate", "comfyui", *options)
    try:
        yield url
    finally:
        child.stop(grace_seconds=5)


@pytest.fixture(scope="session")
def checkpoint(comfyui_url: str) -> str:
    """A checkpoint that the ComfyUI has."""
    inputs = get_json(f"{comfyui_url}/object_info/CheckpointLoaderSimple")["CheckpointLoaderSimple"]["input"]
    choices = inputs["required"]["ckpt_name"]
    names = choices[1]["options"] if choices[0] == "COMBO" else choices[0]
    if not names:
        pytest.skip("this ComfyUI has no checkpoint")
    return str(names[0])


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that all tests share: each uses keys of its own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.kill()
