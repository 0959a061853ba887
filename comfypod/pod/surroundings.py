"""What a pod learns from where it is started: its key, its names, its volume, and where its ComfyUI will be."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from comfypod.comfyui.command_line import named_port, split_command
from comfypod.comfyui.model_paths import VOLUMES
from comfypod.comfyui.process import free_port
from comfypod.errors import ConfigurationError
from comfypod.listening import is_loopback

KEY_VARIABLE = "COMFYPOD_API_KEY"
POD_VARIABLE = "RUNPOD_POD_ID"
PORT_VARIABLE = "COMFYUI_PORT"
SHORTEST_KEY = 16
NO_STATE = "none"
_KEY_ADVICE = f"set {KEY_VARIABLE} to at least {SHORTEST_KEY} characters, for example what openssl rand -hex 16 prints"
_POD_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def take_key(environment: MutableMapping[str, str], host: str, *, has_page: bool) -> str | None:
    """The key, taken out of the environment: what is started from now on must not see it. None: there need be none.

    Raises:
        ConfigurationError: strangers could get in, because there is no key or because it is short.
    """
    key = environment.pop(KEY_VARIABLE, "").strip()
    if is_loopback(host) and not has_page:
        return key or None
    cause = "With ComfyUI's page" if is_loopback(host) else f"Listening at {host}"
    if not key:
        raise ConfigurationError([f"{cause}, a pod needs a key: {_KEY_ADVICE}."])
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError([f"{cause}, a pod needs a longer key than that of {KEY_VARIABLE}: {_KEY_ADVICE}."])
    return key


def outside_host(environment: Mapping[str, str], port: int) -> str | None:
    """The name under which RunPod's HTTP proxy shows a port of this pod; None if this is none of RunPod's pods."""
    pod_id = environment.get(POD_VARIABLE, "")
    return f"{pod_id}-{port}.proxy.runpod.net" if _POD_ID.fullmatch(pod_id) else None


def state_file(given: str | None, environment: Mapping[str, str], volumes: Sequence[Path] = VOLUMES) -> Path | None:
    """Where the jobs are kept: as told, else on the volume, in a file of this pod's own; None without either.

    Raises:
        ConfigurationError: its folder cannot be made.
    """
    if given == NO_STATE:
        return None
    path = Path(given) if given else _on_volume(environment, volumes)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"The state cannot be kept in {path} ({error.strerror}); name another file with COMFYPOD_STATE"
            raise ConfigurationError([f"{problem}, or {NO_STATE}."]) from error
    return path


def _on_volume(environment: Mapping[str, str], volumes: Sequence[Path]) -> Path | None:
    """A volume may be shared by several pods, so each has a file of its own; a pod keeps its id over restarts."""
    mounted = next((volume for volume in volumes if os.path.ismount(volume.resolve())), None)
    if mounted is None:
        return None
    pod_id = environment.get(POD_VARIABLE, "")
    return mounted / ".comfypod" / f"pod-{pod_id if _POD_ID.fullmatch(pod_id) else 'local'}.db"


def comfyui_address(environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Where the worker's ComfyUI will answer, also after a restart, and what the worker must be told for that.

    Raises:
        ConfigurationError: COMFYUI_COMMAND cannot be read as in a shell, or names a port that is none.
    """
    if url := environment.get("COMFYUI_URL", "").strip():
        return url, {}
    named = named_port(split_command(environment.get("COMFYUI_COMMAND", "")))
    if named is not None:
        return f"http://127.0.0.1:{named}", {}
    port = environment.get(PORT_VARIABLE, "").strip() or str(free_port())
    return f"http://127.0.0.1:{port}", {PORT_VARIABLE: port}
