"""``comfypod status``, ``wait``, ``cancel`` and ``health``: what is done with jobs that are there already."""

from __future__ import annotations

from collections.abc import Sequence

from comfypod.cli.connection import Target, connected
from comfypod.cli.exit_codes import ExitCode, code_of, exit_code_of
from comfypod.cli.following import Following, follow, way_on, with_way_on
from comfypod.cli.output import OutputOptions, reporting, tell_failure
from comfypod.cli.output_choice import make_output
from comfypod.cli.printing import write_error
from comfypod.errors import ComfyPodError


def status_command(target: Target, job_id: str, shown: OutputOptions) -> ExitCode:
    """Tell where a job stands; success if that could be told, whatever its state."""
    with reporting(make_output(shown)) as output, connected(target, output) as (client, _):
        output.status(client.job(job_id).status())
    return ExitCode.SUCCESS


def wait_command(target: Target, job_id: str, following: Following, shown: OutputOptions) -> ExitCode:
    """Follow a job to its end and save what it made; Ctrl-C stops waiting, and leaves the job alone."""
    with reporting(make_output(shown)) as output, connected(target, output) as (client, check):
        job = client.job(job_id)
        try:
            with with_way_on(job, following):
                follow(job, output, following, check)
        except KeyboardInterrupt:
            output.note(f"Stopped waiting. {way_on(job, following)}")
            return ExitCode.INTERRUPTED
    return ExitCode.SUCCESS


def cancel_command(target: Target, job_ids: Sequence[str], shown: OutputOptions) -> ExitCode:
    """Cancel jobs, each of them whatever becomes of the others; the first failure's exit code."""
    exit_codes: list[ExitCode] = []
    with reporting(make_output(shown)) as output, connected(target, output) as (client, _):
        for job_id in job_ids:
            try:
                output.cancelled(client.job(job_id).cancel())
            except ComfyPodError as error:
                write_error(f"{code_of(error)}: {error}")
                tell_failure(output, error, job_id)
                exit_codes.append(exit_code_of(error))
    return exit_codes[0] if exit_codes else ExitCode.SUCCESS


def health_command(target: Target, shown: OutputOptions) -> ExitCode:
    """Tell how many jobs and workers the endpoint has, by state."""
    with reporting(make_output(shown)) as output, connected(target, output) as (client, _):
        output.health(client.health())
    return ExitCode.SUCCESS
