"""Building and running images with Debian's buildah and podman, as root, with everything they keep in one folder.

buildah 1.28 with chroot isolation and podman 4.3 with runc work where a container engine does not: without user
namespaces, and with the host's network. They know no heredocs and no ``COPY --link``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BUILD_SECONDS = 1_800.0
"""As long as RunPod lets a build take (docs.runpod.io, "GitHub integration")."""
_TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP (?P<number>\d+/\d+): (?P<words>.*)")


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction of the Dockerfile, and how long it took."""

    words: str
    seconds: float


class Containers:
    """The images below ``folder``."""

    def __init__(self, folder: Path) -> None:
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            raise SystemExit(
                f"{', '.join(missing)} is missing: apt-get install --no-install-recommends {' '.join(_TOOLS)}"
            )
        self._folder = folder
        self._storage = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"))
        self._buildah = ("buildah", *self._storage, "--storage-driver", "overlay")

    def make_base(self, suite: str, tag: str) -> None:
        """An image of a bare Debian, in place of NVIDIA's, which no Debian mirror has."""
        archive = self._folder / f"{suite}.tar"
        if not archive.exists():
            _run("mmdebstrap", "--variant=minbase", "--include=ca-certificates", suite, str(archive))
        if tag in _run(*self._buildah, "images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        container = _run(*self._buildah, "from", "scratch").strip()
        _run(*self._buildah, "add", container, str(archive), "/")
        _run(*self._buildah, "commit", "--rm", container, tag)

    def build(
        self, context: Path, tag: str, target: str, arguments: Mapping[str, str], mounts: Sequence[str]
    ) -> list[Step]:
        """Build the Dockerfile in ``context``; what it prints goes to stderr. ``mounts``: ``SOURCE:TARGET``."""
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        options += [f"--volume={mount}:ro" for mount in mounts]
        command = [*self._buildah, "bud", "--format=docker", "--isolation=chroot", "--pull-never", "--layers", *options]
        return list(_steps([*command, f"--target={target}", f"--tag={tag}", str(context)]))

    def layers(self, tag: str) -> list[tuple[int, str]]:
        """Size in bytes of each layer of an image, and what made it; the first one first."""
        command = ("podman", *self._storage, "--storage-driver", "overlay", "history", "--format=json", tag)
        return [(layer["size"], layer["CreatedBy"]) for layer in reversed(json.loads(_run(*command)))]

    def run_command(self, tag: str, variables: Sequence[str]) -> list[str]:
        """A command that runs an image, in a container with process numbers of its own; it hands SIGTERM on."""
        return [
            *("podman", *self._storage, "--storage-driver", "overlay", "--runtime", "runc"),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "file", "run", "--rm", "--network", "host"),
            *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
            *(item for name in variables for item in ("--env", name)),
            tag,
        ]


def context_of(repository: Path, folder: Path) -> None:
    """What is committed in the repository, as a builder gets it."""
    archive = folder.with_suffix(".tar")
    _run("git", "-C", str(repository), "archive", "--format=tar", f"--output={archive}", "HEAD")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


def _steps(command: Sequence[str]) -> Iterator[Step]:
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that a build that stands still, without a word, is ended with all of its steps
    )
    limit = threading.Timer(BUILD_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    try:
        words, since = "", begun
        for line in process.stdout or ():
            sys.stderr.write(line)
            if match := _STEP.match(line):
                if words:
                    yield Step(words, time.monotonic() - since)
                words, since = match["words"], time.monotonic()
        yield Step(words, time.monotonic() - since)
        code = process.wait()
    finally:
        limit.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if time.monotonic() - begun >= BUILD_SECONDS:
        raise SystemExit(f"The build took longer than {BUILD_SECONDS:g} s.")
    if code != 0:
        raise SystemExit(f"The build failed (exit code {code}): its last lines say why.")


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=BUILD_SECONDS)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:2])} failed (exit code {done.returncode}).")
    return done.stdout
