"""The worker as a program: which ComfyUI it uses, and the handler that the SDK is given."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from comfypod import logs
from comfypod.comfyui.checkout import checkout_python
from comfypod.comfyui.process import ComfyUIProcess
from comfypod.comfyui.selftest import wait_for_remote
from comfypod.comfyui.server import RemoteServer
from comfypod.comfyui.supervisor import RestartPolicy, Supervisor
from comfypod.logs import event
from comfypod.settings import Settings
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler
from comfypod.worker.reporting import SendProgress
from comfypod.worker.startup import check_bucket, fetch_boot_models
from comfypod.worker.warmup import load_warmup, run_warmup


class WorkerApplication:
    """One worker: a ComfyUI and a handler.

    As a context manager it starts ComfyUI (if it is the worker's own) without waiting for it, and ends it afterwards.
    Call `wait_until_ready` before the handler is used.
    """

    def __init__(self, settings: Settings, root: Path, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self._root = root
        self._facilities = Facilities.of_repository(root, settings, environment)
        self._resources = ExitStack()
        self._source: Supervisor | RemoteServer | None = None

    @classmethod
    def from_environment(cls, root: Path) -> WorkerApplication:
        """The worker of the repository at ``root``, as the environment's settings say.

        Raises:
            ConfigurationError: a setting, ``models.toml`` or ``nodes.toml`` is not valid.
        """
        settings = Settings.from_environment(os.environ)
        logs.configure(settings)
        return cls(settings, root, os.environ)

    def __enter__(self) -> Self:
        if self.settings.comfyui_url is not None:
            self._source = RemoteServer(self.settings.comfyui_url)
            return self
        command = self._command()
        policy = RestartPolicy(self.settings.comfyui_startup_timeout_seconds, self.settings.maximum_restarts_per_hour)
        supervisor = self._source = Supervisor(lambda: ComfyUIProcess(command, self._root), policy)
        supervisor.start()
        self._resources.callback(supervisor.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def wait_until_ready(self) -> None:
        """Return when a self-test prompt has run on ComfyUI, and the warm-up workflow if there is one.

        Raises:
            ComfyUIUnavailable: it exited, did not answer in time, or failed its self-test.
            ConfigurationError: its command cannot be started, there is no such warm-up workflow, or the bucket that is
                configured cannot be used.
            ModelFetchFailed: a model that ``models.toml`` wants at boot cannot be had.
        """
        warmup = load_warmup(self.settings, self._root / "workflows")
        source = self._started()
        asyncio.run(check_bucket(self._facilities))
        if isinstance(source, Supervisor):
            source.wait_until_ready()
        else:
            wait_for_remote(source, self.settings.comfyui_startup_timeout_seconds)
        asyncio.run(fetch_boot_models(self._facilities, source))
        if warmup is not None:
            run_warmup(self.handler(None), warmup)

    def handler(self, send_progress: SendProgress | None) -> Handler:
        """The handler; ``send_progress`` is None where there is no platform to tell."""
        return Handler(self._facilities, self._started(), send_progress)

    def _started(self) -> Supervisor | RemoteServer:
        if self._source is None:
            msg = "use WorkerApplication as a context manager"
            raise RuntimeError(msg)
        return self._source

    def _command(self) -> list[str]:
        """COMFYUI_COMMAND, else the checkout in ``ComfyUI/``, else the built-in engine."""
        if self.settings.comfyui_command:
            return shlex.split(self.settings.comfyui_command)
        checkout = self._root / "ComfyUI" / "main.py"
        if checkout.is_file():
            python = str(checkout_python(checkout.parent) or sys.executable)
            return [python, str(checkout), *_device_flags(), *self._own_folders()]
        folder = self._folder("engine")
        event(
            "built_in_engine",
            logging.WARNING,
            message="No ComfyUI is configured: the built-in engine runs, which draws shapes and is not a model. "
            "Set COMFYUI_URL or COMFYUI_COMMAND, or place a checkout in ComfyUI/.",
        )
        models = str(self._root / "models.toml")
        engine = [sys.executable, "-m", "comfypod", "emulate", "comfyui"]
        return [*engine, "--base-directory", folder, "--models", models]

    def _own_folders(self) -> list[str]:
        """Where a ComfyUI saves that shares its checkout with other workers' on this machine.

        Each empties its temp folder when it starts, and the worker removes from both what jobs have left.
        """
        folder = self._folder("comfyui")
        return ["--output-directory", str(Path(folder, "output")), "--temp-directory", folder]

    def _folder(self, name: str) -> str:
        """A folder that goes with the worker."""
        return self._resources.enter_context(tempfile.TemporaryDirectory(prefix=f"comfypod-{name}-"))


def _device_flags() -> list[str]:
    """``--cpu`` where there is no GPU: without it ComfyUI does not start there."""
    has_gpu = sys.platform == "darwin" or shutil.which("nvidia-smi") or Path("/dev/kfd").exists()  # kfd: AMD's driver
    return [] if has_gpu else ["--cpu"]
