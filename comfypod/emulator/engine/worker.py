"""The thread that takes prompts from the queue and runs them, one after the other."""

from __future__ import annotations

import logging
import threading

from comfypod.emulator.engine.execution import Executor
from comfypod.emulator.engine.queue import PromptQueue, QueuedPrompt

logger = logging.getLogger(__name__)


class PromptWorker:
    """Start it once; `stop` interrupts what runs."""

    def __init__(self, queue: PromptQueue, executor: Executor) -> None:
        self._queue = queue
        self._executor = executor
        # A daemon, because a node that never checks for interrupts must not keep the process alive.
        self._thread = threading.Thread(target=self._loop, name="comfypod-prompt-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Interrupt the running prompt and wait; False if its node did not stop in time. Blocks."""
        self._queue.close()
        self._executor.interrupt()
        if self._thread.ident is not None:  # Else it was never started.
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (prompt := self._queue.take(self._executor.forget_interrupt)) is not None:
            self._run(prompt)

    def _run(self, prompt: QueuedPrompt) -> None:
        logger.info("Prompt %s starts", prompt.prompt_id)
        entry = self._executor.run(prompt)
        # The history is written before the last two messages, so that whoever reads them finds it.
        self._queue.finish(prompt, entry)
        client_id = prompt.extra_data.get("client_id")
        if client_id is not None:
            ended = {"node": None, "prompt_id": prompt.prompt_id}
            self._executor.publisher.publish("executing", ended, client_id)
        logger.info("Prompt %s ended: %s", prompt.prompt_id, entry["status"]["status_str"])
