"""Our worker beside others, behind a local RunPod: how long the GPU waits, what a job costs, whether anything grows.

    python -m benchmarks                                      all of it, on the built-in engine
    COMFYUI_COMMAND="python main.py --cpu" python -m benchmarks     on a real ComfyUI
    python -m benchmarks --only idle,overhead --rounds 1 --quick    a part of it, a few jobs

Another worker takes part by its command; it is started with the variables that RunPod gives a worker, and with
COMFYUI_URL and COMFYUI_OUTPUT_DIRECTORY of a ComfyUI of its own:

    python -m benchmarks --worker "other=python3 -u handler.py" --environment other:REFRESH_WORKER=false \\
        --comfyui-port other=8188
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Report
from benchmarks.measures import cancel, cost, flat, idle, overhead, start
from benchmarks.rig.contenders import Contender, read_contenders
from benchmarks.rig.site import Rig
from benchmarks.rig.stores import NAMES, Store, start_store

MEASURES = ("idle", "overhead", "cost", "start", "cancel", "flat")
CONTENDERS = "floor,comfypod,comfypod@6,sdk-1,sdk-2,sdk-3"
ROUNDS = 3


def main() -> int:
    """Measure and print; exit code 2 for a command line that cannot be read."""
    parser = _parser()
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else list(MEASURES)
    if unknown := sorted(set(wanted) - set(MEASURES)):
        parser.error(f"--only: {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    try:
        contenders = read_contenders(
            arguments.contenders,
            checkouts=arguments.checkout,
            workers=arguments.worker,
            environment=arguments.environment,
            ports=arguments.comfyui_port,
        )
    except ValueError as error:
        parser.error(str(error))
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        rig = Rig(os.environ.get("COMFYUI_COMMAND") or None, folder.resolve())
        store = start_store(arguments.store, stack, rig.folder)
        reports = _measure(wanted, contenders, rig, arguments, store)
    if arguments.json:
        raw = {name: report.raw for name, report in reports.items()}
        arguments.json.write_text(json.dumps({"machine": _machine(), "engine": rig.engine, **raw}, indent=1))
    return 0


def _measure(
    wanted: Sequence[str],
    contenders: Sequence[Contender],
    rig: Rig,
    arguments: argparse.Namespace,
    store: Store,
) -> Mapping[str, Report]:
    """Every measure that is wanted; each prints its tables when it is through."""
    rounds, quick = arguments.rounds, arguments.quick
    ours = [item for item in contenders if item.starts_comfyui][:1]
    jobs = arguments.jobs or (flat.QUICK_JOBS if quick else flat.JOBS)
    calls: Mapping[str, Callable[[], Report]] = {
        "idle": lambda: idle.measure(
            contenders, rig.distant(), rounds, latencies_ms=arguments.latency or idle.LATENCIES_MS, quick=quick
        ),
        "overhead": lambda: overhead.measure(contenders, rig, rounds, store=store, quick=quick),
        "cost": lambda: cost.measure(contenders, rig, rounds, store=store, quick=quick),
        "start": lambda: start.measure(rig.comfyui_command, rig.folder / "start", rounds),
        "cancel": lambda: cancel.measure(contenders, rig, rounds),
        "flat": lambda: flat.measure(ours or contenders, rig, jobs=jobs),
    }
    print(
        f"## Benchmark\n\nOn {rig.engine}; the platform is the local RunPod; a node that waits stands for a GPU's work."
    )
    print(
        f"S3 is {arguments.store}. {_machine()}. {time.strftime('%Y-%m-%d %H:%M %Z')}, rounds: {rounds}.\n", flush=True
    )
    reports = {}
    for name in wanted:
        begun = time.monotonic()
        reports[name] = calls[name]()
        for table in reports[name].tables:
            print("\n".join(table.lines()), flush=True)
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return reports


def _machine() -> str:
    return f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help=f"of {', '.join(MEASURES)}; comma-separated")
    parser.add_argument("--contenders", default=CONTENDERS, help="who takes part (default: %(default)s)")
    parser.add_argument(
        "--checkout", action="append", default=[], metavar="NAME=FOLDER", help="another version of this repository"
    )
    parser.add_argument("--worker", action="append", default=[], metavar="NAME=COMMAND", help="another worker")
    parser.add_argument("--environment", action="append", default=[], metavar="NAME:KEY=VALUE")
    parser.add_argument("--comfyui-port", action="append", default=[], metavar="NAME=PORT")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each case is measured, in turn")
    parser.add_argument("--jobs", type=int, default=0, help=f"of the measure flat (default: {flat.JOBS:,})")
    parser.add_argument("--store", choices=NAMES, default=NAMES[0], help="where S3 results go (default: %(default)s)")
    parser.add_argument(
        "--latency",
        action="append",
        type=int,
        metavar="MS",
        help="of the measure idle: round trip to the platform; may be given several times "
        f"(default: {', '.join(map(str, idle.LATENCIES_MS))})",
    )
    parser.add_argument("--quick", action="store_true", help="few and small cases, to see that it works")
    parser.add_argument("--folder", type=Path, help="for logs and ComfyUI's folders (default: one that is removed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
