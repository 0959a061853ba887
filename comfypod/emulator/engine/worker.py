"""The thread that takes prompts from the queue and runs them, one after the other."""

from __future__ import annotations

import contextlib
import logging
import threading

from comfypod.emulator.engine.execution import Executor
from comfypod.emulator.engine.queue import PromptQueue, QueuedPrompt
from comfypod.emulator.engine.striking import ExecutionFaults

logger = logging.getLogger(__name__)


class PromptWorker:
    """Start it once; `stop` interrupts what runs."""

    def __init__(self, queue: PromptQueue, executor: Executor, faults: ExecutionFaults) -> None:
        self._queue = queue
        self._executor = executor
        self._faults = faults
        # A daemon, because a node that never checks for interrupts must not keep the process alive.
        self._thread = threading.Thread(target=self._loop, name="comfypod-prompt-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Interrupt the running prompt and wait; False if its node did not stop in time. Blocks."""
        self._queue.close()
        self._executor.interrupt()
        self._faults.release()
        if self._thread.ident is not None:  # Else it was never started.
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        # A node that raises SystemExit ends the thread without a word, as it does in ComfyUI: its prompt runs for ever.
        with contextlib.suppress(SystemExit):
            while (prompt := self._queue.take(self._executor.forget_interrupt)) is not None:
                self._run(prompt)

    def _run(self, prompt: QueuedPrompt) -> None:
        logger.info("Prompt %s starts", prompt.prompt_id)
        entry = self._executor.run(prompt)
        ending = self._faults.at_end(prompt.prompt_id)
        kept = None if ending.is_history_lost else entry
        if not ending.history_delay_seconds:
            # The history is written before the last two messages, so that whoever reads them finds it.
            self._queue.finish(prompt, kept)
            self._tell_end(prompt)
        else:
            self._tell_end(prompt)
            self._faults.wait(ending.history_delay_seconds)
            self._queue.finish(prompt, kept)
        logger.info("Prompt %s ended: %s", prompt.prompt_id, entry["status"]["status_str"])

    def _tell_end(self, prompt: QueuedPrompt) -> None:
        client_id = prompt.extra_data.get("client_id")
        if client_id is not None:
            ended = {"node": None, "prompt_id": prompt.prompt_id}
            self._executor.publisher.publish("executing", ended, client_id)
