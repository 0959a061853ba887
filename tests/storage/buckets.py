"""What the tests of buckets share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import requests
from pydantic import SecretStr

from comfypod.deadline import Deadline
from comfypod.settings import Settings
from comfypod.storage.buckets.address import BucketAddress
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.buckets.store import BucketKeys, Patience
from tests.s3_server import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, S3Server

SECONDS = 20
IMPATIENT = Patience(stall_seconds=0.5, retry_seconds=1, retries=2)


def soon() -> Deadline:
    """Time enough for anything that goes well."""
    return Deadline.after(SECONDS)


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Poll until it is so; the test fails if that takes too long."""
    async with asyncio.timeout(SECONDS):
        while not await done():
            await asyncio.sleep(0.01)


def bucket_of(server: S3Server, **settings: str) -> Bucket:
    """The bucket of a worker whose settings name the server's, but for those that are given."""
    made = Bucket.from_settings(Settings.from_environment({**server.environment, **settings}))
    assert made is not None
    return made


def bucket_at(url: str, patience: Patience = IMPATIENT) -> Bucket:
    """A bucket that is tried for a second or two only."""
    keys = BucketKeys(SecretStr(ACCESS_KEY_ID), SecretStr(SECRET_ACCESS_KEY))
    return Bucket(BucketAddress.parse(url, BUCKET, None, "auto", ""), keys, patience=patience)


def fetch(url: str) -> requests.Response:
    """What whoever has the address gets, through a client that knows nothing of S3."""
    return requests.get(url, timeout=10)


def write(path: Path, content: bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content)
    return path


def sparse(path: Path, size_bytes: int) -> Path:
    """A file of zeros, which takes no room on disk."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
