"""The emulated pods and the machines they run on: made, run as processes, outbid, stopped, ended, billed."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import string
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfypod.emulator.events import log_event
from comfypod.emulator.fleet import process_tree
from comfypod.emulator.fleet.worker_process import WorkerProcess, clean_environment
from comfypod.emulator.pods.faults import PodFaults
from comfypod.emulator.pods.market import Stock, default_market
from comfypod.emulator.pods.pod import EmulatedPod, PodOrder, Status
from comfypod.emulator.pods.switches import PodSwitches

GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL (docs.runpod.io, "Pod pricing", before May 2026)."""
LATE_LISTING_SECONDS = 2.0
_ID_LETTERS = string.ascii_lowercase + string.digits
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "NVIDIA_VISIBLE_DEVICES": "void", "RUNPOD_GPU_COUNT": "0"}
"""What a container sees on a host whose GPU has gone."""


class NoSuchPod(Exception):
    """There is no pod with this id, or none that may still be asked for."""


class NoSuchGPU(Exception):
    """There is no type of this name."""


class WrongState(Exception):
    """This cannot be done to a pod in its state; the message says what could."""


@dataclass(slots=True, kw_only=True)
class HostOptions:
    """How the emulated machines behave."""

    market: Mapping[str, Stock] = field(default_factory=default_market)
    switches: PodSwitches = field(default_factory=PodSwitches)
    start_seconds: float = 0.2
    """From a pod's creation until its program starts; most of it is PROVISIONING."""
    restart_seconds: float = 1.0
    """Until a host starts a container again whose program has ended."""
    grace_seconds: float = GRACE_SECONDS
    directory: Path | None = None
    """Where the programs run; None: where the emulator does."""
    log: Path | None = None
    """For what they print; with ``{pod}`` in it, a file for each; None: the emulator's stderr."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More variables for all of them."""


class PodHost:
    """All pods of one account. Runs in an event loop; `close` ends them."""

    def __init__(self, options: HostOptions, faults: PodFaults, address: Callable[[], str]) -> None:
        self.options = options
        self.faults = faults
        self.switches = options.switches
        self.market = dict(options.market)
        self._address = address
        self._pods: dict[str, EmulatedPod] = {}

    # What clients ask for.

    def create(self, order: PodOrder) -> EmulatedPod:
        """A new pod, which starts in the background.

        Raises:
            NoSuchGPU: there is no such type.
            Full: there is none to get.
        """
        stock = self.stock(order.gpu)
        pod_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(14))
        self._evict(stock.take(pod_id, order.bid))
        price = stock.on_demand_dollars if order.bid is None else order.bid
        pod = EmulatedPod(pod_id, order, price, f"pod-{secrets.token_hex(16)}")
        pod.note("Rented by User")
        self._pods[pod_id] = pod
        start_seconds = self.options.start_seconds
        for fault in self.faults.at_pod(order.gpu):
            log_event("fault_strikes", logging.WARNING, fault=str(fault), pod_id=pod_id)
            pod.starts = pod.starts and fault.kind != "never_starts"
            pod.has_gpu = pod.has_gpu and fault.kind != "no_gpu"
            start_seconds += fault.seconds
        self._run(pod, start_seconds)
        return pod

    def stock(self, gpu: str) -> Stock:
        """What there is of a type.

        Raises:
            NoSuchGPU: there is no such type.
        """
        if gpu not in self.market:
            raise NoSuchGPU(gpu)
        return self.market[gpu]

    def pod(self, pod_id: str) -> EmulatedPod:
        """One pod, ended ones included, but none that was terminated.

        Raises:
            NoSuchPod: there is no such pod.
        """
        pod = self._pods.get(pod_id)
        if pod is None or self._is_gone(pod):
            raise NoSuchPod(pod_id)
        return pod

    def listed(self) -> list[EmulatedPod]:
        """What a list shows: not what was terminated."""
        late = LATE_LISTING_SECONDS if self.switches.listing == "late" else 0.0
        now = time.time()
        return [pod for pod in self._pods.values() if not self._is_gone(pod) and now >= pod.created_at + late]

    def everything(self) -> list[EmulatedPod]:
        """All there ever were."""
        return list(self._pods.values())

    def by_key(self, key: str) -> EmulatedPod | None:
        """The pod whose own key this is."""
        return next((pod for pod in self._pods.values() if secrets.compare_digest(pod.key, key)), None)

    def terminate(self, pod: EmulatedPod, who: str = "User") -> None:
        """End it for good, in the background; it is not listed any more."""
        self._leave(pod, Status.TERMINATED, f"Terminated by {who}")

    def stop(self, pod: EmulatedPod, who: str = "User") -> None:
        """Stop it, in the background.

        Raises:
            WrongState: it does not run.
        """
        if not pod.is_live:
            raise WrongState(f"a pod that is {pod.status} cannot be stopped")
        self._leave(pod, Status.EXITED, f"Exited by {who}")

    def resume(self, pod: EmulatedPod, bid: float | None) -> None:
        """Start a stopped pod; an interruptible one for this bid.

        Raises:
            WrongState: it runs.
            Full: its host has no GPU for it.
        """
        if pod.status not in {Status.EXITED, Status.ERROR}:
            raise WrongState(f"a pod that is {pod.status} cannot be started")
        stock = self.stock(pod.order.gpu)
        self._evict(stock.take(pod.id, bid))
        pod.dollars_per_hour = stock.on_demand_dollars if bid is None else bid
        pod.status, pod.leaving = Status.PROVISIONING, asyncio.Event()
        pod.note("Rented by User" if bid is None else "Resumed by User")
        self._run(pod, self.options.start_seconds)

    def restart(self, pod: EmulatedPod) -> None:
        """End its program; its host starts it again.

        Raises:
            WrongState: it does not run.
        """
        if pod.status is not Status.RUNNING:
            raise WrongState(f"a pod that is {pod.status} cannot be restarted")
        self.kill(pod)

    # What happens to pods.

    def rival(self, gpu: str, bid: float) -> str | None:
        """Another user bids for a GPU; answers the id of our pod that loses its own, if one does.

        Raises:
            NoSuchGPU: there is no such type.
            Full: they do not get one.
        """
        loser = self.stock(gpu).rival(bid)
        self._evict(loser)
        return loser

    def outbid(self, pod: EmulatedPod) -> None:
        """Somebody bids more than this pod does, however much that is.

        Raises:
            WrongState: it is not bid for, or does not run.
        """
        if pod.order.bid is None or not pod.is_live:
            raise WrongState("only a pod that runs and is bid for can be outbid")
        self.stock(pod.order.gpu).leave(pod.id)
        self._evict(pod.id)

    def kill(self, pod: EmulatedPod) -> None:
        """SIGKILL for all that runs in it, without notice; the machine stays."""
        if pod.pid is not None:
            process_tree.kill_all(pod.id, pod.pid)

    def lose_machine(self, pod: EmulatedPod) -> None:
        """Its machine dies, without notice."""
        self.kill(pod)
        self._leave(pod, Status.EXITED, "Exited by Runpod")

    def overview(self) -> dict[str, Any]:
        """What there is, and what it has cost."""
        now = time.monotonic()
        pods = [pod.to_state(now) for pod in self._pods.values()]
        return {
            "pods": pods,
            "market": {
                stock.gpu: {
                    "capacity": stock.capacity,
                    "free": stock.free,
                    "rivals": stock.rivals,
                    "on_demand": stock.on_demand_dollars,
                    "minimum_bid": stock.minimum_bid_dollars,
                }
                for stock in self.market.values()
            },
            "spend": {
                "billed_seconds": sum(pod["billed_seconds"] for pod in pods),
                "dollars": round(sum(pod["dollars"] for pod in pods), 6),
            },
        }

    async def close(self) -> None:
        """End all of them, and wait for it."""
        tasks = []
        for pod in self._pods.values():
            if pod.task is not None and not pod.task.done():
                self.terminate(pod, "Runpod")
                tasks.append(pod.task)
        await asyncio.gather(*tasks, return_exceptions=True)

    # How a pod lives.

    def _evict(self, loser: str | None) -> None:
        if loser is not None:
            self._leave(self._pods[loser], Status(self.switches.outbid), "Outbid")

    def _leave(self, pod: EmulatedPod, status: Status, change: str) -> None:
        if not pod.is_live:  # there is nothing to end
            if status is Status.TERMINATED and pod.status is not status:
                pod.status = status
                pod.note(change)
            return
        log_event("pod_leaves", pod_id=pod.id, name_of_pod=pod.order.name, change=change)
        pod.leave(status, change)

    def _is_gone(self, pod: EmulatedPod) -> bool:
        is_leaving = pod.leaving.is_set() and pod.next_status is Status.TERMINATED
        return pod.status is Status.TERMINATED or is_leaving

    def _run(self, pod: EmulatedPod, start_seconds: float) -> None:
        pod.task = asyncio.create_task(self._live(pod, start_seconds), name=f"pod {pod.id}")

    async def _live(self, pod: EmulatedPod, start_seconds: float) -> None:
        pod.bill.start(time.monotonic())
        try:
            await self._start(pod, start_seconds)
            while not pod.leaving.is_set():
                await self._run_program(pod)
                if pod.leaving.is_set() or self.switches.container_exit == "exits":
                    break
                pod.restarts += 1
                await _leaving_within(pod, self.options.restart_seconds)
        except OSError as error:
            log_event("pod_cannot_start", logging.ERROR, pod_id=pod.id, reason=str(error))
            pod.next_status, pod.next_change = Status.ERROR, "Exited by Runpod"
        finally:
            pod.bill.stop(time.monotonic())
            if pod.order.gpu in self.market:
                self.market[pod.order.gpu].leave(pod.id)
            pod.status, pod.pid = pod.next_status, None
            pod.note(pod.next_change or "Exited by Runpod")

    async def _start(self, pod: EmulatedPod, seconds: float) -> None:
        await _leaving_within(pod, seconds * 0.8)
        if not pod.leaving.is_set():
            pod.status = Status.STARTING
        await _leaving_within(pod, seconds * 0.2 if pod.starts else None)

    async def _run_program(self, pod: EmulatedPod) -> None:
        process = await WorkerProcess.start(
            pod.id, self._command(pod), self._environment(pod), self.options.directory, self._log(pod)
        )
        pod.pid, pod.status, pod.started_at = process.pid, Status.RUNNING, time.time()
        try:
            await process.wait_for_end_or(pod.leaving)
            process.terminate()
            await process.wait(self.options.grace_seconds)
        finally:
            process.kill()
            await process.wait()
            pod.pid = None
            log_event("pod_program_ended", pod_id=pod.id, exit_code=process.exit_code)

    def _command(self, pod: EmulatedPod) -> Sequence[str]:
        """``args`` split as a shell does; how the platform splits them is not documented. None: it only sleeps."""
        return shlex.split(pod.order.args) or [sys.executable, "-c", "import time; time.sleep(10**6)"]

    def _environment(self, pod: EmulatedPod) -> dict[str, str]:
        """What RunPod sets (docs.runpod.io, "Environment variables"), and where this API is."""
        environment = clean_environment()
        # The image has our commands; here they are beside the interpreter.
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', '')}"
        return {
            **environment,
            **self.options.environment,
            **pod.order.environment,
            "RUNPOD_POD_ID": pod.id,
            "RUNPOD_DC_ID": "EMULATED-1",
            "RUNPOD_POD_HOSTNAME": f"{pod.id}-emulated",
            "RUNPOD_GPU_COUNT": "1",
            "RUNPOD_API_KEY": pod.key,
            "RUNPOD_API_BASE_URL": self._address(),
            **({} if pod.has_gpu else _NO_GPU),
        }

    def _log(self, pod: EmulatedPod) -> Path | None:
        log = self.options.log
        return None if log is None else log.with_name(log.name.replace("{pod}", pod.order.name))


async def _leaving_within(pod: EmulatedPod, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await pod.leaving.wait()
    except TimeoutError:
        pass
