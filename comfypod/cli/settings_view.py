"""``comfypod settings``: every setting of the worker as it is now, where from, and what is wrong with it."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.reports import print_json, print_line, print_table
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings

# worker-comfyui, docs/configuration.md; its 3.x, src/rp_handler.py (COMFY_API_…, COMFY_POLLING_…, COMFY_HOST).
_OTHER_WORKERS: Mapping[str, str] = {
    "COMFY_HOST": "the address of a ComfyUI that runs is COMFYUI_URL",
    "COMFY_API_AVAILABLE_INTERVAL_MS": "how long ComfyUI may take to start is COMFYUI_STARTUP_TIMEOUT_SECONDS",
    "COMFY_API_AVAILABLE_MAX_RETRIES": "how long ComfyUI may take to start is COMFYUI_STARTUP_TIMEOUT_SECONDS",
    "COMFY_POLLING_INTERVAL_MS": "nothing is polled; how long a job may take is JOB_TIMEOUT_SECONDS",
    "COMFY_POLLING_MAX_RETRIES": "nothing is polled; how long a job may take is JOB_TIMEOUT_SECONDS",
    "COMFY_LOG_LEVEL": "the worker's is LOG_LEVEL; ComfyUI's own is --verbose in COMFYUI_COMMAND",
    "WEBSOCKET_RECONNECT_ATTEMPTS": "it reconnects until the job's time is over: JOB_TIMEOUT_SECONDS",
    "WEBSOCKET_RECONNECT_DELAY_S": "it reconnects until the job's time is over: JOB_TIMEOUT_SECONDS",
    "WEBSOCKET_TRACE": "LOG_LEVEL=DEBUG logs more",
    "SERVE_API_LOCALLY": "`comfypod emulate runpod` serves the API here",
    "NETWORK_VOLUME_DEBUG": "`comfypod doctor` tells which models are where",
}

_WORKER_LIBRARIES = ("aiohttp", "obstore")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_NEAR = 0.85
"""Of the letters must agree: BUCKET_ENDPIONT_URL is meant, LOG_FILE is not."""

Origin = Literal["environment", "default"]


@dataclass(frozen=True, slots=True)
class SettingState:
    """A setting: the value that counts (secrets as ``(set)``), where it is from, the worker's word if it is wrong."""

    name: str
    value: str | float | bool | None
    origin: Origin
    meaning: str
    problem: str | None = None


def show_settings(names: Sequence[str], environment: Mapping[str, str], *, as_json: bool) -> int:
    """Print the settings with these names, or all; exit code 2 if the worker would not start with what is set.

    Raises:
        ConfigurationError: there is no setting of such a name; the nearest one is told.
    """
    states = setting_states(environment)
    wanted = [_named(name, states) for name in names] or states
    others = settings_problems(environment)[1] if not names else []
    hints = dict(misspelt(environment)) if not names else {}
    if as_json:
        print_json({"settings": [asdict(state) for state in wanted], "problems": others, "hints": hints})
    else:
        rows = [(state.name, _text(state), state.origin, state.meaning) for state in wanted]
        print_table(("setting", "value", "from", "meaning"), rows)
        for sentence in [state.problem for state in wanted if state.problem] + others:
            print_line("problem", sentence, "bold red")
        for name, hint in hints.items():
            print_line("warning", f"{name} is not read; {hint}", "yellow")
    return ExitCode.USAGE if others or any(state.problem for state in wanted) else 0


def setting_states(environment: Mapping[str, str]) -> list[SettingState]:
    """Every setting as the worker would read it."""
    problems = settings_problems(environment)[0]
    return [_state(name.upper(), item, environment, problems) for name, item in Settings.model_fields.items()]


def settings_problems(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What is wrong with values, by the setting's name; and what is wrong with several of them together.

    They are the worker's own sentences.
    """
    try:
        settings = Settings.from_environment(environment)
    except ConfigurationError as error:
        return {problem.partition(":")[0]: problem for problem in error.problems}, []
    return {}, list(_joint_problems(settings))


def _joint_problems(settings: Settings) -> Iterator[str]:
    """Half a bucket, lists of hosts that cannot be read: what `Outside` refuses when the worker starts."""
    if not has_worker_libraries():
        return
    from comfypod.storage.addresses import AddressPolicy  # noqa: PLC0415
    from comfypod.storage.buckets.bucket import Bucket  # noqa: PLC0415

    for check in (
        lambda: Bucket.from_settings(settings),
        lambda: AddressPolicy.from_lists(settings.download_allowed_hosts, settings.download_denied_hosts),
    ):
        try:
            check()
        except ConfigurationError as error:
            yield from error.problems


def has_worker_libraries() -> bool:
    """Whether what a worker needs is here; a client's machine need not have it, and no worker starts on it."""
    return all(importlib.util.find_spec(name) for name in _WORKER_LIBRARIES)


def misspelt(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that are not read and look as if somebody thinks they are; each with a clause of advice."""
    names = [name.upper() for name in Settings.model_fields]
    for variable in sorted(environment):
        if variable in names:
            continue
        if variable in _OTHER_WORKERS:
            yield variable, f"in this worker {_OTHER_WORKERS[variable]}"
        elif variable.upper() in names:
            yield variable, f"settings are read in capitals: {variable.upper()}"
        elif near := _nearest(variable.upper(), names):
            yield variable, f"did you mean {near}?"


def _nearest(variable: str, names: Sequence[str]) -> str | None:
    """A setting that is nearly spelt so, or begins with it: JOB_TIMEOUT means JOB_TIMEOUT_SECONDS."""
    if "_" in variable and (longer := [name for name in names if name.startswith(f"{variable}_")]):
        return longer[0]
    return next(iter(difflib.get_close_matches(variable, names, n=1, cutoff=_NEAR)), None)


def _named(name: str, states: Sequence[SettingState]) -> SettingState:
    known = {state.name: state for state in states}
    if name.upper() not in known:
        near = difflib.get_close_matches(name.upper(), known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`comfypod settings` lists all."
        raise ConfigurationError([f"There is no setting {name!r}; {hint}"])
    return known[name.upper()]


def _state(name: str, item: FieldInfo, environment: Mapping[str, str], problems: Mapping[str, str]) -> SettingState:
    given = environment.get(name, "").strip()
    origin: Origin = "environment" if given else "default"
    is_secret = SecretStr in (item.annotation, *get_args(item.annotation))
    value = given or item.default
    if is_secret:
        value = "(set)" if given else "(not set)"
    elif given:
        value = _CREDENTIALS.sub("***@", given)
    return SettingState(name, value, origin, item.description or "", problems.get(name))


def _text(state: SettingState) -> str:
    return "" if state.value is None else str(state.value)
