"""Pods that are processes of this machine: for development, tests, and those who have a GPU of their own.

They survive the death of whoever started them, and are found again by a folder: one each, with what it is and what it
printed. Nothing secret is written there; the environment goes to the process alone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from comfypod.batch.documents import Offer, Pod, PodWish, PriceClass
from comfypod.batch.providers.interface import GRACE_SECONDS
from comfypod.batch.providers.names import is_of
from comfypod.batch.providers.processes import HeldProcess, ProcessIdentity
from comfypod.errors import NoCapacity, ProviderRefused, ProviderUnavailable

NAME: Final = "local"
DEFAULT_FOLDER: Final = Path(".comfypod/pods")
LOG_NAME: Final = "log"
_STATE_NAME = "pod.json"
DEFAULT_OFFER: Final = Offer(
    provider=NAME,
    gpu="this machine",
    price_class="on_demand",
    dollars_per_hour=0.0,
    memory_bytes=24 * 10**9,
    megapixel_steps_per_second=20.0,
    download_bytes_per_second=5e6,
    disk_dollars_per_gigabyte_hour=0.0,
    setup_seconds=10.0,
    load_seconds=1.0,
    patch_seconds=0.1,
    most_pods=4,
)
"""Costs nothing. The speeds are guesses, which the first run's report corrects; that of the link is low, since a pod
whose link is far slower than its offer takes itself for unfit."""


class _State(BaseModel):
    """``pod.json``: what is known of a pod."""

    model_config = ConfigDict(extra="ignore")

    name: str
    pid: int
    started: str
    started_at: float
    gpu: str
    price_class: PriceClass
    dollars_per_hour: float
    end_reason: str | None = None

    @property
    def process(self) -> ProcessIdentity:
        return ProcessIdentity(self.pid, self.started)


class LocalProvider:
    """Processes, each in a session and a folder of its own below ``folder``."""

    def __init__(
        self, folder: Path, offers: Sequence[Offer] = (DEFAULT_OFFER,), *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._folder = folder.resolve()
        self._offers = list(offers)
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """``local``."""
        return NAME

    def offers(self) -> list[Offer]:
        """What it was told that it has."""
        return list(self._offers)

    def close(self) -> None:
        """Nothing to let go of."""

    def log_file(self, pod: Pod) -> Path:
        """What a pod has printed."""
        return self._folder / pod.name / LOG_NAME

    def create(self, wish: PodWish) -> Pod:
        """Start a process; the image is not looked at.

        Raises:
            NoCapacity: there are as many as the offer allows.
            ProviderRefused: the name is none of ours.
            ProviderUnavailable: the folder cannot be written, or no process be started.
        """
        if not is_of(wish.name, wish.batch):
            raise ProviderRefused(NAME, f"{wish.name!r} is no name of a pod of batch {wish.batch!r}")
        with self._lock:
            found = self._read(wish.name)
            if found is not None:
                return self._seen(found)
            self._check_capacity(wish.offer)
            return self._seen(self._start(wish))

    def pods(self, batch: str | None = None) -> list[Pod]:
        """All whose folders are there, the ended ones too."""
        try:
            names = sorted(path.name for path in self._folder.iterdir() if is_of(path.name, batch))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ProviderUnavailable(NAME, f"{self._folder} cannot be read ({error.strerror})") from error
        with self._lock:
            states = [state for name in names if (state := self._read(name)) is not None]
            return [self._seen(state) for state in states]

    def end(self, pod: Pod) -> None:
        """End its process, and what is left of its group."""
        with self._lock:
            state = self._read(pod.name)
            if state is None or not state.process.is_alive:
                return
            self._write(state.model_copy(update={"end_reason": "terminated"}))
        state.process.end(self._grace_seconds)  # not under the lock: several may be ended at once

    def _start(self, wish: PodWish) -> _State:
        folder = self._folder / wish.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = HeldProcess(wish.command, _environment(wish), Path.cwd(), folder / LOG_NAME)
        except OSError as error:
            raise ProviderUnavailable(NAME, f"{wish.name} cannot be started ({error.strerror or error})") from error
        state = _State(
            name=wish.name,
            pid=held.identity.pid,
            started=held.identity.started,
            started_at=time.time(),
            gpu=wish.offer.gpu,
            price_class=wish.offer.price_class,
            dollars_per_hour=_price(wish),
        )
        try:
            self._write(state)
        except ProviderUnavailable:
            held.forsake()
            raise
        held.release()
        return state

    def _check_capacity(self, offer: Offer) -> None:
        running = 0
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                state = self._read(path.name) if is_of(path.name, None) else None
                running += state is not None and state.gpu == offer.gpu and state.process.is_alive
        if running >= offer.most_pods:
            raise NoCapacity(NAME, offer.gpu, f"{running} pods run, which is as many as the offer allows")

    def _seen(self, state: _State) -> Pod:
        is_alive = state.process.is_alive
        reason = None if is_alive else _end_reason(state)
        if not is_alive and state.end_reason is None and reason is not None:
            self._write(state.model_copy(update={"end_reason": reason}))
        return Pod(
            identifier=str(state.pid),
            name=state.name,
            state="ended" if not is_alive else "ending" if state.end_reason else "running",
            dollars_per_hour=state.dollars_per_hour,
            price_class=state.price_class,
            gpu=state.gpu,
            started_at=state.started_at,
            end_reason=reason,
        )

    def _read(self, name: str) -> _State | None:
        """None: there is no such pod, or it was never begun."""
        try:
            return _State.model_validate(json.loads((self._folder / name / _STATE_NAME).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as error:
            raise ProviderUnavailable(NAME, f"{self._folder / name / _STATE_NAME} cannot be read") from error

    def _write(self, state: _State) -> None:
        path = self._folder / state.name / _STATE_NAME
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_text(state.model_dump_json())
            temporary.replace(path)
        except OSError as error:
            raise ProviderUnavailable(NAME, f"{path} cannot be written ({error.strerror})") from error


def _price(wish: PodWish) -> float:
    return wish.offer.dollars_per_hour if wish.bid_dollars_per_hour is None else wish.bid_dollars_per_hour


def _environment(wish: PodWish) -> dict[str, str]:
    """Ours, without what says who we are to RunPod: a process that has that would take itself for a pod there."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")}
    return {**own, **wish.environment}


def _end_reason(state: _State) -> str:
    if state.end_reason is not None:
        return state.end_reason
    code = state.process.exit_code
    if code is None:
        return "exited"
    return f"exited with code {code}" if code >= 0 else f"killed by signal {-code}"
