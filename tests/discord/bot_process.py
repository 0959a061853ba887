"""The bot as its users start it: a process, which can be killed at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.discord.stage import LEASE_SECONDS, Stage

START_SECONDS = 60


class CommandProcess:
    """``comfypod ARGUMENTS``, which says ``ready`` when it serves."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._arguments = arguments
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def start(self, *, waits: bool = True, **environment: str) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "comfypod", *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self._environment, **environment},
            cwd=Path(__file__).parents[2],
        )
        self._reading = asyncio.create_task(self._read())
        if waits:
            async with asyncio.timeout(START_SECONDS):
                await self._ready.wait()
            assert self._process.returncode is None, self.lines
        return self

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip())
            if self.lines[-1].startswith("ready "):
                self._ready.set()
        self._ready.set()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL: it does nothing more."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def end(self) -> None:
        """Whatever it does."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def wait(self, seconds: float = 30) -> int:
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(seconds):
            await self._reading
            return await self._process.wait()


class BotProcess(CommandProcess):
    """``comfypod discord run``."""

    def __init__(self, stage: Stage, database_url: str, *arguments: str) -> None:
        command = [
            *("discord", "run", "--database", database_url, "--templates", str(stage.templates)),
            *("--discord-url", stage.discord.url, "--lease-seconds", str(LEASE_SECONDS), *arguments),
        ]
        super().__init__(command, {**stage.environment, "DISCORD_TOKEN": stage.discord.token})
