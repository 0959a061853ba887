"""What one large job costs a worker: memory over its idle one, and processor time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Report, Samples, table_of
from benchmarks.rig.contenders import Contender
from benchmarks.rig.site import ContenderFailed, Rig, Work, site
from benchmarks.rig.stores import Store
from benchmarks.rig.usage import measured_cost, settle

TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Case:
    name: str
    work: Work
    to_bucket: bool


CASES = (
    Case("30 MB inline", Work(size=2048, count=4, noise_percent=60), to_bucket=False),
    Case("30 MB to S3", Work(size=2048, count=4, noise_percent=60), to_bucket=True),
    Case("200 MB to S3", Work(size=2048, count=16), to_bucket=True),
)
QUICK = ("30 MB to S3",)
NOTE = (
    "Of the worker's processes without ComfyUI. Each value is of a worker that was started for it and has done one "
    "small job. Memory in MiB: idle (proportional set size of all its processes), the highest sum over that (sampled "
    "every 10 ms), and the main process's highest resident size over its own idle one (by the kernel). Processor time "
    "is user and system."
)


def measure(contenders: Sequence[Contender], rig: Rig, rounds: int, *, store: Store, quick: bool) -> Report:
    """Every case, all contenders in turn, ``rounds`` times."""
    quantities = {
        "idle": Samples("MiB", 1),
        "peak over idle": Samples("MiB", 1),
        "peak over idle, main process": Samples("MiB", 1),
        "processor time": Samples("s", 2),
    }
    for _ in range(rounds):
        for case in CASES:
            if quick and case.name not in QUICK:
                continue
            for contender in contenders:
                _measure_one(contender, rig.with_store(store if case.to_bucket else None), case, quantities)
    names = [item.name for item in contenders]
    tables = [
        table_of(f"Cost of one job: {name}", samples, names, NOTE if name == "idle" else "")
        for name, samples in quantities.items()
    ]
    return Report(tables, {name: samples.to_json() for name, samples in quantities.items()})


def _measure_one(contender: Contender, rig: Rig, case: Case, quantities: dict[str, Samples]) -> None:
    try:
        with site(contender, rig) as one:
            one.run(Work())
            processes = one.processes()
            settle(processes)
            with measured_cost(processes) as cost:
                one.run(case.work, TIMEOUT_SECONDS)
    except ContenderFailed as error:
        for samples in quantities.values():
            samples.fail(case.name, contender.name, str(error))
        return
    values = (cost.idle_mib, cost.peak_over_idle_mib, cost.main_over_idle_mib, cost.processor_seconds)
    for samples, value in zip(quantities.values(), values, strict=True):
        samples.add(case.name, contender.name, value)
