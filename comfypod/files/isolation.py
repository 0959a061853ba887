"""Looking into files in a process of its own, with little memory, little time and no secrets.

A file of 650 bytes can make libav take 2.9 GB (an MP4 that claims 80 million samples), and one of 64 MiB keeps Pillow
busy for minutes (a GIF with a long comment); a fault in one of their native parsers ends the process it is in. None of
this may be the worker's. It costs 60 to 120 ms a file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOOK_SECONDS = 20.0
"""How long looking into a file may take; about a hundred times what an ordinary one needs."""

_ROOT = Path(__file__).resolve().parents[2]


class FileRefused(Exception):
    """A file cannot be used, or not as what it is said to be; the message is a clause: "is a broken picture"."""


class HoldsSomethingElse(FileRefused):
    """It is of another kind than it is said to be."""


def run_isolated(operation: str, *arguments: str | int | None, timeout_seconds: float = LOOK_SECONDS) -> Any:  # noqa: ANN401
    """The result (JSON) of one of `child_process`'s operations.

    Raises:
        FileRefused: the operation says so; or it ended otherwise than with a result, or not in time.
        HoldsSomethingElse: the operation says so.
    """
    command = [sys.executable, "-s", "-m", "comfypod.files.child_process"]
    limits = [str(round(timeout_seconds)), operation, json.dumps(arguments)]
    try:
        done = subprocess.run(  # noqa: S603 (our own module; the file's name is an argument, and no shell reads it)
            [*command, *limits],
            cwd=_ROOT,  # where `-m` looks for the package first
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FileRefused(f"takes longer than {timeout_seconds:g} s to look into") from error
    return _result(done)


def _result(done: subprocess.CompletedProcess[bytes]) -> Any:  # noqa: ANN401
    try:
        answer = json.loads(done.stdout) if done.returncode == 0 else {}
    except ValueError:  # a native library printed something of its own
        answer = {}
    if "refused" in answer:
        raise (HoldsSomethingElse if answer["something_else"] else FileRefused)(answer["refused"])
    if "result" not in answer:
        raise FileRefused("cannot be read: it makes the library that reads such files fail")
    return answer["result"]
