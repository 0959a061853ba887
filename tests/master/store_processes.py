"""What the tests of the store run as processes of their own, to kill them.

``python -m tests.master.store_processes WHAT URL``; each prints a line when it is where the test wants it.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from comfypod.errors import StoreUnavailable
from comfypod.master.documents import NewRequest, Notification, Outcome, Request
from comfypod.master.store import Store

KILLED = 60  # seconds; the test kills it long before


def ask(idempotency_key: str, prompt: str = "a fox") -> NewRequest:
    notify = (Notification("webhook", {}),)
    return NewRequest(
        tenant="acme", user="ann", idempotency_key=idempotency_key, job_input={"prompt": prompt}, notify=notify
    )


def submit(url: str) -> None:
    """Submit the same 40 requests as everybody else, and say which of them were new."""
    store = Store.open(url)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        submitted = store.submit(ask(str(number)))
        print(submitted.request.key, int(submitted.is_new), flush=True)
    store.close()


def stop_while_submitting(url: str) -> None:
    """Stop after all rows of a request were written, before the end of the transaction."""

    def wait(connection: sa.Connection, request: Request) -> None:
        _wait_to_be_killed()

    Store.open(url, enqueue=wait).submit(ask("1"))


def stop_while_finishing(url: str) -> None:
    """Stop after a request has ended, and its messages were written, before the end of the transaction."""
    store = Store.open(url)
    found = store.find("acme", "1")
    if found is None:
        raise SystemExit("there is no request")
    sa.event.listen(store.engine, "commit", lambda connection: _wait_to_be_killed())
    store.finish(found.key, 1, Outcome(state="succeeded"))


def fill_the_disk(url: str) -> None:
    """Submit until there is no room, then once more with room; the limit is this process's own."""
    store = Store.open(url)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    taken = 0
    try:
        while True:
            store.submit(ask(str(taken), prompt="x" * 100_000))
            taken += 1
    except StoreUnavailable as error:
        print(taken, error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(int(store.submit(ask("with room")).is_new), flush=True)
    store.close()


def _wait_to_be_killed() -> None:
    print("there", flush=True)
    time.sleep(KILLED)


PROCESSES: dict[str, Callable[[str], Any]] = {
    "submit": submit,
    "stop_while_submitting": stop_while_submitting,
    "stop_while_finishing": stop_while_finishing,
    "fill_the_disk": fill_the_disk,
}

if __name__ == "__main__":
    PROCESSES[sys.argv[1]](sys.argv[2])
