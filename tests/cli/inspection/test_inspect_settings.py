"""`comfypod settings`: what the worker reads, where from, and what is wrong with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from comfypod.cli.settings_view import misspelt, setting_states, settings_problems
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings
from comfypod.worker.facilities import Facilities

Inspect = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "hush-9f1c2e"


def test_every_setting_is_shown_with_its_meaning() -> None:
    states = setting_states({})
    assert [state.name for state in states] == [name.upper() for name in Settings.model_fields]
    assert all(state.meaning for state in states)
    assert {state.origin for state in states} == {"default"}
    assert next(state.value for state in states if state.name == "JOB_TIMEOUT_SECONDS") == 540


def test_what_the_environment_says_counts_and_an_empty_variable_does_not() -> None:
    states = {state.name: state for state in setting_states({"LOG_FORMAT": "json", "LOG_LEVEL": "  "})}
    assert (states["LOG_FORMAT"].value, states["LOG_FORMAT"].origin) == ("json", "environment")
    assert (states["LOG_LEVEL"].value, states["LOG_LEVEL"].origin) == ("INFO", "default")


def test_secrets_are_never_shown(inspect: Inspect) -> None:
    variables = {
        "BUCKET_SECRET_ACCESS_KEY": SECRET,
        "BUCKET_ACCESS_KEY_ID": SECRET,
        "COMFY_ORG_API_KEY": SECRET,
        "COMFYUI_URL": f"http://user:{SECRET}@127.0.0.1:8188",
    }
    for form in ((), ("--json",)):
        done = inspect("settings", *form, **variables)
        assert SECRET not in done.stdout + done.stderr
        assert "(set)" in done.stdout
        assert "***@127.0.0.1" in done.stdout


@pytest.mark.parametrize(
    "environment",
    [
        {"INLINE_LIMIT_BYTES": "-3"},
        {"JOB_TIMEOUT_SECONDS": "soon", "LOG_LEVEL": "LOUD"},
        {"BUCKET_ENDPOINT_URL": "https://s3.eu-central-1.amazonaws.com"},
        {"DOWNLOAD_ALLOWED_HOSTS": "10.0.0.0/99"},
    ],
    ids=["a value", "two values", "half a bucket", "a list of hosts"],
)
def test_wrong_values_are_told_in_the_workers_own_words(environment: dict[str, str]) -> None:
    values, others = settings_problems(environment)
    told = [*values.values(), *others]
    assert told
    assert sorted(told) == sorted(_worker_says(environment))


def _worker_says(environment: dict[str, str]) -> list[str]:
    try:
        Facilities.of_repository(Path("/nonexistent"), Settings.from_environment(environment), {})
    except ConfigurationError as error:
        return list(error.problems)
    return []


def test_a_wrong_value_ends_the_command_with_2_and_another_one_does_not(inspect: Inspect) -> None:
    done = inspect("settings", INLINE_LIMIT_BYTES="-3")
    assert done.returncode == 2
    assert "problem: INLINE_LIMIT_BYTES: Input should be greater than 0." in done.stdout
    assert inspect("settings", "LOG_LEVEL", INLINE_LIMIT_BYTES="-3").returncode == 0
    assert inspect("settings").returncode == 0


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("COMFY_HOST", "COMFYUI_URL"),
        ("COMFY_POLLING_INTERVAL_MS", "JOB_TIMEOUT_SECONDS"),
        ("WEBSOCKET_RECONNECT_ATTEMPTS", "JOB_TIMEOUT_SECONDS"),
        ("BUCKET_ENDPIONT_URL", "did you mean BUCKET_ENDPOINT_URL?"),
        ("JOB_TIMEOUT", "did you mean JOB_TIMEOUT_SECONDS?"),
        ("comfyui_url", "read in capitals: COMFYUI_URL"),
    ],
)
def test_variables_that_are_not_read_are_told_with_the_right_name(variable: str, hint: str) -> None:
    assert [name for name, _ in misspelt({variable: "x"})] == [variable]
    assert hint in dict(misspelt({variable: "x"}))[variable]


def test_variables_of_others_are_left_alone() -> None:
    others = (
        "PATH",
        "HOME",
        "LOG_FILE",
        "RUNPOD_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "HF_TOKEN",
        "LANG",
        "LC_ALL",
        "LOG_LEVEL",
    )
    assert list(misspelt(dict.fromkeys(others, "x"))) == []


def test_a_name_that_is_none_is_told_with_the_nearest(inspect: Inspect) -> None:
    done = inspect("settings", "LOG_LEVLE")
    assert done.returncode == 2
    assert "did you mean LOG_LEVEL" in done.stderr


def test_json_has_value_origin_and_hints(inspect: Inspect) -> None:
    document = json.loads(inspect("settings", "--json", COMFY_HOST="x", LOG_FORMAT="json").stdout)
    states = {item["name"]: item for item in document["settings"]}
    assert (states["LOG_FORMAT"]["value"], states["LOG_FORMAT"]["origin"]) == ("json", "environment")
    assert list(document["hints"]) == ["COMFY_HOST"]
