"""``comfypod …``, in a process that kills itself at a named point: ``dying_master.py POINT ARGUMENTS…``."""

from __future__ import annotations

import os
import signal
import sys

from comfypod.cli.main import main
from comfypod.master import points


def run(fatal: str) -> None:
    def die(point: points.Point, key: str) -> None:
        if point == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    points.observe(die)
    main()


if __name__ == "__main__":
    run(sys.argv.pop(1))
