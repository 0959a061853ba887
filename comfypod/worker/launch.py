"""ComfyUI's start, as the first thing that a worker does: its boot is the longest part of the worker's own.

Only the standard library, and of this package only what keeps to it as well: every import here delays ComfyUI
(`tests/worker/test_boot.py` says which there may be). The rest of the worker is imported while ComfyUI boots.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from comfypod.comfyui.command_line import parse_port
from comfypod.comfyui.gpu import Version, parse_version
from comfypod.comfyui.model_paths import ModelPaths
from comfypod.comfyui.process import ComfyUIProcess
from comfypod.errors import ConfigurationError
from comfypod.worker.boot import BootTimeline
from comfypod.worker.comfyui_command import ComfyUICommand, comfyui_command
from comfypod.worker.gpu import DriverQuestion, flags_for_gpu

_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
"""What pydantic takes for true (docs.pydantic.dev, "Booleans")."""
_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR"})


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """What ComfyUI's start needs to know of the settings.

    Read without their table (`comfypod.settings`), whose import takes longer than the start itself. A value that is not
    valid counts as none here; the table says so a moment later, and the worker ends.
    """

    comfyui_url: str | None
    comfyui_command: str | None
    comfyui_port: int | None
    require_gpu: bool
    needed_cuda: Version | None
    models_directory: str | None
    log_level: str
    log_format: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read them; an empty variable counts as unset."""

        def value(name: str) -> str:
            return environment.get(name, "").strip()

        level = value("LOG_LEVEL")
        return cls(
            comfyui_url=value("COMFYUI_URL") or None,
            comfyui_command=value("COMFYUI_COMMAND") or None,
            comfyui_port=parse_port(value("COMFYUI_PORT")),
            require_gpu=value("REQUIRE_GPU").lower() in _TRUE,
            needed_cuda=parse_version(value("COMFYPOD_CUDA_VERSION")),
            models_directory=value("MODELS_DIRECTORY") or None,
            log_level=level if level in _LEVELS else "INFO",
            log_format=value("LOG_FORMAT"),
        )


class Launch:
    """The ComfyUI that a worker uses: started at once, and, when it is gone, another one like it.

    As a context manager it is started without being waited for; afterwards it is ended, and its folders are removed.
    ``process`` is None if somebody else runs ComfyUI (COMFYUI_URL). ``model_paths`` are those of the checkout in
    ``ComfyUI/``, if that is what is started.
    """

    def __init__(self, root: Path, environment: Mapping[str, str], timeline: BootTimeline | None = None) -> None:
        self.timeline = timeline or BootTimeline()
        self.process: ComfyUIProcess | None = None
        self.model_paths: ModelPaths | None = None
        self._settings = LaunchSettings.from_environment(environment)
        self._root = root
        self._command: list[str] = []
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        """Start ComfyUI: see `start`."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start ComfyUI, unless it has been started or is not the worker's own.

        Raises:
            GPUUnavailable: REQUIRE_GPU is set, and there is none that ComfyUI could use.
            ConfigurationError: the command cannot be started, a file that says how ComfyUI is started is not valid, or
                there is no room for the worker's own files.
            ComfyUIUnavailable: its port is taken.
        """
        if self.process is not None or self._settings.comfyui_url is not None:
            return
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End ComfyUI, and remove its folders; may be called again."""
        self._resources.close()

    def another(self) -> ComfyUIProcess:
        """A ComfyUI of the same command, to be started."""
        return ComfyUIProcess(self._command, self._root, self._settings.comfyui_port)

    def _start(self) -> None:
        settings, required = self._settings, self._settings.require_gpu
        question = DriverQuestion.if_useful(required=required)
        if question is not None:  # it is answered while the rest is found out
            self._resources.callback(question.close)
        command = self._make_command()
        gpu_flags = flags_for_gpu(question, settings.needed_cuda, required=required)
        self._command = [*command.arguments, *(gpu_flags if command.takes_flags else [])]
        self.model_paths = command.model_paths
        self.process = self.another()
        self._resources.callback(self.process.stop)
        self.process.start()
        self.timeline.mark("comfyui_started")

    def _make_command(self) -> ComfyUICommand:
        """The command, and the worker's own folder, which it leads to."""
        settings = self._settings
        try:
            folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="comfypod-")))
            return comfyui_command(self._root, folder, settings.comfyui_command, settings.models_directory)
        except OSError as error:
            problem = f"What ComfyUI is started with cannot be written ({error}); free space, or set TMPDIR"
            raise ConfigurationError([f"{problem} to a folder that can be written to."]) from error
