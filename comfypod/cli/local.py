"""A local RunPod for as long as one command needs it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from comfypod.cli.services import Service

EARLY_END = "worker_ended_early"
"""What it logs when a worker was of no use; it then starts another."""
EARLY_ENDS_ALLOWED = 1


class LocalEndpoint(Service):
    """A local RunPod, started as a child; its output goes to ``log_file``.

    ``settings`` are its workers', over those of the environment; there are up to ``workers`` of them, as jobs need.
    """

    endpoint_id = "local"

    def __init__(self, log_file: Path, settings: Mapping[str, str] = MappingProxyType({}), workers: int = 1) -> None:
        self.api_key = secrets.token_urlsafe(24)
        self._early_ends = 0
        environment = {
            "PROGRESS_INTERVAL_SECONDS": "0.2",  # nobody else uses this endpoint, and somebody is watching
            **os.environ,
            **settings,
            "COMFYPOD_LOCAL_API_KEY": self.api_key,
        }
        arguments = ["emulate", "runpod", "--port", "0", "--endpoint", self.endpoint_id]
        arguments += ["--max-workers", str(workers)] if workers > 1 else []
        super().__init__("the local RunPod", arguments, environment, log_file)

    def notice(self, line: str) -> None:
        """Count the workers that were of no use."""
        if EARLY_END in line:
            self._early_ends += 1

    def base_url(self) -> str:
        """Its address, once it serves.

        Raises:
            CloudUnavailable: it does not.
        """
        return self.address()

    def check(self) -> None:
        """Raise `CloudUnavailable` if its worker does not start: the job would wait for ever."""
        if self._early_ends > EARLY_ENDS_ALLOWED:
            raise self.failure("its worker does not start")


@contextmanager
def local_endpoint(log_file: Path = Path(".comfypod/local.log")) -> Iterator[LocalEndpoint]:
    """A local RunPod for as long as the body runs."""
    endpoint = LocalEndpoint(log_file)
    try:
        yield endpoint
    finally:
        endpoint.stop()
