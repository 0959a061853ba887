"""Keeps one ComfyUI running: starts it, sees that it works, and puts another in its place when it dies or hangs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from comfypod.comfyui.process import ComfyUIProcess
from comfypod.comfyui.selftest import run_self_test
from comfypod.comfyui.server import Server
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ComfyUIUnavailable
from comfypod.logs import event

WATCH_SECONDS = 0.05
HOUR_SECONDS = 3600.0
LONGEST_PAUSE_SECONDS = 60.0
JOIN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long a start may take, and how many restarts an hour are borne before the worker should be replaced."""

    startup_timeout_seconds: float = 300.0
    maximum_per_hour: int = 5


class Supervisor:
    """One ComfyUI after the other, in a thread of its own; a `ServerSource`.

    `start` it, `wait_until_ready`, then ask for `ready` servers, and `stop` it in the end. A ComfyUI is ready when a
    self-test prompt has run on it. One that worked is replaced at once when it dies, one that does not start after
    growing pauses.
    A ComfyUI that never got ready is not restarted: the worker is set up wrongly, and `wait_until_ready` says how.

    Args:
        make_process: makes each ComfyUI, to be started here.
        policy: how patient it is.
        first: the first ComfyUI, if it has been made, and perhaps started, already; it is ended here like all others.
        on_phase: hears of each start ``comfyui_answers`` and ``self_test``, once they are over.
    """

    def __init__(
        self,
        make_process: Callable[[], ComfyUIProcess],
        policy: RestartPolicy | None = None,
        *,
        first: ComfyUIProcess | None = None,
        on_phase: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._make_process = make_process
        self._policy = policy or RestartPolicy()
        self._process = first
        self._on_phase = on_phase
        self._ready: ComfyUIProcess | None = None
        self._failure: ComfyPodError | None = None
        self._restarts: deque[float] = deque()
        self._failed_starts = 0
        self._refresh_reason: str | None = None
        self._first_start_over = threading.Event()
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._keep_running, name="comfyui supervisor", daemon=True)

    def start(self) -> None:
        """Start ComfyUI, unless the first one runs already; returns at once."""
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Return when the first ComfyUI is ready.

        Raises:
            ConfigurationError: its command cannot be started.
            ComfyUIUnavailable: it exited, did not answer in time, or failed its self-test.
        """
        # Bounded by the policy's timeouts, of its start and of its self-test.
        self._first_start_over.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def refresh_reason(self) -> str | None:
        """Why the platform should replace this worker."""
        process = self._process
        if process is not None and process.condemned_for:
            return f"ComfyUI was ended because {process.condemned_for}"
        return self._refresh_reason

    async def ready(self, deadline: Deadline) -> Server:
        """A ComfyUI that works, as soon as there is one.

        Raises:
            ComfyUIUnavailable: it has died too often, and is not there.
            DeadlineExceeded: there is none yet.
        """
        while True:
            process = self._ready
            if process is not None and process.death("start") is None:
                return process
            if self._failure is not None and len(self._restarts) > self._policy.maximum_per_hour:
                raise self._failure
            deadline.check("start")
            await asyncio.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """End ComfyUI, and start no other."""
        with self._starting:
            self._stopping.set()
            process = self._process
        if process is not None:
            process.stop()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def _keep_running(self) -> None:
        first = self._process
        while not self._stopping.is_set():
            process, first = first or self._make_process(), None
            self._failure = self._serve(process)
            self._ready = None
            process.stop()
            if not self._first_start_over.is_set():
                self._first_start_over.set()
                return
            if not self._stopping.is_set():
                self._stopping.wait(self._mourn(self._failure))

    def _serve(self, process: ComfyUIProcess) -> ComfyPodError:
        """Start a process and let it be used until it is gone; why it is."""
        begun = time.monotonic()
        try:
            with self._starting:
                if self._stopping.is_set():
                    return ComfyUIUnavailable("start", "the worker is ending")
                if not process.is_started:
                    process.start()
                self._process = process
            process.wait_until_ready(self._policy.startup_timeout_seconds)
            self._on_phase("comfyui_answers")
            run_self_test(
                process,
                self._policy.startup_timeout_seconds,
                on_passed=lambda: self._let_be_used(process, time.monotonic() - begun),
            )
        except ComfyPodError as error:
            self._failed_starts += 1
            return error
        while (death := process.death("run")) is None:
            time.sleep(WATCH_SECONDS)
        return death

    def _let_be_used(self, process: ComfyUIProcess, seconds: float) -> None:
        self._on_phase("self_test")
        event("comfyui_ready", url=process.url, seconds=round(seconds, 2))
        self._failed_starts = 0
        self._ready, self._failure = process, None
        self._first_start_over.set()

    def _mourn(self, failure: ComfyPodError) -> float:
        """Say that it died, and count it; the pause until another starts."""
        now = time.monotonic()
        while self._restarts and self._restarts[0] < now - HOUR_SECONDS:
            self._restarts.popleft()
        self._restarts.append(now)
        # One that worked is replaced at once: a job may be waiting. One that does not start would only fail again.
        pause_seconds = min(LONGEST_PAUSE_SECONDS, 2.0 ** (self._failed_starts - 1)) if self._failed_starts else 0.0
        event("comfyui_died", logging.ERROR, cause=failure, restarts=len(self._restarts), pause_seconds=pause_seconds)
        self._refresh_reason = self.refresh_reason  # the process that it stems from is about to be replaced
        if self._refresh_reason is None and len(self._restarts) >= self._policy.maximum_per_hour:
            self._refresh_reason = f"ComfyUI was restarted {len(self._restarts)} times within an hour"
        return pause_seconds
