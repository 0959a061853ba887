"""Every environment variable the worker reads: declared once, read once, frozen.

A field's name in capitals is the variable's name. ``docs/reference/settings.md`` and ``.runpod/hub.json`` are
generated from this table (`comfypod reference`), and a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from comfypod.errors import ConfigurationError

MEBIBYTE = 1024 * 1024


class Settings(BaseModel):
    """The worker's settings; seconds and bytes where the name says so."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    comfyui_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+",
        description="Address of a ComfyUI that runs already, for example http://127.0.0.1:8188.",
    )
    comfyui_command: str | None = Field(
        None,
        description="Command that starts ComfyUI; --listen and --port are added unless it names a port. "
        "The image sets it, so that a worker in production never falls back to the built-in engine.",
    )
    comfyui_startup_timeout_seconds: float = Field(
        300, gt=0, description="How long ComfyUI may take until it answers. Keep it below RUNPOD_INIT_TIMEOUT."
    )
    job_timeout_seconds: float = Field(
        540,
        gt=0,
        description="Longest time a job may take on the worker; a job's own timeout_seconds is bounded by it. "
        "Keep it below the endpoint's execution timeout (600 s), so that the worker ends the job and not the platform.",
    )
    stall_timeout_seconds: float = Field(
        300,
        gt=0,
        description="How long a node may run without any sign of life, in ComfyUI's messages or its log, "
        "before the job is given up.",
    )
    interrupt_timeout_seconds: float = Field(
        10,
        gt=0,
        description="How long a node may go on after its job was cancelled or given up, before ComfyUI is restarted. "
        "It stops between two steps; a restart costs loading the models again.",
    )
    retry_after_crash: bool = Field(
        True, description="Run a job once more when ComfyUI died under it; nothing of it was delivered by then."
    )
    retry_out_of_memory: bool = Field(
        True, description="Run a job once more, with all models unloaded first, when memory was short."
    )
    maximum_restarts_per_hour: int = Field(
        5, ge=1, description="After so many restarts of ComfyUI within an hour the worker asks to be replaced."
    )
    refresh_worker: bool = Field(False, description="Ask for a fresh worker after every job.")
    warmup_workflow: str | None = Field(
        None,
        description="Workflow that runs before the first job is taken, so that its models are loaded: the name of a "
        "template in workflows/, or the path of an API-format file.",
    )
    worker_concurrency: int = Field(
        1, ge=1, le=16, description="How many jobs the worker holds at a time; ComfyUI runs one of them."
    )
    progress_interval_seconds: float = Field(
        1, ge=0.1, description="Shortest time between two progress updates of a job."
    )
    inline_limit_bytes: int = Field(
        9_000_000, gt=0, description="Largest serialised answer; RunPod drops results of 10 MB and more."
    )
    maximum_input_bytes: int = Field(64 * MEBIBYTE, gt=0, description="Largest sum of a job's input files, decoded.")
    comfy_org_api_key: SecretStr | None = Field(
        None, description="Key for ComfyUI's paid API nodes, used where a job brings none."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe event logged.")
    log_format: Literal["text", "json"] = Field("text", description="One line per event: for people, or JSON.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings; an empty variable counts as unset.

        Raises:
            ConfigurationError: values are not valid; every one of them is named.
        """
        names = {name.upper(): name for name in cls.model_fields}
        given = {names[key]: value for key, value in environment.items() if key in names and value.strip()}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            # The value is left out: it may be a secret.
            problems = [f"{str(item['loc'][0]).upper()}: {item['msg']}." for item in error.errors(include_url=False)]
            raise ConfigurationError(problems) from error
