"""A run in memory and on disk: what is written, and that nothing is once it was removed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from comfypod.web.documents import Run
from comfypod.web.runs.live_run import LiveRun, now
from comfypod.web.runs.store import Place, StoredRun

PLACE = Place("visitor", "run")


class SlowStore:
    """A store that notes what is done, and writes only when it may."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.may_write = threading.Event()

    def write(self, place: Place, stored: StoredRun) -> None:
        assert self.may_write.wait(10)
        self.done.append(f"write {stored.run.state}")

    def remove(self, place: Place) -> None:
        self.done.append("remove")


def live_run(store: Any) -> LiveRun:
    run = Run(id="run", title="A fox", state="submitting", created_at=now(), parameters={}, files=[])
    return LiveRun(PLACE, StoredRun(run=run, endpoint_url="http://127.0.0.1:1/v2/local"), store, lambda *_: None)


async def test_a_run_that_is_removed_while_its_end_is_being_written_stays_removed() -> None:
    store = SlowStore()
    live = live_run(store)
    live.show(state="cancelled")
    writing = asyncio.create_task(live.write())
    await asyncio.sleep(0)
    removing = asyncio.create_task(live.remove())
    await asyncio.sleep(0)
    store.may_write.set()
    await asyncio.gather(writing, removing)
    await live.write()
    assert store.done == ["write cancelled", "remove"]
