"""What a worker does before it takes jobs: its bucket is tried, and the models that it always needs are fetched."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from supervised import engine_command, engine_only

from comfypod.errors import ConfigurationError, ModelFetchFailed
from comfypod.settings import Settings
from comfypod.worker.main import WorkerApplication
from tests.file_server import FileServer
from tests.s3_server import S3Server

HEADER = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
TENSORS = len(HEADER).to_bytes(8, "little") + HEADER + b"1234"

pytestmark = engine_only


@contextmanager
def served(files: FileServer) -> Iterator[FileServer]:
    """The server, in a loop of its own: what is under test has another."""
    loop, ready, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with files.running():
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield files
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()


def application(folder: Path, models: str, **environment: str) -> WorkerApplication:
    (folder / "models.toml").write_text(models)
    (folder / "workflows").mkdir(exist_ok=True)
    command = " ".join([*engine_command(folder), "--only-present-models"])
    environment |= {"COMFYUI_COMMAND": command}
    return WorkerApplication(Settings.from_environment(environment), folder, environment)


def entry(url: str) -> str:
    return f'[[model]]\nname = "always.safetensors"\nfolder = "checkpoints"\nurl = "{url}"\nwhen = "boot"\n'


def test_models_that_are_wanted_at_boot_are_there_when_the_worker_is_ready(tmp_path: Path) -> None:
    with served(FileServer()) as files:
        files.files["always.safetensors"] = TENSORS
        models = entry(files.url("always.safetensors"))
        with application(tmp_path, models, DOWNLOAD_ALLOWED_HOSTS="127.0.0.1") as worker:
            worker.wait_until_ready()
        requests = list(files.requests)
        with application(tmp_path, models, DOWNLOAD_ALLOWED_HOSTS="127.0.0.1") as worker:
            worker.wait_until_ready()
    assert (tmp_path / "engine" / "models" / "checkpoints" / "always.safetensors").read_bytes() == TENSORS
    assert set(requests) == {"/always.safetensors"}
    assert files.requests == requests  # the next worker finds it


# A checkout that boots only when the model is there, and is the built-in engine then.
CHECKOUT = """
import json, os, sys, time
command, file, arguments = {command!r}, {file!r}, sys.argv[1:]
while not os.path.exists(file):
    time.sleep(0.01)
paths = arguments.index("--extra-model-paths-config")
assert json.load(open(arguments[paths + 1])) is not None
del arguments[paths : paths + 2]
os.execv(command[0], command + [argument for argument in arguments if argument != "--cpu"])
"""
FOLDERS = 'folder_names_and_paths["checkpoints"] = ([os.path.join(models_dir, "checkpoints")], extensions)\n'


def test_models_are_fetched_while_the_checkout_boots(tmp_path: Path) -> None:
    checkout = tmp_path / "ComfyUI"
    file = checkout / "models" / "checkpoints" / "always.safetensors"
    file.parent.mkdir(parents=True)
    (checkout / "main.py").write_text(CHECKOUT.format(command=engine_command(tmp_path), file=str(file)))
    (checkout / "folder_paths.py").write_text(FOLDERS)
    with served(FileServer()) as files:
        files.files["always.safetensors"] = TENSORS
        (tmp_path / "models.toml").write_text(entry(files.url("always.safetensors")))
        environment = {"DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1", "COMFYUI_STARTUP_TIMEOUT_SECONDS": "20"}
        with WorkerApplication(Settings.from_environment(environment), tmp_path, environment) as worker:
            worker.wait_until_ready()
    assert file.read_bytes() == TENSORS


def test_a_model_that_is_wanted_at_boot_and_cannot_be_had_keeps_the_worker_from_serving(tmp_path: Path) -> None:
    with (
        served(FileServer()) as files,
        application(tmp_path, entry(files.url("gone")), DOWNLOAD_ALLOWED_HOSTS="127.0.0.1") as worker,
        pytest.raises(ModelFetchFailed, match=r"always.safetensors.*404"),
    ):
        worker.wait_until_ready()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"BUCKET_NAME": "not-there"}, "BUCKET_NAME"),
        ({"BUCKET_SECRET_ACCESS_KEY": "wrong-secret"}, "BUCKET_SECRET_ACCESS_KEY"),
        ({"BUCKET_ENDPOINT_URL": "http://127.0.0.1:9"}, "BUCKET_ENDPOINT_URL"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_found_when_the_worker_starts(
    tmp_path: Path, s3_server: S3Server, changed: dict[str, str], says: str
) -> None:
    with (
        application(tmp_path, "", **{**s3_server.environment, **changed}) as worker,
        pytest.raises(ConfigurationError, match=says) as caught,
    ):
        worker.wait_until_ready()
    assert "wrong-secret" not in str(caught.value)


def test_a_bucket_that_works_lets_the_worker_start(tmp_path: Path, s3_server: S3Server) -> None:
    with application(tmp_path, "", **s3_server.environment) as worker:
        worker.wait_until_ready()
