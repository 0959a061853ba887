"""``comfypod …``: the commands, and how each of them ends."""

from __future__ import annotations

import sys

import typer

from comfypod.cli.commands import (
    batch,
    comfyui,
    discord,
    emulate,
    fleet,
    gateway,
    image,
    inspection,
    jobs,
    master,
    models,
    nodes,
    pod,
    top,
    up,
    web,
)
from comfypod.cli.exit_codes import ExitCode, code_of, exit_code_of
from comfypod.cli.printing import write_error
from comfypod.errors import ComfyPodError, ConfigurationError

_EXTRAS = {
    "numpy": "emulator",
    "aiohttp": "emulator",
    "PIL": "emulator",
    "tomlkit": "worker",
    "packaging": "worker",
    "dbos": "master",
    "sqlalchemy": "master",
    "psycopg": "master",
    "obstore": "master",
    "blake3": "master",
    "discord": "discord",
    "simpy": "batch",
}
"""Libraries that a client's machine need not have, and the extra that brings each."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run ComfyUI workflows on RunPod Serverless, or all of it on this machine.",
    epilog="Exit codes: 0 success, 1 network, disk or platform, 2 wrong usage or input, 3 the job failed, "
    "4 it was cancelled, 5 a deadline passed, 130 Ctrl-C.",
)
app.add_typer(jobs.app)
app.add_typer(top.app)
app.add_typer(inspection.app)
app.add_typer(models.app, name="models")
app.add_typer(nodes.app, name="nodes")
app.add_typer(comfyui.app, name="comfyui")
app.add_typer(image.app)
app.add_typer(pod.app)
app.add_typer(web.app)
app.add_typer(master.app, name="master")
app.add_typer(batch.app, name="batch")
app.add_typer(fleet.app, name="fleet")
app.add_typer(gateway.app)
app.add_typer(discord.app, name="discord")
app.add_typer(up.app)
app.add_typer(emulate.app, name="emulate")


def main() -> None:
    """Run a command; a failure ends in one sentence on stderr, and an exit code of `ExitCode`."""
    try:
        app()
    except ComfyPodError as error:
        sys.exit(_last_word(error))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        missing = f"This command needs {error.name}: pip install 'comfypod[{_EXTRAS[error.name]}]'."
        sys.exit(_last_word(ConfigurationError([missing])))


def _last_word(error: ComfyPodError) -> ExitCode:
    write_error(f"{code_of(error)}: {error}")
    return exit_code_of(error)
