"""``comfypod run``: one job, from its input to its files."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from dataclasses import dataclass

from comfypod.cli.connection import Target, connected
from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.following import Check, Following, follow, way_on, with_way_on
from comfypod.cli.job_input import GivenJob, JobRequest, make_request
from comfypod.cli.output import Output, OutputOptions, reporting, tell_failure
from comfypod.cli.output_choice import make_output
from comfypod.cli.printing import write_error
from comfypod.cloud.client import Client, Job
from comfypod.errors import ComfyPodError, ConfigurationError


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where the job goes, how its results are received, and whether they are (``detach``: they are not)."""

    target: Target
    following: Following
    detach: bool = False


def run_command(given: GivenJob, options: RunOptions, shown: OutputOptions) -> ExitCode:
    """Run the job and return the exit code.

    Ctrl-C cancels the job; a second one gives up at once.
    """
    with reporting(make_output(shown)) as output:
        if options.detach and options.target.local:
            raise ConfigurationError(["--detach needs an endpoint: a local RunPod ends with the command."])
        request = make_request(given, output.note)
        try:
            with connected(options.target, output) as (client, check):
                return _run(client, check, request, options, output)
        except KeyboardInterrupt:
            output.note("Interrupted.")
            return ExitCode.INTERRUPTED


def _run(client: Client, check: Check, request: JobRequest, options: RunOptions, output: Output) -> ExitCode:
    job = _submit(client, request, options, output)
    try:
        # A local RunPod ends with the command, and its jobs with it.
        with nullcontext() if options.target.local else with_way_on(job, options.following):
            output.submitted(job.latest, detached=options.detach)
            if options.detach:
                output.note(way_on(job, options.following))
            else:
                follow(job, output, options.following, check)
    except KeyboardInterrupt:
        if not job.latest.state.is_final:
            _cancel(job, options, output)
        elif not options.target.local:
            output.note(way_on(job, options.following))
        return ExitCode.INTERRUPTED
    return ExitCode.SUCCESS


def _submit(client: Client, request: JobRequest, options: RunOptions, output: Output) -> Job:
    """Submit the job; if Ctrl-C comes before RunPod has answered, look for the job, and cancel it."""
    key = request.job_input.setdefault("idempotency_key", uuid.uuid4().hex)
    try:
        return client.submit_input(request.job_input, **request.beside)
    except KeyboardInterrupt:
        output.note(f"Interrupted while submitting; asking RunPod whether it has the job (idempotency key {key}) …")
        _cancel_if_there(client, key, options, output)
        raise


def _cancel_if_there(client: Client, key: str, options: RunOptions, output: Output) -> None:
    try:
        job = client.find(key)
    except ComfyPodError as error:
        write_error(f"RunPod may have the job, and could not be asked ({error}).")
        return
    if job is None:
        output.note("It lists no such job.")
    else:
        _cancel(job, options, output)


def _cancel(job: Job, options: RunOptions, output: Output) -> None:
    """Cancel after Ctrl-C; a second one gives up, and says so."""
    command = f"comfypod cancel {job.id}{options.target.arguments()}"
    try:
        output.note(f"Cancelling job {job.id} … (Ctrl-C again: give up at once)")
        output.cancelled(job.cancel())
    except KeyboardInterrupt:
        write_error(f"Given up; job {job.id} may go on. To cancel it: {command}")
    except ComfyPodError as error:
        write_error(f"Job {job.id} could not be cancelled ({error}). To try again: {command}")
        tell_failure(output, error, job.id)
