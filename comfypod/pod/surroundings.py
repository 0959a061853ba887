"""What a pod learns from where it is started: its key, its names, its volume, and where its ComfyUI will be."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import pairwise
from pathlib import Path

from comfypod.errors import ConfigurationError

KEY_VARIABLE = "COMFYPOD_API_KEY"
POD_VARIABLE = "RUNPOD_POD_ID"
PORT_VARIABLE = "COMFYUI_PORT"
SHORTEST_KEY = 16
NO_STATE = "none"
VOLUMES = (Path("/runpod-volume"), Path("/workspace"))
"""Where volumes are mounted: those of serverless workers, and by default those of pods."""
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


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
        ConfigurationError: COMFYUI_COMMAND cannot be read as in a shell.
    """
    if url := environment.get("COMFYUI_URL", "").strip():
        return url, {}
    port = _port_of_command(environment.get("COMFYUI_COMMAND", ""))
    if port is not None:
        return f"http://127.0.0.1:{port}", {}
    port = environment.get(PORT_VARIABLE, "").strip() or str(_free_port())
    return f"http://127.0.0.1:{port}", {PORT_VARIABLE: port}


def _port_of_command(command: str) -> str | None:
    """The port that a command names; None: the worker adds one."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError([f"COMFYUI_COMMAND cannot be read as in a shell: {error}."]) from error
    for name, following in pairwise([*arguments, ""]):
        if name == "--port":
            return following
        if name.startswith("--port="):
            return name.removeprefix("--port=")
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
