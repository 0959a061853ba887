"""``comfypod …``: the commands, and how each of them ends."""

from __future__ import annotations

import sys

import typer
from typer.main import get_command_name

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

_GROUPS = (
    (jobs.app, None),
    (top.app, None),
    (inspection.app, None),
    (models.app, "models"),
    (nodes.app, "nodes"),
    (comfyui.app, "comfyui"),
    (image.app, None),
    (pod.app, None),
    (web.app, None),
    (master.app, "master"),
    (batch.app, "batch"),
    (fleet.app, "fleet"),
    (gateway.app, None),
    (discord.app, "discord"),
    (up.app, None),
    (emulate.app, "emulate"),
)
"""The commands, and the word that stands before those of a group."""


def command_line(first_word: str = "") -> typer.Typer:
    """All commands; or of those only what the first word can mean: to build all takes a tenth of a second."""
    built = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Run ComfyUI workflows on RunPod Serverless, or all of it on this machine.",
        epilog="Exit codes: 0 success, 1 network, disk or platform, 2 wrong usage or input, 3 the job failed, "
        "4 it was cancelled, 5 a deadline passed, 130 Ctrl-C.",
    )
    meant = [(group, name) for group, name in _GROUPS if first_word in _first_words(group, name)]
    for group, name in meant or _GROUPS:
        built.add_typer(group, name=name)
    return built


def _first_words(group: typer.Typer, name: str | None) -> set[str]:
    if name is not None:
        return {name}
    callbacks = [command.callback for command in group.registered_commands]
    own = {get_command_name(callback.__name__) for callback in callbacks if callback is not None}
    return own | {str(inner.name) for inner in group.registered_groups}


app = command_line()


def main() -> None:
    """Run a command; a failure ends in one sentence on stderr, and an exit code of `ExitCode`."""
    try:
        command_line(*sys.argv[1:2])()
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
