"""How a command ends: the exit codes, and which failure ends in which. See ``docs/reference/command-line.md``."""

from __future__ import annotations

from enum import IntEnum

from comfypod.errors import (
    AuthenticationFailed,
    ComfyPodError,
    ConfigurationError,
    DeadlineExceeded,
    DiscordTokenRefused,
    EndpointNotFound,
    InputError,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    RequestRefused,
)


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    SUCCESS = 0
    FAILURE = 1  # ours: network, disk, platform
    USAGE = 2  # what was asked for cannot be asked for: options, input, configuration, key
    JOB_FAILED = 3
    JOB_CANCELLED = 4
    TIMED_OUT = 5  # a deadline: the job's, the platform's, or that of waiting
    INTERRUPTED = 130  # Ctrl-C, as shells have it (128 + SIGINT)


# The first that fits counts. A failed job may be of the worker's own class, too (an `InputError`, say): it failed.
_EXIT_CODES: tuple[tuple[type[ComfyPodError], ExitCode], ...] = (
    (DeadlineExceeded, ExitCode.TIMED_OUT),
    (JobTimedOut, ExitCode.TIMED_OUT),
    (JobCancelled, ExitCode.JOB_CANCELLED),
    (JobFailed, ExitCode.JOB_FAILED),
    (ConfigurationError, ExitCode.USAGE),
    (InputError, ExitCode.USAGE),
    (AuthenticationFailed, ExitCode.USAGE),
    (DiscordTokenRefused, ExitCode.USAGE),
    (EndpointNotFound, ExitCode.USAGE),
    (RequestRefused, ExitCode.USAGE),
    (ComfyPodError, ExitCode.FAILURE),
)


def code_of(error: ComfyPodError) -> str:
    """The error's code; of a job that failed on the worker the worker's own, which says more than ours."""
    return str(error.output.get("code", error.code)) if isinstance(error, JobFailed) else error.code


def exit_code_of(error: ComfyPodError) -> ExitCode:
    """The exit code of a command that this error ends."""
    return next(exit_code for kind, exit_code in _EXIT_CODES if isinstance(error, kind))
