"""A running ComfyUI as its clients see it: an address, and what is known of the life behind it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from comfypod.deadline import Deadline
from comfypod.errors import ComfyUIUnavailable
from comfypod.logs import event


class Server(Protocol):
    """One ComfyUI, from its start to its end; after a restart there is another."""

    @property
    def url(self) -> str:
        """Where it answers."""

    @property
    def is_own(self) -> bool:
        """Whether nobody else uses it."""

    @property
    def failed_imports(self) -> Mapping[str, str]:
        """Custom node packs that failed to import, and why."""

    @property
    def last_output(self) -> float:
        """The moment (monotonic seconds) of its newest log line; 0 if its log cannot be seen."""

    def death(self, phase: str) -> ComfyUIUnavailable | None:
        """Why it is no longer there, as an error of ``phase``; None while it lives, as far as can be known."""

    def condemn(self, reason: str) -> None:
        """It must not be used any more: it hangs, or its GPU is broken. Returns at once; `death` holds from now on."""


class ServerSource(Protocol):
    """Where a worker gets its ComfyUI from."""

    @property
    def refresh_reason(self) -> str | None:
        """Why the platform should replace this worker; None while there is no reason."""

    async def ready(self, deadline: Deadline) -> Server:
        """A ComfyUI that works.

        Raises:
            ComfyUIUnavailable: there is none, and waiting longer does not help.
            DeadlineExceeded: there is none yet.
        """


class RemoteServer:
    """A ComfyUI that somebody else runs at ``url``: it can be used and not be restarted. Its own `ServerSource`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.is_own = False
        self.failed_imports: Mapping[str, str] = {}
        self.last_output = 0.0
        self.refresh_reason: str | None = None

    async def ready(self, deadline: Deadline) -> Server:
        """Itself; whether it answers shows when it is used."""
        deadline.check("start")
        return self

    def death(self, phase: str) -> ComfyUIUnavailable | None:
        """Never known."""
        del phase
        return None

    def condemn(self, reason: str) -> None:
        """Say so, and ask for another worker; all else is in the hands of who runs it."""
        self.refresh_reason = reason
        event("comfyui_condemned", logging.ERROR, url=self.url, reason=reason)
