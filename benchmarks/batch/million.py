"""A million rows planned: seconds and memory.

Of the planning alone: rows are in memory already, each as the keys of its files and its work; reading and parsing a
manifest is measured by ``python -m benchmarks.batch manifest``. Each case runs in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import time

from benchmarks.batch.instances import MIXED, Shape, a4000, catalogue, rows
from comfypod.batch.planning import Demands, gather, make_plan
from comfypod.batch.planning.workload import Row

CASES = ((10, 40, "none"), (300, 40, "6"), (300, 200, "6"), (300, 200, "none"), (3000, 10, "6"))
"""Checkpoints, LoRAs of each, hours until the deadline."""
HEADER = (
    "| checkpoints | LoRAs of each | groups | deadline h | rows to groups s | plan s | together s | processor s "
    "| rows GB | peak GB | pods | above the bound |"
)


def main() -> int:
    """Print a row of the table for each case."""
    arguments = _parser().parse_args()
    if arguments.case:
        checkpoints, loras, deadline = arguments.case
        print(_row(arguments.rows, int(checkpoints), int(loras), deadline))
        return 0
    print(f"{arguments.rows:,} rows; a loop of ten million additions takes {_loop_seconds():.2f} s here and now.\n")
    print(HEADER)
    print("|" + " --- |" * (HEADER.count("|") - 1), flush=True)
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.batch", "million", "--rows", str(arguments.rows), "--case"]
        subprocess.run([*command, *map(str, case)], check=True)
    return 0


def _row(count: int, checkpoints: int, loras: int, deadline: str) -> str:
    shape = Shape(checkpoints=checkpoints, items=count, loras=loras, families=MIXED)
    assets = catalogue(shape, seed=1)
    keys: dict[Row, Row] = {}
    table = [keys.setdefault(row, row) for row in rows(shape, seed=1)]
    del keys
    gc.collect()
    before, begun, cpu = _peak_gigabytes(), time.perf_counter(), time.process_time()
    workload = gather("million", table)
    gathered = time.perf_counter()
    seconds = None if deadline == "none" else float(deadline) * 3600
    plan = make_plan(workload, assets, [a4000()], Demands(deadline_seconds=seconds))
    ended = time.perf_counter()
    planned = sum(share.items for pod in plan.pods for share in pod.shares)
    if planned != count:
        raise SystemExit(f"{planned:,} items are planned")
    cells = (
        f"{checkpoints:,}",
        f"{loras}",
        f"{len(workload.groups):,}",
        deadline,
        f"{gathered - begun:.2f}",
        f"{ended - gathered:.2f}",
        f"{ended - begun:.2f}",
        f"{time.process_time() - cpu:.2f}",
        f"{before:.2f}",
        f"{_peak_gigabytes():.2f}",
        f"{len(plan.pods):,}",
        f"{100 * (plan.dollars / plan.bound_dollars - 1):.1f} %",
    )
    return f"| {' | '.join(cells)} |"


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _loop_seconds() -> float:
    """What this machine takes for something that never changes, to compare figures by."""
    begun = time.process_time()
    sum(number & 1 for number in range(10_000_000))
    return time.process_time() - begun


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch million", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--case", nargs=3, metavar=("CHECKPOINTS", "LORAS", "HOURS"), help="only this one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
