"""Where jobs go: an endpoint on RunPod, or a local RunPod that is started for the command."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from comfypod.cli.following import Check
from comfypod.cli.output import Output
from comfypod.cloud.client import Client
from comfypod.cloud.configuration import ENDPOINT_VARIABLE, URL_VARIABLE
from comfypod.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Target:
    """What the options say; what they leave out comes from the environment, or RunPod's own configuration file."""

    endpoint_id: str | None = None
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    patience_seconds: float = 60.0
    local: bool = False

    def arguments(self) -> str:
        """The options by which another command finds the same endpoint, where the environment does not name it."""
        given = (("--endpoint", self.endpoint_id, ENDPOINT_VARIABLE), ("--base-url", self.base_url, URL_VARIABLE))
        return "".join(
            f" {option} {shlex.quote(value)}"
            for option, value, variable in given
            if value and os.environ.get(variable) != value
        )


@contextmanager
def connected(target: Target, output: Output) -> Iterator[tuple[Client, Check]]:
    """A client for as long as the body runs.

    Raises:
        ConfigurationError: it is not said where, or there is no key.
        CloudUnavailable: the local RunPod does not start.
    """
    if target.local:
        from comfypod.cli.local import local_endpoint  # noqa: PLC0415 (most commands need it not)

        with local_endpoint() as local:
            output.note(f"Starting a local RunPod with one worker (log: {local.log_file})")
            with Client(local.endpoint_id, local.api_key, local.base_url()) as client:
                yield client, local.check
        return
    if not target.endpoint_id:
        raise ConfigurationError(
            ["Say where: --endpoint ID (or RUNPOD_ENDPOINT_ID) for one on RunPod; with --local, run and web need none."]
        )
    with Client(
        target.endpoint_id, target.api_key, target.base_url, patience_seconds=target.patience_seconds
    ) as client:
        yield client, lambda: None
