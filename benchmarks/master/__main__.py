"""The master under fire, and under load, with everything around it: chat, bots, the local RunPod, workers, a bucket.

    python -m benchmarks.master chaos --requests 1000 --kills 100
    python -m benchmarks.master chaos --requests 1000 --kills 100 --database postgres --masters 3
    python -m benchmarks.master chaos --requests 300 --kills 30 --without-dedupe       to see it fail
    python -m benchmarks.master load --workers 60 --rate 10 --minutes 10

The pieces are those of the tests (``tests/chaos``), which run the same with few requests. Exit code 1 if a request was
lost, doubled or answered with another's picture, or more GPU time was used than is promised.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.master.load import Load, measure
from tests.chaos.conductor import endure
from tests.chaos.plan import Plan
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server


def main() -> int:
    """Run what is asked for and print its table."""
    arguments = _parser().parse_args()
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comfypod-master-")))
        folder.mkdir(parents=True, exist_ok=True)
        run: Callable[[argparse.Namespace, Path, str, Mapping[str, str]], int] = arguments.run
        return run(arguments, folder, _database(arguments.database, stack, folder), _bucket(stack, folder))


def _chaos(arguments: argparse.Namespace, folder: Path, database_url: str, bucket: Mapping[str, str]) -> int:
    plan = Plan(
        requests=arguments.requests,
        kills=arguments.kills,
        masters=arguments.masters,
        bots=arguments.bots,
        workers=arguments.workers,
        rate=arguments.rate,
        dedupes=not arguments.without_dedupe,
        keeps_nonces=not arguments.without_nonces,
        seed=arguments.seed,
    )
    report = asyncio.run(endure(plan, folder, database_url, bucket))
    print("\n".join(report.lines()))
    return 0 if report.is_good else 1


def _load(arguments: argparse.Namespace, folder: Path, database_url: str, bucket: Mapping[str, str]) -> int:
    load = Load(arguments.workers, arguments.rate, arguments.minutes, arguments.gpu_seconds, arguments.keep_minutes)
    print("\n".join(asyncio.run(measure(load, folder, database_url, bucket))))
    return 0


def _database(kind: str, stack: ExitStack, folder: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder / 'master.db'}"
    return stack.enter_context(PostgresServer()).create_database()


def _bucket(stack: ExitStack, folder: Path) -> Mapping[str, str]:
    server = S3Server(folder / "bucket")
    stack.callback(server.kill)
    server.start()
    return server.environment


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.master", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    chaos = commands.add_parser("chaos", help="kill everything, and count what became of the requests")
    chaos.set_defaults(run=_chaos)
    chaos.add_argument("--requests", type=int, default=1000)
    chaos.add_argument("--kills", type=int, default=100)
    chaos.add_argument("--masters", type=int, default=1)
    chaos.add_argument("--bots", type=int, default=2)
    chaos.add_argument("--workers", type=int, default=6)
    chaos.add_argument("--rate", type=float, default=8.0, help="requests per second (default: %(default)g)")
    chaos.add_argument("--seed", type=int, default=1)
    chaos.add_argument("--without-dedupe", action="store_true", help="workers look for neither results nor leases")
    chaos.add_argument("--without-nonces", action="store_true", help="the chat shows a message as often as it is sent")
    load = commands.add_parser("load", help="what the master costs, minute by minute")
    load.set_defaults(run=_load)
    load.add_argument("--workers", type=int, default=60)
    load.add_argument("--rate", type=float, default=10.0, help="requests per second (default: %(default)g)")
    load.add_argument("--minutes", type=float, default=10.0)
    load.add_argument("--gpu-seconds", type=float, default=4.0, help="of each request (default: %(default)g)")
    load.add_argument("--keep-minutes", type=float, default=2.0, help="after a request's end (default: %(default)g)")
    for command in (chaos, load):
        command.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
        command.add_argument("--folder", type=Path, help="for logs and data (default: one that is removed)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
