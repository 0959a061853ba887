"""A ComfyUI's command as its operator gives it: its words, and the port that it names. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import pairwise

from comfypod.errors import ConfigurationError

LARGEST_PORT = 65_535


def split_command(text: str) -> list[str]:
    """The words of COMFYUI_COMMAND, as a shell reads them.

    Raises:
        ConfigurationError: a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigurationError([f"COMFYUI_COMMAND cannot be read as in a shell: {error}."]) from error


def named_port(arguments: Sequence[str]) -> int | None:
    """The port in ``--port N`` or ``--port=N``, of several the last, as ComfyUI reads them; None: it names none.

    Raises:
        ConfigurationError: it names one that is none.
    """
    named: str | None = None
    for argument, following in pairwise([*arguments, ""]):
        name, sign, value = argument.partition("=")
        if name == "--port":
            named = value if sign else following
    if named is None:
        return None
    port = parse_port(named)
    if port is None:
        raise ConfigurationError([f"COMFYUI_COMMAND: --port {named!r} is not a port."])
    return port


def parse_port(text: str) -> int | None:
    """``8188`` as 8188; None if no server can be reached there."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_PORT))
    return int(text) if is_number and 1 <= int(text) <= LARGEST_PORT else None
