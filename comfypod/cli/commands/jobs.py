"""``comfypod run`` and what else a person does with jobs on an endpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()

_WHAT, _RESULTS, _WHERE, _SHOWN = "What to run", "Results", "Where", "What is shown"

WorkflowArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="WORKFLOW",
        help="A workflow file (ComfyUI's API format, or as its page saves it), or the name of a template.",
        show_default=False,
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, as run --detach prints it.")]
JobsArgument = Annotated[list[str], typer.Argument(metavar="JOB…", help="Ids of jobs.")]

EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint", metavar="ID", envvar="RUNPOD_ENDPOINT_ID", help="The endpoint on RunPod.", rich_help_panel=_WHERE
    ),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        envvar="RUNPOD_ENDPOINT_BASE_URL",
        help="Another address than https://api.runpod.ai/v2, such as a local RunPod's.",
        rich_help_panel=_WHERE,
    ),
]
# Hidden: a key among the options stays in the shell's history, and every process of the machine can read it.
KeyOption = Annotated[str | None, typer.Option("--api-key", envvar="RUNPOD_API_KEY", hidden=True)]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Files go to DIR/JOB/.", file_okay=False, rich_help_panel=_RESULTS
    ),
]
MaxWaitOption = Annotated[
    float | None,
    typer.Option(
        "--max-wait",
        metavar="SECONDS",
        min=0,
        help="Stop waiting after so long; the job goes on. (default: wait until it ends)",
        show_default=False,
        rich_help_panel=_RESULTS,
    ),
]
PatienceOption = Annotated[
    float,
    typer.Option(
        "--patience",
        metavar="SECONDS",
        min=0,
        help="How long a platform that is busy or away is asked again.",
        rich_help_panel=_WHERE,
    ),
]
PreviewsOption = Annotated[
    bool,
    typer.Option(
        "--previews/--no-previews",
        help="Show the picture as it forms; needs comfypod\\[previews] and a terminal that can.",
        rich_help_panel=_SHOWN,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object per event on stdout.", rich_help_panel=_SHOWN)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only results on stdout, only errors on stderr.", rich_help_panel=_SHOWN)
]

_KEY_EPILOG = "The API key comes from RUNPOD_API_KEY, or from ~/.runpod/config.toml as RunPod's own tools write it."


def _epilog(*examples: str) -> str:
    """Examples, each on a line of its own."""
    return "\n".join(["Examples:", *(f"  {example}" for example in examples), "", _KEY_EPILOG])


@app.command(
    epilog=_epilog(
        'comfypod run --local --prompt "three yellow stars on night" --seed 5',
        "comfypod run workflow_api.json --set 6.text='a fox' --file photo.png --endpoint ENDPOINT_ID",
        "comfypod run text_to_image --set steps=30 --format webp --json",
        'comfypod run --prompt "a fox" --detach',
    )
)
def run(
    workflow_argument: WorkflowArgument = None,
    workflow: Annotated[
        str | None,
        typer.Option("--workflow", metavar="WORKFLOW", help="The same as the argument.", rich_help_panel=_WHAT),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The template's text.", rich_help_panel=_WHAT)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="NUMBER",
            help="The template's seed, or every seed of a workflow of your own.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter of the template, or NODE.INPUT of any workflow; repeatable.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="A file that the workflow loads; or NAME=PATH, NAME=https://…, NAME=s3://…; repeatable.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help='A job as JSON, {"input": …}; the other options are put over it.',
            exists=True,
            dir_okay=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    timeout_seconds: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.001,
            help="The most that the job may take on the worker. (default: the worker's own limit)",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    output: OutputOption = Path("outputs"),
    image_format: Annotated[
        Literal["original", "png", "jpeg", "webp"] | None,
        typer.Option(
            "--format",
            help="Convert still pictures. (default: as the workflow saves them)",
            show_default=False,
            rich_help_panel=_RESULTS,
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the job's id and end.", rich_help_panel=_RESULTS)
    ] = False,
    max_wait_seconds: MaxWaitOption = None,
    endpoint: EndpointOption = None,
    local: Annotated[
        bool,
        typer.Option("--local", help="Start a local RunPod with one worker for this job.", rich_help_panel=_WHERE),
    ] = False,
    base_url: BaseUrlOption = None,
    patience_seconds: PatienceOption = 60.0,
    api_key: KeyOption = None,
    previews: PreviewsOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run one job, show its progress, and save what it makes.

    Ctrl-C cancels the job.
    """
    from comfypod.cli.connection import Target
    from comfypod.cli.following import Following
    from comfypod.cli.job_input import GivenJob
    from comfypod.cli.output import OutputOptions
    from comfypod.cli.run import RunOptions, run_command

    if workflow_argument is not None and workflow is not None:
        raise typer.BadParameter("give the workflow once: as the argument, or with --workflow")
    given = GivenJob(
        input_file,
        workflow_argument if workflow_argument is not None else workflow,
        prompt,
        seed,
        tuple(parameters or ()),
        tuple(files or ()),
        image_format,
        timeout_seconds,
        previews,
    )
    target = Target(endpoint, api_key, base_url, patience_seconds, local=local)
    options = RunOptions(target, Following(output, max_wait_seconds, target.arguments()), detach=detach)
    sys.exit(run_command(given, options, OutputOptions(as_json=as_json, quiet=quiet, previews=previews)))


@app.command(epilog=_epilog("comfypod status 6f1c…-u1", "comfypod status 6f1c…-u1 --json"))
def status(
    job: JobArgument,
    endpoint: EndpointOption = None,
    base_url: BaseUrlOption = None,
    patience_seconds: PatienceOption = 60.0,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say where a job stands. The exit code is 0 whatever its state."""
    from comfypod.cli.connection import Target
    from comfypod.cli.jobs import status_command
    from comfypod.cli.output import OutputOptions

    sys.exit(
        status_command(
            Target(endpoint, api_key, base_url, patience_seconds), job, OutputOptions(as_json=as_json, quiet=quiet)
        )
    )


@app.command(epilog=_epilog("comfypod wait 6f1c…-u1 --output pictures", "comfypod wait 6f1c…-u1 --max-wait 60"))
def wait(
    job: JobArgument,
    output: OutputOption = Path("outputs"),
    max_wait_seconds: MaxWaitOption = None,
    endpoint: EndpointOption = None,
    base_url: BaseUrlOption = None,
    patience_seconds: PatienceOption = 60.0,
    api_key: KeyOption = None,
    previews: PreviewsOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Follow a job to its end and save what it makes.

    The exit code is that of the job, as with run. Ctrl-C stops waiting and leaves the job alone.
    """
    from comfypod.cli.connection import Target
    from comfypod.cli.following import Following
    from comfypod.cli.jobs import wait_command
    from comfypod.cli.output import OutputOptions

    shown = OutputOptions(as_json=as_json, quiet=quiet, previews=previews)
    target = Target(endpoint, api_key, base_url, patience_seconds)
    sys.exit(wait_command(target, job, Following(output, max_wait_seconds, target.arguments()), shown))


@app.command(epilog=_epilog("comfypod cancel 6f1c…-u1 77ab…-u1"))
def cancel(
    jobs: JobsArgument,
    endpoint: EndpointOption = None,
    base_url: BaseUrlOption = None,
    patience_seconds: PatienceOption = 60.0,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Cancel jobs, waiting or running."""
    from comfypod.cli.connection import Target
    from comfypod.cli.jobs import cancel_command
    from comfypod.cli.output import OutputOptions

    sys.exit(
        cancel_command(
            Target(endpoint, api_key, base_url, patience_seconds), jobs, OutputOptions(as_json=as_json, quiet=quiet)
        )
    )


@app.command(epilog=_epilog("comfypod health --endpoint ENDPOINT_ID"))
def health(
    endpoint: EndpointOption = None,
    base_url: BaseUrlOption = None,
    patience_seconds: PatienceOption = 60.0,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Count the endpoint's jobs and workers, by state."""
    from comfypod.cli.connection import Target
    from comfypod.cli.jobs import health_command
    from comfypod.cli.output import OutputOptions

    sys.exit(
        health_command(
            Target(endpoint, api_key, base_url, patience_seconds), OutputOptions(as_json=as_json, quiet=quiet)
        )
    )
