"""What orphans leave behind is taken away; a child that somebody waits for is left to who waits."""

from __future__ import annotations

import subprocess
import sys

import pytest

# PR_SET_CHILD_SUBREAPER (prctl(2)) has orphans fall to this process, as they do to a container's first one.
PROGRAM = """
import ctypes, os, subprocess, time
from comfypod.orphans import OrphanReaper

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
subprocess.run("true & true & true &", shell=True, check=True)
own = subprocess.Popen(["sh", "-c", "exit 7"])

def dead():
    states = subprocess.run(["ps", "-o", "stat=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    return states.count("Z")

deadline = time.monotonic() + 10
while dead() != 4:
    assert time.monotonic() < deadline, dead()
reaper = OrphanReaper()
reaper.look()
assert dead() == 4, "what died a moment ago may be somebody's"
assert own.wait() == 7
reaper.look()
assert dead() == 0
reaper.look()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to have orphans fall to this process")
def test_orphans_are_reaped() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=30)
