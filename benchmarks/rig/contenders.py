"""Who takes part: our worker, the floor, the smallest handlers, and any other by a command and an environment. Pure."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_OURS = re.compile(r"comfypod(?:@([1-9][0-9]?))?")
_SDK = re.compile(r"sdk-([1-9][0-9]?)")
_MODULE = [sys.executable, "-m"]
ROOT = Path(__file__).resolve().parents[2]
OURS = (sys.executable, "rp_handler.py")


@dataclass(frozen=True)
class Contender:
    """A worker: how it is started.

    ``starts_comfyui``: it starts its own by COMFYUI_COMMAND, as ours does; else the benchmark starts one for it, at
    ``comfyui_port`` or a free port, and says where in COMFYUI_URL and COMFYUI_OUTPUT_DIRECTORY. ``folder`` is where it
    is started.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    starts_comfyui: bool = False
    comfyui_port: int | None = None
    folder: Path = ROOT


def known(name: str) -> Contender | None:
    """``comfypod``, ``comfypod@6`` (WORKER_CONCURRENCY=6), ``floor``, ``sdk-2`` (concurrency 2); else None."""
    if match := _OURS.fullmatch(name):
        environment = {"WORKER_CONCURRENCY": match[1]} if match[1] else {}
        return Contender(name, OURS, environment, starts_comfyui=True)
    if match := _SDK.fullmatch(name):
        return Contender(name, [*_MODULE, "benchmarks.contenders.smallest"], {"CONCURRENCY": match[1]})
    return Contender(name, [*_MODULE, "benchmarks.contenders.floor"]) if name == "floor" else None


def read_contenders(
    names: str,
    *,
    checkouts: Sequence[str] = (),
    workers: Sequence[str] = (),
    environment: Sequence[str] = (),
    ports: Sequence[str] = (),
) -> list[Contender]:
    """From the command line: names, ``NAME=FOLDER``, ``NAME=COMMAND``, ``NAME:KEY=VALUE`` and ``NAME=PORT``.

    Raises:
        ValueError: one of them is not in its form, or names a contender that there is not.
    """
    found: dict[str, Contender] = {}
    for name in filter(None, names.split(",")):
        contender = known(name)
        if contender is None:
            raise ValueError(f"There is no contender {name!r}; there are comfypod, comfypod@6, floor, sdk-1.")
        found[name] = contender
    for text in checkouts:
        name, folder = _pair(text, "=", "NAME=FOLDER")
        found[name] = Contender(name, OURS, starts_comfyui=True, folder=Path(folder).resolve())
    for text in workers:
        name, command = _pair(text, "=", "NAME=COMMAND")
        found[name] = Contender(name, shlex.split(command))
    for text in environment:
        name, rest = _pair(text, ":", "NAME:KEY=VALUE")
        key, value = _pair(rest, "=", "NAME:KEY=VALUE")
        contender = _one_of(found, name)
        found[name] = replace(contender, environment={**contender.environment, key: value})
    for text in ports:
        name, port = _pair(text, "=", "NAME=PORT")
        found[name] = replace(_one_of(found, name), comfyui_port=int(port))
    return list(found.values())


def _pair(text: str, separator: str, form: str) -> tuple[str, str]:
    name, found, rest = text.partition(separator)
    if not found or not name:
        raise ValueError(f"{text!r} is not in the form {form}.")
    return name, rest


def _one_of(found: Mapping[str, Contender], name: str) -> Contender:
    if name not in found:
        raise ValueError(f"There is no contender {name!r}; there are {', '.join(found) or 'none'}.")
    return found[name]
