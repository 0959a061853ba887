"""Where ComfyUI's own folders are, if this machine can see them: its files are then read, written and removed directly.

Found from what ComfyUI says of its command line and its model folders (``folder_paths.py``, ``cli_args.py``), and
believed only after a file written on one side has been read on the other.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.outputs import OutputFile
from comfypod.errors import DiskFailed, ProtocolViolation
from comfypod.logs import event
from comfypod.schema.wire import as_list, as_object

PROBE_PREFIX = ".comfypod-probe-"


@dataclass(frozen=True, slots=True)
class LocalFolders:
    """ComfyUI's folders on this machine; ``models`` by kind (``checkpoints``, ``loras`` …), the preferred one first."""

    input: Path
    output: Path
    temp: Path
    models: Mapping[str, Sequence[Path]]

    def path_of(self, file: OutputFile) -> Path:
        """Where an output file lies.

        Raises:
            ProtocolViolation: its name leads out of its folder, or the folder is unknown.
        """
        folder = {"output": self.output, "temp": self.temp, "input": self.input}.get(file.type)
        if folder is not None:
            # Links are followed wherever they lead, as ComfyUI does: operators make them, workflows cannot.
            root, path = (os.path.abspath(item) for item in (folder, folder / file.subfolder / file.filename))  # noqa: PTH100
            if path.startswith(root + os.sep):
                return Path(path)
        raise ProtocolViolation("ComfyUI", f"an output file {file.subfolder}/{file.filename} of type {file.type}")


async def find_local_folders(http: ComfyUIHTTP) -> LocalFolders | None:
    """ComfyUI's folders, or None if this machine does not see them.

    Raises:
        ComfyUIUnavailable: it does not answer, so nothing is known.
        DiskFailed: the disk is full, so nothing can be found out.
    """
    system = as_object((await http.system_stats()).get("system"))
    models = _model_folders(await http.folder_paths())
    for base in _base_folders(system, models):
        folders = _folders_below(base, [str(item) for item in as_list(system.get("argv"))], models)
        if await _are_the_same(http, folders):
            return folders
    return None


def _model_folders(answer: Mapping[str, Any]) -> dict[str, list[Path]]:
    return {kind: [Path(str(path)) for path in as_list(paths)] for kind, paths in answer.items()}


def _base_folders(system: Mapping[str, Any], models: Mapping[str, Sequence[Path]]) -> Iterator[Path]:
    """What may be the folder that holds ``input``, ``output`` and ``temp``."""
    arguments = [str(item) for item in as_list(system.get("argv"))]
    if given := _option(arguments, "--base-directory"):
        yield Path(given)
        return
    yield from (path.parent for path in models.get("custom_nodes", ()))
    if arguments:
        yield Path(arguments[0]).parent


def _folders_below(base: Path, arguments: Sequence[str], models: Mapping[str, Sequence[Path]]) -> LocalFolders:
    # ComfyUI makes a folder "temp" in the one that is given (main.py).
    temp = _option(arguments, "--temp-directory")
    return LocalFolders(
        input=Path(_option(arguments, "--input-directory") or base / "input"),
        output=Path(_option(arguments, "--output-directory") or base / "output"),
        temp=Path(temp) / "temp" if temp else base / "temp",
        models=models,
    )


def _option(arguments: Sequence[str], name: str) -> str | None:
    """The value of ``name VALUE`` or ``name=VALUE``; the last one counts."""
    value = None
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            value = arguments[index + 1]
        elif argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
    return value


async def _are_the_same(http: ComfyUIHTTP, folders: LocalFolders) -> bool:
    """Whether what is written into these folders is what ComfyUI reads in its own."""
    for kind, folder in (("input", folders.input), ("output", folders.output), ("temp", folders.temp)):
        probe = folder / f"{PROBE_PREFIX}{secrets.token_hex(8)}"
        content = secrets.token_bytes(16)
        try:
            if kind == "temp":
                folder.mkdir(exist_ok=True)  # ComfyUI makes it when it is needed
            probe.write_bytes(content)
            seen = await http.read_all(OutputFile("", 0, probe.name, "", kind))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFailed(f"a file in {folder}", os.strerror(error.errno)) from error
            return False
        except ProtocolViolation as error:  # it has no such file
            event("comfyui_folder_not_shared", folder=folder, cause=error)
            return False
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        if seen != content:
            return False
    return True
