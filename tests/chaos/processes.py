"""Processes that die and are started again, all of them from one that has loaded what they need.

They are forked from a server without threads (``multiprocessing``'s forkserver), so that a start costs milliseconds:
with two seconds of imports for each, a run would mostly wait for its masters. SIGKILL means the same to a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOADED = ("tests.chaos.entries", "comfypod.cli.main", "comfypod.cli.master")
STOP_SECONDS = 20.0
MOST_PAUSE_SECONDS = 0.5
Target = Callable[..., None]


@dataclass(slots=True)
class Role:
    """A process by its name; ``starts`` counts its lives."""

    name: str
    target: Target
    arguments: tuple[object, ...]
    process: BaseProcess | None = None
    starts: int = 0
    away_until: float = 0.0


class Processes:
    """Keeps its roles alive. ``crashes`` are ends that nobody caused; what the processes print is in ``NAME.log``."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._random = random.Random(seed)  # noqa: S311 (to be repeatable)
        self._roles: list[Role] = []
        self.crashes: list[str] = []

    def add(self, name: str, target: Target, *arguments: object) -> None:
        """Start another one, and keep it alive from now on."""
        role = Role(name, target, arguments)
        self._roles.append(role)
        self._start(role)

    def keep_alive(self) -> None:
        """Start again what has died, after a moment; call it many times a second."""
        for role in self._roles:
            if role.process is not None and not role.process.is_alive():
                self._note_end(role)
                pause_seconds = self._random.uniform(0, MOST_PAUSE_SECONDS)
                role.away_until = max(role.away_until, time.monotonic() + pause_seconds)
            if role.process is None and time.monotonic() >= role.away_until:
                self._start(role)

    def kill(self, prefix: str, away_seconds: float = 0.0) -> str | None:
        """SIGKILL one of the living whose name begins so, wherever it is; its name.

        It is started again after a moment, or not before ``away_seconds`` have passed.
        """
        living = [role for role in self._roles if role.name.startswith(prefix) and _is_alive(role)]
        if not living:
            return None
        role = self._random.choice(living)
        role.away_until = time.monotonic() + away_seconds
        if role.process is not None:
            role.process.kill()
        return role.name

    def process_ids(self, prefix: str) -> list[int]:
        """Of the living whose name begins so."""
        processes = [role.process for role in self._roles if role.name.startswith(prefix) and _is_alive(role)]
        return [process.pid for process in processes if process is not None and process.pid is not None]

    def stop(self) -> None:
        """SIGTERM; what does not end by itself, or with another code than 0, is a crash."""
        for role in self._roles:
            if role.process is not None:
                role.process.terminate()
        end = time.monotonic() + STOP_SECONDS
        for role in self._roles:
            if role.process is None:
                continue
            role.process.join(max(0.0, end - time.monotonic()))
            if role.process.is_alive():
                self.crashes.append(f"{role.name} did not end within {STOP_SECONDS:g} s of SIGTERM")
                role.process.kill()
                role.process.join()
            self._note_end(role)

    def _start(self, role: Role) -> None:
        role.starts += 1
        log = str(self._folder / f"{role.name}.log")
        role.process = self._context.Process(
            target=live, args=(log, role.target, *role.arguments), name=f"{role.name}-{role.starts}"
        )
        role.process.start()

    def _note_end(self, role: Role) -> None:
        if role.process is None:
            return
        if role.process.exitcode not in (0, -signal.SIGKILL, -signal.SIGTERM):
            self.crashes.append(f"{role.process.name} ended with code {role.process.exitcode}")
        role.process.close()
        role.process = None


def _is_alive(role: Role) -> bool:
    return role.process is not None and role.process.is_alive()


def live(log: str, target: Target, *arguments: object) -> None:
    """The life of a process; in vain if its parent is gone."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target(*arguments)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
