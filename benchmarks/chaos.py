"""Jobs under fire: workers and the local RunPod killed, connections cut, and what became of every job.

    python -m benchmarks.chaos --jobs 500

Exit code 1 if a job was lost, doubled, or came back with another's picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.system.chaos import Plan, endure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds-between-kills", type=float, default=6.0)
    arguments = parser.parse_args()
    plan = Plan(arguments.jobs, seconds_between_kills=arguments.seconds_between_kills, seed=arguments.seed)
    with tempfile.TemporaryDirectory(prefix="comfypod-chaos-") as folder:
        report = endure(plan, Path(folder))
    print(f"{plan.jobs} jobs in {report.seconds:.0f} s, killed: {report.worker_kills} workers,", end=" ")
    print(f"{report.emulator_kills} times the platform")
    for kind, count in report.outcomes.most_common():
        print(f"{count:6}  {kind}")
    for name in ("wrong", "doubled", "unended", "overlooked"):
        found = getattr(report, name)
        print(f"{len(found):6}  {name} {', '.join(found[:5])}")
    return 0 if report.is_good(plan.jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
