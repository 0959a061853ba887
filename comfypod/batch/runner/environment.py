"""What a pod of a batch is told by its environment, and what its worker is told in turn."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from comfypod.errors import ConfigurationError

URL_VARIABLE = "COMFYPOD_BATCH_URL"
TOKEN_VARIABLE = "COMFYPOD_BATCH_TOKEN"  # noqa: S105 (a name)
POD_VARIABLE = "COMFYPOD_BATCH_POD"
ENDS_AT_VARIABLE = "COMFYPOD_BATCH_ENDS_AT"
FOLDER_VARIABLE = "COMFYPOD_BATCH_FOLDER"
RESULTS_TOKEN_VARIABLE = "COMFYPOD_BATCH_RESULTS_TOKEN"  # noqa: S105 (a name)
WORKSPACE = Path("/workspace")
"""Where RunPod mounts a pod's volume (docs.runpod.io, storage/network-volumes)."""
_POD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEnvironment:
    """Where the coordinator is, who this pod is, when it ends at the latest, and where it keeps everything.

    ``ends_at`` is in seconds since 1970. ``results_token`` is for a results' server other than the coordinator.
    """

    url: str
    token: str = field(repr=False)
    pod: str
    ends_at: float
    folder: Path
    results_token: str | None = field(default=None, repr=False)

    @classmethod
    def take(cls, environment: MutableMapping[str, str], workspace: Path = WORKSPACE) -> Self:
        """Read it, and take the tokens out: what is started from now on must not see them.

        Raises:
            ConfigurationError: a variable is missing, or not what it should be; every one of them is named.
        """
        token = environment.pop(TOKEN_VARIABLE, "").strip()
        results_token = environment.pop(RESULTS_TOKEN_VARIABLE, "").strip()
        url = environment.get(URL_VARIABLE, "").strip().rstrip("/")
        pod = environment.get(POD_VARIABLE, "").strip()
        ends_at = _moment(environment.get(ENDS_AT_VARIABLE, ""))
        problems = [
            *([] if re.match(r"https?://[^/\s]+", url) else [f"{URL_VARIABLE}: the coordinator's http(s) address."]),
            *([] if _is_token(token) else [f"{TOKEN_VARIABLE}: the batch's token."]),
            *([] if _is_token(results_token or "-") else [f"{RESULTS_TOKEN_VARIABLE}: cannot be a token."]),
            *([] if _POD_NAME.fullmatch(pod) else [f"{POD_VARIABLE}: the pod's name, of letters, digits and - _ ."]),
            *([] if ends_at is not None else [f"{ENDS_AT_VARIABLE}: seconds since 1970."]),
        ]
        if problems or ends_at is None:
            raise ConfigurationError(["A pod of a batch is started by `comfypod batch run`, which sets:", *problems])
        folder = _folder(environment.get(FOLDER_VARIABLE, "").strip(), pod, workspace)
        return cls(url=url, token=token, pod=pod, ends_at=ends_at, folder=folder, results_token=results_token or None)

    @property
    def made_folder(self) -> Path:
        """Where results are, until they have been sent."""
        return self.folder / "made"

    @property
    def ledger_file(self) -> Path:
        """What was done."""
        return self.folder / "ledger.db"

    def for_worker(self, root: Path, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment of the worker of the repository at ``root``: results and models go to this pod's folder.

        Where no ComfyUI is configured, the built-in engine runs in that folder, so that it lists what is fetched.
        """
        told = {**environment, "VOLUME_OUTPUT_DIRECTORY": str(self.made_folder)}
        is_configured = any(environment.get(name, "").strip() for name in ("COMFYUI_URL", "COMFYUI_COMMAND"))
        if not is_configured and not (root / "ComfyUI" / "main.py").is_file():
            engine = [sys.executable, "-m", "comfypod", "emulate", "comfyui", "--base-directory", str(self.folder)]
            told["COMFYUI_COMMAND"] = shlex.join([*engine, "--models", str(root / "models.toml")])
        if not told.get("MODELS_DIRECTORY", "").strip():
            told["MODELS_DIRECTORY"] = str(self.folder / "models")
        return told


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _moment(text: str) -> float | None:
    try:
        moment = float(text)
    except ValueError:
        return None
    return moment if 0 < moment < 1e11 else None  # neither infinite nor none at all


def _folder(given: str, pod: str, workspace: Path) -> Path:
    if given:
        return Path(given).absolute()
    return workspace / "comfypod-batch" / pod if workspace.is_dir() else Path(".comfypod/batch").absolute() / pod
