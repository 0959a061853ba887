"""Whether this machine will do, found out in seconds, before it costs more: its GPU, its disk, its link."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfypod.batch.documents import Asset, Condition, Offer
from comfypod.errors import ConfigurationError, PodUnfit
from comfypod.storage.models.progress import format_bytes
from comfypod.worker.gpu import DriverQuestion

GATE_SECONDS: Final = 20.0
PROBE_BYTES: Final = 64 * 1024**2
PROBE_SECONDS: Final = 3.0
LEAST_WRITE_BYTES_PER_SECOND: Final = 10 * 10**6
"""A network volume's worst; below it a checkpoint of 7 GB takes more than ten minutes to be written."""
SPARE_BYTES: Final = 2 * 10**9
"""Besides the models: results that wait, ComfyUI's temporary files."""
LEAST_SHARE_OF_MEMORY: Final = 0.9
"""Of the GPU's memory as offered: what a card has is told in GiB, GB, or less what its error correction takes."""
LEAST_SHARE_OF_LINK: Final = 0.4
LINK_SECONDS: Final = 10.0
_BLOCK: Final = os.urandom(1024**2)
"""Random, lest a file system makes it smaller."""


async def examine(folder: Path) -> Condition:
    """What this machine has; ``folder`` is on the disk that the batch uses, and exists.

    Raises:
        PodUnfit: the disk or the driver does not work, or does not answer in time.
    """
    try:
        async with asyncio.timeout(GATE_SECONDS):
            gpu, disk = await asyncio.gather(asyncio.to_thread(_ask_gpu), asyncio.to_thread(_probe_disk, folder))
    except TimeoutError as error:
        raise PodUnfit(f"its disk or its driver did not answer within {GATE_SECONDS:g} s") from error
    except OSError as error:
        raise PodUnfit(f"its disk cannot be written to ({error.strerror})") from error
    return Condition(
        gpu=gpu[0],
        gpu_memory_bytes=gpu[1],
        free_disk_bytes=disk[0],
        disk_write_bytes_per_second=disk[1],
        download_bytes_per_second=None,
    )


def check(condition: Condition, offer: Offer | None, missing: Sequence[Asset]) -> None:
    """See that the machine will do; ``missing`` are the assets that are to be fetched yet.

    Raises:
        PodUnfit: why it will not.
    """
    speed = condition.disk_write_bytes_per_second
    if speed < LEAST_WRITE_BYTES_PER_SECOND:
        raise PodUnfit(f"its disk takes {format_bytes(round(speed))} a second")
    needed = sum(asset.size_bytes for asset in missing) + SPARE_BYTES
    if condition.free_disk_bytes < needed:
        found = format_bytes(condition.free_disk_bytes)
        raise PodUnfit(f"its disk has {found} free, and the models that are missing need {format_bytes(needed)}")
    memory = condition.gpu_memory_bytes
    if offer is not None and 0 < memory < LEAST_SHARE_OF_MEMORY * offer.memory_bytes:
        promised = format_bytes(offer.memory_bytes)
        raise PodUnfit(f"its GPU ({condition.gpu}) has {format_bytes(memory)}, and {promised} were offered")


@dataclass(slots=True)
class LinkMeter:
    """How fast downloads come, judged once: when they have gone on for `LINK_SECONDS`. Knows no clock."""

    promised_bytes_per_second: float
    received_bytes: int = 0
    begun_at: float | None = None
    is_judged: bool = False

    def receive(self, count: int, now: float) -> None:
        """So many bytes came."""
        if self.begun_at is None:
            self.begun_at = now  # these came before: they tell nothing of the time they took
        else:
            self.received_bytes += count

    def check(self, now: float) -> float | None:
        """Bytes per second, when it is judged; None before and after. Call it while a download is under way.

        Raises:
            PodUnfit: it has less than the share that is borne of what was promised.
        """
        if self.is_judged or self.begun_at is None or now - self.begun_at < LINK_SECONDS:
            return None
        self.is_judged = True
        speed = self.received_bytes / (now - self.begun_at)
        if speed < LEAST_SHARE_OF_LINK * self.promised_bytes_per_second:
            promised = format_bytes(round(self.promised_bytes_per_second))
            raise PodUnfit(f"{format_bytes(round(speed))} a second came, and {promised} a second were offered")
        return speed


def _ask_gpu() -> tuple[str, int]:
    """Name and memory of the first GPU; the worker has seen to it that there is one, where there must be."""
    question = DriverQuestion.if_useful(required=False)
    gpus = question.answer().gpus if question is not None else ()
    return (gpus[0].name, gpus[0].memory_bytes) if gpus else ("none", 0)


def _probe_disk(folder: Path) -> tuple[int, float]:
    """Free bytes, and bytes written per second, until they lie on the disk."""
    free = shutil.disk_usage(folder).free
    probe = folder / ".write-probe"
    begun, written = time.monotonic(), 0
    try:
        with probe.open("wb", buffering=0) as file:
            while written < PROBE_BYTES and time.monotonic() - begun < PROBE_SECONDS:
                written += file.write(_BLOCK)
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)
    return free, written / max(1e-6, time.monotonic() - begun)


def make_folder(folder: Path) -> None:
    """Make the pod's folder.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError([f"{folder} cannot be made ({error.strerror}): COMFYPOD_BATCH_FOLDER."]) from error
