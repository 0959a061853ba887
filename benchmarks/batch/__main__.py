"""What the batch engine does, and what that costs, each by itself:

    python -m benchmarks.batch manifest      how fast manifests are read
    python -m benchmarks.batch million       a million rows planned: seconds and memory
    python -m benchmarks.batch gaps          plans against an exact solver
    python -m benchmarks.batch orders        the order of downloads and of work, against others and the bound
    python -m benchmarks.batch coordinator   leases, pulses and records: time for each item
    python -m benchmarks.batch kills         a pod killed at random moments: what it repeats, and loses
    python -m benchmarks.batch run           a whole batch, of whose pods one is lost and one outbid

Each has options of its own: --help.
"""

from __future__ import annotations

import runpy
import sys

MODULES = {
    "manifest": "benchmarks.batch.manifest",
    "million": "benchmarks.batch.million",
    "gaps": "benchmarks.batch.gaps",
    "orders": "benchmarks.batch.orders",
    "coordinator": "benchmarks.batch.coordinator",
    "kills": "tests.batch.runner.kills",
    "run": "benchmarks.batch.run",
}

if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in MODULES:
        print(__doc__, file=sys.stderr)
        raise SystemExit(2)
    del sys.argv[1]
    runpy.run_module(MODULES[name], run_name="__main__", alter_sys=True)
