"""What a failed job raises: the worker's own error, and `JobFailed` at once."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from comfypod.cloud.failures import job_failure
from comfypod.errors import (
    ComfyPodError,
    ComfyUIError,
    DeadlineExceeded,
    InputFetchFailed,
    InputSourceUnavailable,
    InvalidJobInput,
    JobCancelled,
    JobFailed,
    OutOfMemory,
    OutputTooLarge,
    PromptFailed,
    PromptRejected,
)
from comfypod.schema.output import Account, Timings, failure_to_json

RAISED: list[ComfyPodError] = [
    InvalidJobInput(["prompt: must be a text"]),
    InputFetchFailed("a.png", "HTTP 404"),
    InputSourceUnavailable("a.png", "no answer"),
    PromptRejected({"message": "no outputs"}, {}),
    PromptFailed("3", "KSampler", "RuntimeError", "shapes do not fit"),
    OutOfMemory("3", "KSampler", "OutOfMemoryError", "CUDA out of memory"),
    DeadlineExceeded("execute", 180),
    OutputTooLarge(12_000_000, 9_500_000),
]


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_what_the_worker_raised_arrives_as_what_it_was(raised: ComfyPodError) -> None:
    answer = failure_to_json(raised, Account(Timings(), {}, []))
    error = answer.pop("error")  # RunPod takes it out of the output
    arrived = job_failure("job-1", error, json.loads(json.dumps(answer)))
    assert isinstance(arrived, type(raised))
    assert isinstance(arrived, JobFailed)
    assert (str(arrived), arrived.code, arrived.retryable) == (str(raised), raised.code, raised.retryable)
    assert (arrived.job_id, arrived.output) == ("job-1", answer)
    told = {name: value for name, value in raised.details().items() if name != "error"}
    assert {name: getattr(arrived, name) for name in told} == told
    assert set(arrived.details()) == {"job_id", "error", "output"}


def test_every_field_of_the_workers_class_is_there() -> None:
    arrived = job_failure("job-1", "no memory", {"code": "out_of_memory"})
    assert isinstance(arrived, OutOfMemory)
    assert (arrived.node_id, arrived.message, arrived.history) == (None, None, {})
    assert arrived.retryable, "the class says so, where the worker does not"


@pytest.mark.parametrize("is_retryable", [True, False])
def test_a_code_that_is_not_known_is_a_failure_all_the_same(is_retryable: bool) -> None:
    failure = job_failure("job-1", "odd", {"code": "new_code", "retryable": is_retryable, "details": 5})
    assert isinstance(failure, JobFailed)
    assert not isinstance(failure, ComfyUIError)
    assert (failure.code, failure.retryable, str(failure)) == ("job_failed", is_retryable, "odd")
    assert failure.output["code"] == "new_code"


@pytest.mark.parametrize("code", ["job_cancelled", "authentication_failed", "job_failed", "", 5, None, ["no_output"]])
def test_a_worker_cannot_raise_what_is_not_its_own(code: Any) -> None:
    failure = job_failure("job-1", "odd", {"code": code, "retryable": "yes"})
    assert not isinstance(failure, JobCancelled)
    assert (type(failure), failure.retryable) == (JobFailed, False)


def test_each_class_is_made_once() -> None:
    first, second = (job_failure("a", "x", {"code": "out_of_memory", "retryable": True}) for _ in range(2))
    assert type(first) is type(second)
    assert type(first).__name__ == "JobOutOfMemory"


def test_a_failure_survives_the_way_to_another_process() -> None:
    failure = job_failure("job-1", "no memory", {"code": "out_of_memory", "details": {"node_id": "3"}})
    copy = pickle.loads(pickle.dumps(failure))  # noqa: S301 (our own)
    assert isinstance(copy, OutOfMemory)
    assert (copy.node_id, str(copy)) == ("3", "no memory")


def test_a_handler_that_raised_is_told_in_a_sentence() -> None:
    crash = {
        "error_type": "<class 'ValueError'>",
        "error_message": "no such thing",
        "error_traceback": "Traceback (most recent call last): …",
        "worker_id": "w1",
    }
    failure = job_failure("job-1", json.dumps(crash), None)
    assert str(failure) == "The worker has a bug, or met one: ValueError: no such thing"
    assert failure.output["error_traceback"].startswith("Traceback")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("job timed out after 1 retries", "its worker fell silent: job timed out after 1 retries"),
        (None, "the worker gave no reason"),
        ("", "the worker gave no reason"),
        ({"reason": "odd"}, '{"reason": "odd"}'),
        ("[1, 2]", "[1, 2]"),
        ("{broken", "{broken"),
    ],
)
def test_an_error_of_any_kind_is_readable(error: Any, says: str) -> None:
    assert says in str(job_failure("job-1", error, None))
