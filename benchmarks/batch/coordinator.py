"""What the coordinator's database costs: items written down, and then leases, pulses and records of sixty pods.

    python -m benchmarks.batch coordinator --items 1000000 --made 50000

All of it runs in this process, without HTTP: what counts is the time of the store for each item.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path

from comfypod.batch.documents import Pulse
from comfypod.batch.store import BatchStore
from tests.batch.coordinator.making import CHECKPOINTS, items, new_batch, plan, start_pod, success

PODS = 60
SESSION = 200
TOLD_AT_ONCE = 20
"""Records come as results are delivered, not a session at a time."""


def main() -> None:
    """Write items down, have some of them made, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--made", type=int, default=20_000, help="so many of them are leased and recorded")
    parser.add_argument("--database", help="default: a SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f"sqlite:///{Path(folder) / 'batch.sqlite'}"
        BatchStore.migrate(url)
        with closing(BatchStore.open(url)) as store:
            measure(store, options.items, options.made)


def measure(store: BatchStore, count: int, most: int) -> None:
    """Print figures of one batch of ``count`` items, of which ``most`` are made."""
    share = count // PODS // len(CHECKPOINTS) + 1
    planned = plan(count, [[(key, share) for key in CHECKPOINTS] for _ in range(PODS)], batch=f"bench{time.time_ns()}")
    begun, used = time.perf_counter(), time.process_time()
    batch = store.begin(new_batch(planned, session_items=SESSION))
    store.fill(batch.number, items(count))
    wall = time.perf_counter() - begun
    print(f"{count:,} items written down in {wall:.1f} s ({time.process_time() - used:.1f} s of processor)")
    pods = [start_pod(store, batch, number) for number in range(PODS)]
    begun, used, made = time.perf_counter(), time.process_time(), 0
    while made < most:
        before = made
        for pod in pods:
            made += session(store, batch.number, pod)
        if made == before:
            break
    wall = (time.perf_counter() - begun) / made * 1000
    processor = (time.process_time() - used) / made * 1000
    print(f"{made:,} of them leased, pulsed for and recorded: {wall:.2f} ms each ({processor:.2f} ms of processor)")
    for name, read in (("account", store.account), ("standing", store.standing)):
        begun = time.perf_counter()
        read(batch.number)
        print(f"{name}: {(time.perf_counter() - begun) * 1000:.0f} ms")
    print(f"memory at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def session(store: BatchStore, batch: int, pod: str) -> int:
    """One session of a pod. Returns how many items it had."""
    names = [item.identifier for item in store.lease(batch, pod, SESSION, CHECKPOINTS).items]
    for start in range(0, len(names), TOLD_AT_ONCE):
        store.pulse(batch, pod, Pulse(in_hand=tuple(names[start:]), present=CHECKPOINTS))
        store.record(batch, pod, [success(name) for name in names[start : start + TOLD_AT_ONCE]])
    return len(names)


if __name__ == "__main__":
    main()
