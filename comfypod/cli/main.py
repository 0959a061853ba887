"""``comfypod …``: the commands, and how each of them ends."""

from __future__ import annotations

import sys

import typer

from comfypod.cli.commands import emulate, inspection, jobs, models
from comfypod.cli.display import printable
from comfypod.errors import ComfyPodError, ConfigurationError, JobFailed

_EMULATORS_LIBRARIES = ("aiohttp", "numpy", "PIL")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run ComfyUI workflows on RunPod Serverless, or all of it on this machine.",
)
app.add_typer(jobs.app)
app.add_typer(inspection.app)
app.add_typer(models.app, name="models")
app.add_typer(emulate.app, name="emulate")


def main() -> None:
    """Run a command; a failure ends in one sentence on stderr and exit code 1."""
    try:
        app()
    except ComfyPodError as error:
        sys.exit(_last_word(error))
    except ModuleNotFoundError as error:
        if error.name not in _EMULATORS_LIBRARIES:
            raise
        missing = f"This command needs {error.name}: pip install 'comfypod[emulator]'."
        sys.exit(_last_word(ConfigurationError([missing])))


def _last_word(error: ComfyPodError) -> int:
    # Of a job that failed on the worker, the worker's code says more than ours.
    code = error.output.get("code", error.code) if isinstance(error, JobFailed) else error.code
    print(f"{printable(str(code))}: {printable(str(error))}", file=sys.stderr)
    return 1
