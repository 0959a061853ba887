"""The worker as a program: the ComfyUI that it uses, and the handler that the SDK is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from comfypod import logs
from comfypod.comfyui.selftest import wait_for_remote
from comfypod.comfyui.server import RemoteServer, Server
from comfypod.comfyui.supervisor import RestartPolicy, Supervisor
from comfypod.deadline import Deadline
from comfypod.logs import event
from comfypod.settings import Settings
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler
from comfypod.worker.launch import Launch
from comfypod.worker.read_ahead import ReadAhead, named_files
from comfypod.worker.reporting import SendProgress
from comfypod.worker.startup import check_bucket, fetch_boot_models, fetch_boot_models_into, in_background
from comfypod.worker.warmup import load_warmup, run_warmup


class WorkerApplication:
    """One worker: a ComfyUI and a handler.

    As a context manager it starts ComfyUI without waiting for it, unless ``launch`` has done so already, and ends it
    afterwards. Call `wait_until_ready` before the handler is used.

    Raises:
        ConfigurationError: ``models.toml`` or ``nodes.toml`` is not valid.
    """

    def __init__(
        self, settings: Settings, root: Path, environment: Mapping[str, str], launch: Launch | None = None
    ) -> None:
        self.settings = settings
        self._root = root
        self._launch = launch or Launch(root, environment)
        self._facilities = Facilities.of_repository(root, settings, environment)
        self._resources = ExitStack()
        self._source: Supervisor | RemoteServer | None = None
        self._launch.timeline.mark("settings")

    @classmethod
    def from_environment(cls, root: Path, environment: Mapping[str, str], launch: Launch) -> WorkerApplication:
        """The worker of the repository at ``root``, as the environment's settings say; ``launch`` has been started.

        Raises:
            ConfigurationError: a setting, ``models.toml`` or ``nodes.toml`` is not valid.
        """
        settings = Settings.from_environment(environment)
        logs.configure(settings)
        return cls(settings, root, environment, launch)

    def __enter__(self) -> Self:
        """Take over ComfyUI: from now on it is supervised.

        Raises:
            GPUUnavailable, ConfigurationError, ComfyUIUnavailable: see `Launch.start`.
        """
        launch = self._launch
        self._resources.callback(launch.close)
        launch.start()
        if self.settings.comfyui_url is not None:
            self._source = RemoteServer(self.settings.comfyui_url)
            return self
        policy = RestartPolicy(self.settings.comfyui_startup_timeout_seconds, self.settings.maximum_restarts_per_hour)
        supervisor = Supervisor(launch.another, policy, first=launch.process, on_phase=launch.timeline.mark)
        self._source = supervisor
        supervisor.start()
        self._resources.callback(supervisor.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def wait_until_ready(self) -> None:
        """Return when a self-test prompt has run on ComfyUI, and the warm-up workflow if there is one.

        While ComfyUI boots, the bucket is tried, models are fetched, and those of the warm-up are read ahead.

        Raises:
            ComfyUIUnavailable: it exited, did not answer in time, or failed its self-test.
            ConfigurationError: its command cannot be started, there is no such warm-up workflow, or the bucket that is
                configured cannot be used.
            ModelFetchFailed: a model that ``models.toml`` wants at boot cannot be had.
        """
        warmup = load_warmup(self.settings, self._root / "workflows")
        source, timeline, facilities = self._started(), self._launch.timeline, self._facilities
        models = in_background("models", lambda: self._look_at_models(warmup))
        asyncio.run(check_bucket(facilities))
        if isinstance(source, Supervisor):
            source.wait_until_ready()
        else:
            wait_for_remote(source, self.settings.comfyui_startup_timeout_seconds)
            timeline.mark("self_test")
        models.result()
        if self._launch.model_paths is None:
            asyncio.run(fetch_boot_models(facilities, source))
        timeline.mark("models")
        if warmup is not None:
            run_warmup(Handler(facilities, source, None), warmup)
            timeline.mark("warm_up")
        timeline.mark("ready")
        event("worker_ready", logging.INFO, **timeline.seconds())

    def _look_at_models(self, warmup: Mapping[str, Any] | None) -> None:
        """Where ComfyUI is to look for models: say so, fetch what is missing, and read the warm-up's ones ahead."""
        paths = self._launch.model_paths
        if paths is None:  # nobody knows before it answers
            return
        asyncio.run(fetch_boot_models_into(self._facilities, paths.by_kind))
        if warmup is not None:
            self._resources.enter_context(ReadAhead(named_files(warmup, paths.by_kind)))
        for line in paths.table():
            event("model_folder", message=line)

    def handler(self, send_progress: SendProgress | None) -> Handler:
        """The handler; ``send_progress`` is None where there is no platform to tell.

        Its first answer tells how the worker started.
        """
        return Handler(self._facilities, self._started(), send_progress, self._launch.timeline.milliseconds())

    async def comfyui(self, deadline: Deadline) -> Server:
        """The ComfyUI that jobs run on, once there is one that works: see `ServerSource.ready`."""
        return await self._started().ready(deadline)

    @property
    def templates_folder(self) -> Path:
        """Where the templates are that jobs name."""
        return self._facilities.templates_folder

    def end_comfyui(self) -> None:
        """End the worker's own ComfyUI, and start no other; what runs on it fails."""
        if isinstance(self._source, Supervisor):
            self._source.stop()

    def _started(self) -> Supervisor | RemoteServer:
        if self._source is None:
            msg = "use WorkerApplication as a context manager"
            raise RuntimeError(msg)
        return self._source
