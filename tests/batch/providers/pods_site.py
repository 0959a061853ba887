"""The emulator of pods in a thread of its own, for code that calls it and waits; and what tests ask of pods."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from comfypod.batch.documents import Offer, PodWish
from comfypod.batch.providers.names import PodName
from comfypod.cloud.pods.account import Account
from comfypod.emulator.pods.emulator import PodsEmulator
from comfypod.emulator.pods.faults import PodFault
from comfypod.emulator.pods.host import HostOptions
from comfypod.emulator.pods.market import Stock

A4000, A40 = "NVIDIA RTX A4000", "NVIDIA A40"
PATIENCE_SECONDS = 30.0
# Says that it began, and that it was told to end; then it does, or, with "stubborn", does not.
PROGRAM = """
import os, pathlib, signal, sys, time
folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
def end(*_):
    (folder / "told").touch()
    if kind != "stubborn":
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
(folder / "environment").write_text(repr(dict(os.environ)))
(folder / "begun").write_text(str(os.getpid()))
time.sleep(0 if kind == "short" else 600)
"""


def offer(gpu: str = A4000, price_class: Any = "on_demand", dollars: float = 0.17, **changes: Any) -> Offer:
    return Offer(
        **{
            "provider": "runpod",
            "gpu": gpu,
            "price_class": price_class,
            "dollars_per_hour": dollars,
            "memory_bytes": 16 * 10**9,
            "megapixel_steps_per_second": 4.0,
            "download_bytes_per_second": 1e8,
            **changes,
        }
    )


def wish(
    folder: Path, wanted: Offer, *, number: int = 0, generation: int = 0, kind: str = "", **changes: Any
) -> PodWish:
    folder.mkdir(exist_ok=True)
    return PodWish(
        batch="b1",
        number=number,
        name=str(PodName("b1", number, generation)),
        offer=wanted,
        image="registry/image:1",
        command=(sys.executable, "-c", PROGRAM, str(folder), kind),
        environment={"COMFYPOD_BATCH_TOKEN": "secret", "GREETING": 'a "b"\n$c'},
        disk_bytes=20 * 10**9,
        **changes,
    )


def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    ends_at = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends_at, "waited in vain"
        time.sleep(0.02)
    return found


class PodsSite:
    """A context manager: the emulator, while its body runs."""

    def __init__(self, faults: Iterable[str] = (), **options: Any) -> None:
        market = {A4000: Stock(A4000, 16, 2, 0.17, 0.09), A40: Stock(A40, 48, 1, 0.35, 0.20)}
        options = {"market": market, "start_seconds": 0.05, "restart_seconds": 0.05, **options}
        self.emulator = PodsEmulator("key", HostOptions(**options), [PodFault.parse(spec) for spec in faults])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self.call(self.emulator.start())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call(self.emulator.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def account(self) -> Account:
        return Account(self.emulator.url, "key")

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    def send(self, method: str, path: str, document: Any = None, key: str = "Bearer key") -> tuple[int, Any]:
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.emulator.url + path, body, {"Authorization": key}, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:  # noqa: S310
                text = response.read()
                return response.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def strike(self, pod: str, event: str) -> None:
        status, answer = self.send("POST", f"/emulator/pods/{pod}", {"event": event})
        assert status == 200, answer

    def plan(self, *specs: str) -> None:
        assert self.send("POST", "/emulator/faults", {"faults": specs})[0] == 200

    def pods(self) -> list[dict[str, Any]]:
        """All there ever were."""
        return self.send("GET", "/emulator/state")[1]["pods"]
