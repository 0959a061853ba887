"""Where results go, and what pods are told of it; the image and the program of pods; what is learned from batches."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from comfypod.batch.coordinator.renting import PodOptions
from comfypod.batch.coordinator.server import ServerOptions
from comfypod.batch.providers import local, runpod_pods, skypilot
from comfypod.batch.runner.environment import FOLDER_VARIABLE
from comfypod.cli.batch.manifest_choice import cache_folder
from comfypod.cloud.pods.account import find_account
from comfypod.errors import ConfigurationError
from comfypod.listening import is_loopback

BUCKET: Final = "bucket"
_PASSED_ON: Final = re.compile(r"(BUCKET_|DOWNLOAD_|HF_TOKEN$|CIVITAI_TOKEN$|COMFYPOD_BATCH_RESULTS_TOKEN$|LOG_)")
"""Of this process's environment, what pods need: where results go, and where model files come from."""
_LOCAL_COMMAND: Final = (sys.executable, "-m", "comfypod", "batch", "pod")
_IMAGE_COMMAND: Final = ("comfypod", "batch", "pod")


@dataclass(frozen=True, slots=True)
class Results:
    """Where results go: as pods are told, and the coordinator's own folder, if they go there."""

    document: Mapping[str, Any]
    folder: Path | None = None

    @property
    def shown(self) -> str:
        """For people."""
        return str(self.folder) if self.folder is not None else str(self.document.get("url", "the bucket"))


def results_of(text: str | None, batch: str) -> Results:
    """What ``--results`` means: an http(s) address, ``bucket``, or a folder of this machine.

    Raises:
        ConfigurationError: the bucket's settings are missing, or the address is none.
    """
    if text == BUCKET:
        if not os.environ.get("BUCKET_ENDPOINT_URL"):
            raise ConfigurationError(["--results bucket: set BUCKET_ENDPOINT_URL and the keys, as for a worker."])
        return Results({"kind": "bucket"})
    if text is not None and re.match(r"https?://", text):
        if not urlsplit(text).hostname or urlsplit(text).username:
            raise ConfigurationError(["--results: an address of the form https://HOST/PATH, without a password."])
        return Results({"kind": "http", "url": text.rstrip("/")})
    if text is not None and "://" in text:
        raise ConfigurationError(["--results is a folder, an http(s) address, or the word bucket."])
    folder = Path(text) if text is not None else Path("outputs") / batch
    return Results({"kind": "own"}, folder.absolute())


def archived(results: Results) -> Results:
    """The same place, for one zip file of each item."""
    return replace(results, document={**results.document, "archives": True})


def check_address(options: ServerOptions, provider: str) -> None:
    """Refuse what pods could not reach, or what would carry tokens readably over a network.

    Raises:
        ConfigurationError: it would.
    """
    if not is_loopback(options.host) and options.public_url is None:
        problem = (
            f"--host {options.host}: whoever reaches this machine could speak to the coordinator, and what is sent "
            "there (the batch's token, prompts, results) could be read on the way. Put something that speaks HTTPS "
            "in front of it, and name that: --public-url https://…"
        )
        raise ConfigurationError([problem])
    is_elsewhere = provider == skypilot.NAME or (provider == runpod_pods.NAME and not _is_emulated(provider))
    if is_elsewhere and options.public_url is None:
        problem = "Rented pods cannot reach 127.0.0.1 of this machine: name an address that leads here by --public-url."
        raise ConfigurationError([problem])


def pod_options(provider: str, image: str | None) -> PodOptions:
    """What every pod is: of this machine, with a folder for each; or the image, on RunPod.

    Raises:
        ConfigurationError: the image is not named.
    """
    passed = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
    if provider == local.NAME:
        folder = local.DEFAULT_FOLDER.absolute()
        return PodOptions(
            image="local",
            command=_LOCAL_COMMAND,
            environment=passed,
            own_environment=lambda name: {FOLDER_VARIABLE: str(folder / name / "disk")},
        )
    if _is_emulated(provider):
        return PodOptions(image=image or "local", command=_LOCAL_COMMAND, environment=passed)
    if not image:
        raise ConfigurationError(["Say which image pods are to run: --image, the one that your endpoint has."])
    return PodOptions(image=image, command=_IMAGE_COMMAND, environment=passed)


def learned_file() -> Path:
    """Speeds of GPUs that earlier batches measured."""
    return cache_folder() / "learned_speeds.json"


def _is_emulated(provider: str) -> bool:
    """Whether its pods are on this machine, whatever they take themselves for."""
    return provider == runpod_pods.NAME and is_loopback(urlsplit(find_account().url).hostname or "")
