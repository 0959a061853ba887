"""What a worker costs: the memory and the processor time of its processes, without ComfyUI's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

MEBIBYTE = 1024 * 1024
SAMPLE_SECONDS = 0.01


class WorkerProcesses:
    """A worker's main process and everything below it, but for ComfyUI and what that has started.

    The shells that our worker has beside its children, to end them if it dies, count as the worker's.
    """

    def __init__(self, pid: int, comfyui_pid: int) -> None:
        self.main = psutil.Process(pid)
        self._comfyui_pid = comfyui_pid

    def all(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        waiting = [self.main]
        while waiting:
            process = waiting.pop()
            if process.pid == self._comfyui_pid:
                continue
            found.append(process)
            with suppress(psutil.NoSuchProcess):
                waiting += process.children()
        return found

    def memory_mib(self) -> float:
        """Proportional set size: a page that processes share counts once."""
        total = 0
        for process in self.all():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        return total / MEBIBYTE

    def processor_seconds(self) -> float:
        """User and system, of all of them, and of the main process's ended children."""
        own = self.main.cpu_times()
        total = float(own.user + own.system + own.children_user + own.children_system)
        for process in self.all()[1:]:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def reset_peak(self) -> None:
        """Let the main process's highest resident size begin anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.main.pid}/clear_refs").write_text("5", encoding="ascii")

    def resident_mib(self, field: str = "VmRSS") -> float:
        """The main process's resident size (``VmRSS``), or the highest one since `reset_peak` (``VmHWM``)."""
        for line in Path(f"/proc/{self.main.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(f"the kernel tells no {field} of process {self.main.pid}")

    def counts(self) -> dict[str, int]:
        """Threads, open files and sockets of the main process."""
        return {
            "threads": self.main.num_threads(),
            "open files": self.main.num_fds(),
            "sockets": len(self.main.net_connections()),
        }


@dataclass
class Cost:
    """Of one job: MiB above the idle worker's, and seconds of a processor."""

    idle_mib: float
    peak_over_idle_mib: float = 0.0
    main_over_idle_mib: float = 0.0
    processor_seconds: float = 0.0


@contextmanager
def measured_cost(processes: WorkerProcesses) -> Iterator[Cost]:
    """Measure what happens in the body; the result is filled in at its end.

    The peak of all processes together is sampled, that of the main process is the kernel's own.
    """
    cost = Cost(processes.memory_mib())
    resident, processor = processes.resident_mib(), processes.processor_seconds()
    processes.reset_peak()
    done = threading.Event()
    peaks = [cost.idle_mib]

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peaks.append(processes.memory_mib())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield cost
    finally:
        done.set()
        sampler.join()
        cost.peak_over_idle_mib = max(peaks) - cost.idle_mib
        cost.main_over_idle_mib = processes.resident_mib("VmHWM") - resident
        cost.processor_seconds = processes.processor_seconds() - processor


def settle(processes: WorkerProcesses, quiet_seconds: float = 1.0, timeout_seconds: float = 15.0) -> None:
    """Return when the worker has been using less than a tenth of a processor for a while, or after the time."""
    latest = time.monotonic() + timeout_seconds
    used = processes.processor_seconds()
    while time.monotonic() < latest:
        time.sleep(quiet_seconds)
        before, used = used, processes.processor_seconds()
        if used - before < 0.1 * quiet_seconds:
            return
