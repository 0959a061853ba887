"""Where results go that do not go inline: a store that keeps nothing, or a real one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import requests

from benchmarks.rig.service import start_service
from tests.s3_server import S3Server

NAMES = ("sink", "seaweedfs")


class Store(Protocol):
    """An S3 store on this machine."""

    @property
    def settings(self) -> Mapping[str, str]:
        """A worker's that uses it."""

    def received_bytes(self) -> int:
        """How much it has taken since this was asked last."""


class Sink:
    """Takes everything at once, verifies nothing and keeps nothing (`benchmarks.rig.sink`)."""

    def __init__(self, stack: ExitStack) -> None:
        self._url = start_service(stack, "benchmarks.rig.sink").strip()
        self.settings: Mapping[str, str] = {
            "BUCKET_ENDPOINT_URL": self._url,
            "BUCKET_NAME": "outputs",
            "BUCKET_ACCESS_KEY_ID": "benchmark",
            "BUCKET_SECRET_ACCESS_KEY": "benchmark",
        }

    def received_bytes(self) -> int:
        return int(requests.get(f"{self._url}/received", timeout=5).json())


class SeaweedFS:
    """Checks signatures and writes to the disk, as a store does; its files are removed once they are counted."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._server = S3Server(folder)
        self._server.start()
        stack.callback(self._server.kill)
        self.settings: Mapping[str, str] = self._server.environment

    def received_bytes(self) -> int:
        sizes = self._server.sizes("")
        for key in sizes:
            self._server.client.delete_object(Bucket=self.settings["BUCKET_NAME"], Key=key)
        return sum(sizes.values())


def start_store(name: str, stack: ExitStack, folder: Path) -> Store:
    """The store of this name, to be ended with the stack."""
    return Sink(stack) if name == "sink" else SeaweedFS(stack, folder / "store")
