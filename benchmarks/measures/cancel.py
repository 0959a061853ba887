"""How long after a client's cancel request ComfyUI has stopped executing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.figures import Report, Samples, table_of
from benchmarks.measures.idle import warm_up
from benchmarks.rig.contenders import Contender
from benchmarks.rig.site import ContenderFailed, Rig, Site, Work, sites

JOB_SECONDS = 15.0
BEFORE_SECONDS = 0.3
BEGIN_SECONDS = 20.0
NOTE = (
    f"A job of {JOB_SECONDS:g} s, whose node looks for an interrupt every 10 ms, is cancelled in the middle. "
    "Around 15 s: it was not stopped, but ran to its end."
)


def measure(contenders: Sequence[Contender], rig: Rig, rounds: int) -> Report:
    """All contenders in turn, ``rounds`` times."""
    samples, failed = Samples("ms"), dict[str, str]()
    with sites(contenders, rig, failed) as started:
        for one in started:
            warm_up(one, failed)
        for _ in range(rounds):
            for one in started:
                try:
                    samples.add("cancel", one.name, _cancel_ms(one))
                except ContenderFailed as error:
                    samples.fail("cancel", one.name, str(error))
    for name, reason in failed.items():
        samples.fail("any", name, reason)
    names = [item.name for item in contenders]
    return Report([table_of("Time from a cancel request to ComfyUI's end", samples, names, NOTE)], samples.to_json())


def _cancel_ms(one: Site) -> float:
    journal, begun = one.comfyui.journal, time.monotonic()
    (job_id,) = one.submit(Work(seconds=JOB_SECONDS))
    if journal.wait_for("begin", begun, BEGIN_SECONDS) is None:
        raise ContenderFailed("ComfyUI did not begin with it")
    time.sleep(BEFORE_SECONDS)  # a job in its middle, and not one at its beginning
    cancelled = one.cancel(job_id)
    ended = journal.wait_for("end", cancelled, 2 * JOB_SECONDS)
    if ended is None:
        raise ContenderFailed(f"ComfyUI did not stop within {2 * JOB_SECONDS:g} s")
    one.run(Work())  # the worker must be of use afterwards
    return 1000 * (ended - cancelled)
