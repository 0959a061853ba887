"""What a failed attempt means, and how often another one follows."""

from __future__ import annotations

import pytest

from comfypod.cloud.failures import job_failure
from comfypod.errors import (
    AuthenticationFailed,
    CloudUnavailable,
    ComfyPodError,
    JobCancelled,
    JobNotFound,
    JobTimedOut,
    RequestQuarantined,
    RequestRefused,
    SubmissionUncertain,
)
from comfypod.master.failures import RETRIES, FailureClass, Record, classify, describe, is_suspicious


def of_worker(code: str, *, retryable: bool) -> ComfyPodError:
    return job_failure("j1", "It failed.", {"code": code, "retryable": retryable, "details": {"node_id": "3"}})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (of_worker("invalid_workflow", retryable=False), "invalid"),
        (of_worker("prompt_rejected", retryable=False), "invalid"),
        (of_worker("input_fetch_failed", retryable=False), "invalid"),
        (of_worker("input_fetch_failed", retryable=True), "host"),
        (of_worker("upload_failed", retryable=True), "host"),
        (of_worker("a_code_of_tomorrow", retryable=False), "invalid"),
        (of_worker("a_code_of_tomorrow", retryable=True), "host"),
        (of_worker("out_of_memory", retryable=True), "resource"),
        (of_worker("comfyui_unavailable", retryable=True), "host"),
        (of_worker("deadline_exceeded", retryable=False), "timeout"),
        (job_failure("j1", "job timed out after 1 retries", None), "lost"),
        (job_failure("j1", '{"error_type": "<class \'KeyError\'>", "error_message": "x"}', None), "unknown"),
        (JobNotFound("j1"), "lost"),
        (JobCancelled("j1"), "lost"),
        (JobTimedOut("j1"), "timeout"),
        (SubmissionUncertain("k", "cut", "not listed"), "lost"),
        (CloudUnavailable("https://x", "HTTP 502"), "provider"),
        (AuthenticationFailed("https://x"), "provider"),
        (RequestRefused("https://x", 413, ""), "invalid"),
        (RequestQuarantined("abc", "it broke 3 workers"), "poison"),
    ],
)
def test_classes(error: ComfyPodError, expected: str) -> None:
    assert classify(error) == expected


def test_every_class_says_how_often_it_is_tried_again() -> None:
    assert set(RETRIES) == set(FailureClass)


def test_a_request_waits_for_the_platform_however_long() -> None:
    record = Record()
    pauses = [record.pause_after(FailureClass.PROVIDER) for _ in range(200)]
    assert all(pause is not None and 0.5 <= pause <= 15 for pause in pauses)


def test_pauses_grow_and_end() -> None:
    record = Record()
    pauses = [record.pause_after(FailureClass.LOST) for _ in range(7)]
    assert pauses[-1] is None
    steps = (1, 2, 4, 8, 15, 15)
    for pause, step in zip(pauses, steps, strict=False):
        assert pause is not None
        assert step / 2 <= pause <= step


def test_classes_are_counted_apart() -> None:
    record = Record()
    assert record.pause_after(FailureClass.RESOURCE) is not None
    assert record.pause_after(FailureClass.TIMEOUT) is not None
    assert record.pause_after(FailureClass.RESOURCE) is None


def test_a_bad_worker_s_failures_do_not_count_but_not_for_ever() -> None:
    record = Record()
    pauses = [record.pause_after(FailureClass.RESOURCE, is_forgiven=True) for _ in range(7)]
    assert pauses.index(None) == 6


def test_what_speaks_against_a_workflow() -> None:
    def speaks(error: ComfyPodError) -> bool:
        return is_suspicious(error, classify(error))

    assert speaks(of_worker("comfyui_unavailable", retryable=True))
    assert speaks(of_worker("out_of_memory", retryable=True))
    assert speaks(job_failure("j1", "job timed out after 1 retries", None))
    assert not speaks(of_worker("upload_failed", retryable=True))
    assert not speaks(of_worker("invalid_workflow", retryable=False))
    assert not speaks(CloudUnavailable("https://x", "HTTP 502"))


def test_an_error_as_it_is_kept() -> None:
    error = of_worker("out_of_memory", retryable=True)
    assert describe(error, classify(error)) == {
        "code": "out_of_memory",
        "message": "It failed.",
        "class": "resource",
        "retryable": True,
        "details": {"node_id": "3"},
    }
