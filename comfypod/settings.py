"""Every environment variable the worker reads: declared once, read once, frozen.

A field's name in capitals is the variable's name. ``docs/reference/settings.md`` and ``.runpod/hub.json`` are
generated from this table (`comfypod reference`), and a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from comfypod.errors import ConfigurationError

GIBIBYTE = 1024**3


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
        description="Command that starts ComfyUI, in place of the one in ComfyUI/ (in the image: /app/ComfyUI); "
        "--listen and --port are added unless it names a port.",
    )
    comfyui_port: int | None = Field(
        None, ge=1, le=65_535, description="Port of the worker's own ComfyUI, on 127.0.0.1. Unset: a free one."
    )
    comfyui_shared: bool = Field(
        False,
        description="Whether others use the worker's own ComfyUI, too, as on a pod that serves its page: then only "
        "a job's own files are removed after it. The pod sets it.",
    )
    comfyui_startup_timeout_seconds: float = Field(
        300, gt=0, description="How long ComfyUI may take until it answers. Keep it below RUNPOD_INIT_TIMEOUT."
    )
    require_gpu: bool = Field(
        False,
        description="End at once, with the reason, where there is no GPU that ComfyUI could use. The image sets it.",
    )
    comfypod_cuda_version: str | None = Field(
        None,
        pattern=r"^\d+\.\d+(\.\d+)?$",
        description="CUDA version that ComfyUI's libraries were built with, which the driver must know. "
        "The image sets it.",
    )
    fast_png: bool = Field(
        False,
        description="Compress the PNG files that ComfyUI saves in about half the time, with the same pixels: "
        "photographs become no larger, drawings with sharp edges up to a quarter. Done by the pack comfypod_nodes. "
        "The image sets it.",
    )
    job_timeout_seconds: float = Field(
        540,
        gt=0,
        description="Longest time a job may take on the worker, not counting that for which it waits there for other "
        "jobs; a job's own timeout_seconds is bounded by it. Keep it below the endpoint's execution timeout (600 s), "
        "so that the worker ends the job and not the platform.",
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
        2,
        ge=1,
        le=32,
        description="How many jobs the worker holds at a time: one on the GPU, others being prepared or delivered. "
        "2 suits jobs of a second and more; REFRESH_WORKER makes it 1.",
    )
    progress_interval_seconds: float = Field(
        1, ge=0.1, description="Shortest time between two progress updates of a job."
    )
    inline_limit_bytes: int = Field(
        9_000_000, gt=0, description="Largest serialised answer; RunPod drops results of 10 MB and more."
    )
    maximum_input_bytes: int = Field(
        2 * GIBIBYTE, gt=0, description="Largest sum of a job's input files, decoded or downloaded."
    )
    maximum_image_pixels: int = Field(
        150_000_000, gt=0, description="Largest input picture, all frames together; a larger one is refused unopened."
    )
    download_allowed_hosts: str = Field(
        "",
        description="Only these may be fetched from, comma-separated: names, *.example.com, addresses, networks such "
        "as 10.0.0.0/8, each with :PORT if need be ([fd00::/8]:9000). They may be private. What a source redirects to "
        "must be listed too. Empty: every public address.",
    )
    download_denied_hosts: str = Field(
        "", description="These are never fetched from, comma-separated, in the same forms; this wins over allowed."
    )
    bucket_endpoint_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+",
        description="Address of an S3-compatible store; large results go to a bucket there. It may hold the bucket's "
        "name, as host (https://BUCKET.s3.REGION.amazonaws.com) or as path (https://HOST/BUCKET).",
    )
    bucket_name: str | None = Field(None, description="Name of the bucket, where BUCKET_ENDPOINT_URL does not hold it.")
    bucket_prefix: str = Field("", description="What the keys begin with: PREFIX/JOB/NODE/FILENAME.")
    bucket_region: str | None = Field(
        None, description="Region of the bucket; read from the endpoint's name where that is usual, else us-east-1."
    )
    bucket_access_key_id: SecretStr | None = Field(None, description="Access key of the bucket.")
    bucket_secret_access_key: SecretStr | None = Field(None, description="Secret key of the bucket.")
    bucket_addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="Where the bucket's name goes: in the path, or before the host. auto: virtual for AWS only."
    )
    bucket_public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+",
        description="Address under which the bucket's keys can be read by everyone; set it to return plain addresses "
        "instead of presigned ones.",
    )
    bucket_url_lifetime_seconds: int = Field(
        86_400, ge=1, le=604_800, description="How long a presigned address is valid; S3 allows a week at most."
    )
    once_lease_seconds: float = Field(
        30,
        ge=1,
        le=3_600,
        description="How long after a worker has died another one may run its job, of those that are sent with once: "
        "true. A worker that lives renews its lease three times in that time.",
    )
    volume_output_directory: str = Field(
        "/runpod-volume/outputs", description="Where results go that a job asks for with delivery: path."
    )
    models_directory: str | None = Field(
        None,
        description="Where model files of models.toml are fetched to, one folder per kind; for example "
        "/runpod-volume/models. Unset: ComfyUI's own folders.",
    )
    models_disk_budget_bytes: int | None = Field(
        None,
        gt=0,
        description="Most bytes that fetched model files may take; the least recently used go first. Unset: no limit.",
    )
    comfy_org_api_key: SecretStr | None = Field(
        None, description="Key for ComfyUI's paid API nodes, used where a job brings none."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe event logged.")
    log_format: Literal["text", "json"] = Field("text", description="One line per event: for people, or JSON.")

    @property
    def jobs_at_a_time(self) -> int:
        """How many jobs the worker takes at a time: one, where every job asks for a fresh worker."""
        return 1 if self.refresh_worker else self.worker_concurrency

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
