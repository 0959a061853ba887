"""The worker's bucket against a server that checks signatures."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
import requests

from comfypod.deadline import Deadline
from comfypod.errors import DownloadFailed, UploadFailed
from comfypod.files.content import FileContent
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.buckets.store import PART_BYTES, WHOLE_BYTES
from comfypod.storage.download import ByteBudget
from tests.s3_server import BUCKET, S3Server
from tests.storage.buckets import bucket_at, bucket_of, fetch, names, soon, sparse, until, write

SMALL = b"\x89PNG small"


@pytest.fixture
def prefix() -> str:
    """Keys of this test alone."""
    return uuid4().hex


@pytest.fixture
def bucket(s3_server: S3Server, prefix: str) -> Bucket:
    return bucket_of(s3_server, BUCKET_PREFIX=prefix)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "fox.png", SMALL)


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """Its upload takes a second or two."""
    return sparse(tmp_path / "huge.mp4", 200 * 1024**2)


@pytest.mark.parametrize(
    "name",
    [
        "fox_00001_.png",
        "a red fox.png",
        "reineke-fuchs-é-ß.png",
        "🦊.png",
        "1+1=2 & more.png",
        "take #2.png",
        "100%.png",
        "100%25.png",
        "really?x=1.png",
        'it\'s;"quoted".png',
        "~tilde(1)[2]{3}.png",
    ],
)
async def test_a_file_comes_back_by_its_address_whatever_its_name(
    bucket: Bucket, prefix: str, s3_server: S3Server, tmp_path: Path, name: str
) -> None:
    await bucket.upload(FileContent(write(tmp_path / name, name.encode())), f"job-u1/9/{name}", "image/png", soon())
    answer = fetch(bucket.url(f"job-u1/9/{name}")[0])

    assert (answer.status_code, answer.content) == (200, name.encode())
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == f"inline; filename*=UTF-8''{quote(name, safe='')}"
    assert s3_server.content(f"{prefix}/job-u1/9/{name}") == name.encode()


async def test_a_large_file_goes_in_parts_and_arrives_whole(
    bucket: Bucket, prefix: str, s3_server: S3Server, tmp_path: Path
) -> None:
    content = os.urandom(41_000_000)
    sha256 = await bucket.upload(FileContent(write(tmp_path / "clip.mp4", content)), "clip.mp4", "video/mp4", soon())

    assert sha256 == hashlib.sha256(content).hexdigest()
    assert hashlib.sha256(s3_server.content(f"{prefix}/clip.mp4")).digest() == hashlib.sha256(content).digest()
    head = s3_server.head(f"{prefix}/clip.mp4")
    assert head["ContentType"] == "video/mp4"
    assert head["ETag"].endswith('-7"')  # the number of its parts
    assert s3_server.unfinished_uploads(f"{prefix}/") == []


@pytest.mark.parametrize("size_bytes", [0, 1, WHOLE_BYTES, WHOLE_BYTES + 1, 3 * PART_BYTES, 3 * PART_BYTES + 1])
async def test_sizes_about_those_of_a_part_and_of_what_goes_whole(
    bucket: Bucket, prefix: str, s3_server: S3Server, tmp_path: Path, size_bytes: int
) -> None:
    await bucket.upload(FileContent(sparse(tmp_path / "a", size_bytes)), "a", "application/octet-stream", soon())
    assert s3_server.content(f"{prefix}/a") == bytes(size_bytes)


async def test_a_second_upload_replaces_the_first(
    bucket: Bucket, prefix: str, s3_server: S3Server, small: Path, tmp_path: Path
) -> None:
    await bucket.upload(FileContent(small), "a.png", "image/png", soon())
    await bucket.upload(FileContent(write(tmp_path / "b", b"newer")), "a.png", "image/webp", soon())
    assert s3_server.content(f"{prefix}/a.png") == b"newer"
    assert s3_server.head(f"{prefix}/a.png")["ContentType"] == "image/webp"


async def test_many_files_at_once_all_arrive(bucket: Bucket, prefix: str, s3_server: S3Server, tmp_path: Path) -> None:
    sizes = [100 * index for index in range(40)] + [12_000_000, 6_000_000, 12_000_000, 6_000_000]
    async with asyncio.TaskGroup() as group:
        for index, size_bytes in enumerate(sizes):
            path = sparse(tmp_path / str(index), size_bytes)
            group.create_task(bucket.upload(FileContent(path), str(index), "image/png", soon()))
    assert s3_server.sizes(f"{prefix}/") == {f"{prefix}/{index}": size for index, size in enumerate(sizes)}


async def test_an_address_stops_to_work_at_the_moment_it_tells(s3_server: S3Server, prefix: str, small: Path) -> None:
    brief = bucket_of(s3_server, BUCKET_PREFIX=prefix, BUCKET_URL_LIFETIME_SECONDS="2")
    await brief.upload(FileContent(small), "a.png", "image/png", soon())
    url, expires_at = brief.url("a.png")
    assert expires_at is not None
    assert expires_at.tzinfo is UTC
    assert fetch(url).status_code == 200

    async def refused() -> bool:
        return fetch(url).status_code == 403

    await until(refused)
    assert 0 <= (datetime.now(UTC) - expires_at).total_seconds() < 2


async def test_an_address_serves_nothing_but_its_object(bucket: Bucket, small: Path) -> None:
    for key in ("a.png", "b.png"):
        await bucket.upload(FileContent(small), key, "image/png", soon())
    url, _ = bucket.url("a.png")
    assert fetch(url).status_code == 200
    other_signature = url[:-1] + ("0" if url[-1] != "0" else "1")
    longer = url.replace("X-Amz-Expires=86400", "X-Amz-Expires=604800")
    for tampered in (url.replace("/a.png", "/b.png"), other_signature, longer, url.split("?")[0]):
        assert tampered != url
        assert fetch(tampered).status_code == 403
    answer = await asyncio.to_thread(requests.put, url, data=b"x", timeout=10)
    assert answer.status_code == 403


async def test_cancellation_passes_at_once_and_leaves_no_parts(
    bucket: Bucket, prefix: str, s3_server: S3Server, huge: Path
) -> None:
    upload = asyncio.create_task(bucket.upload(FileContent(huge), "huge.mp4", "video/mp4", soon()))
    await until(lambda: has_begun(s3_server, prefix))
    cancelled = time.monotonic()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert time.monotonic() - cancelled < 1
    await until(lambda: has_ended(s3_server, prefix))
    assert s3_server.sizes(prefix) == {}


async def has_begun(server: S3Server, prefix: str = "") -> bool:
    return bool(await asyncio.to_thread(server.unfinished_uploads, prefix))


async def has_ended(server: S3Server, prefix: str) -> bool:
    return not await has_begun(server, prefix)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that the test may kill."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


async def test_a_store_that_restarts_in_the_middle_gets_the_file(own_server: S3Server, huge: Path) -> None:
    upload = asyncio.create_task(
        bucket_of(own_server).upload(FileContent(huge), "huge.mp4", "video/mp4", Deadline.after(60))
    )
    await until(lambda: has_begun(own_server))
    await asyncio.to_thread(own_server.kill)
    assert not upload.done()
    await asyncio.to_thread(own_server.start)
    await upload
    assert own_server.sizes("huge.mp4") == {"huge.mp4": 200 * 1024**2}


async def test_a_store_that_dies_in_the_middle_fails_the_upload(own_server: S3Server, huge: Path) -> None:
    upload = asyncio.create_task(bucket_at(own_server.url).upload(FileContent(huge), "huge.mp4", "video/mp4", soon()))
    await until(lambda: has_begun(own_server))
    await asyncio.to_thread(own_server.kill)
    with pytest.raises(UploadFailed) as caught:
        await upload
    assert caught.value.retryable
    assert "connection" in caught.value.cause


async def test_an_object_comes_from_the_bucket(bucket: Bucket, prefix: str, tmp_path: Path) -> None:
    content = os.urandom(6_000_000)
    await bucket.upload(FileContent(write(tmp_path / "out.mp4", content)), "in é.mp4", "video/mp4", soon())
    budget = ByteBudget(10_000_000)

    downloaded = await bucket.download(f"{prefix}/in é.mp4", tmp_path / "in.mp4", soon(), budget)

    assert read(tmp_path / "in.mp4") == content
    assert downloaded.size_bytes == len(content)
    assert downloaded.sha256 == hashlib.sha256(content).hexdigest()
    assert downloaded.content_type == "video/mp4"
    with pytest.raises(DownloadFailed, match="10,000,000 bytes"):
        await bucket.download(f"{prefix}/in é.mp4", tmp_path / "again.mp4", soon(), budget)
    assert names(tmp_path) == ["in.mp4", "out.mp4"]


def read(path: Path) -> bytes:
    return path.read_bytes()


async def test_an_object_that_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        await bucket.download("no/such.png", tmp_path / "a", soon())
    assert str(caught.value) == "s3://outputs/no/such.png: there is no such object"
    assert not caught.value.retryable
    assert names(tmp_path) == []


def test_it_is_checked_in_one_event_loop_and_used_in_another(s3_server: S3Server, prefix: str, small: Path) -> None:
    made = bucket_of(s3_server, BUCKET_PREFIX=prefix)
    assert made.name == BUCKET
    asyncio.run(made.check(soon()))
    asyncio.run(made.upload(FileContent(small), "a.png", "image/png", soon()))
    assert s3_server.content(f"{prefix}/a.png") == SMALL


# The peak is VmHWM: ru_maxrss of a new process begins with its parent's.
MEMORY_SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from comfypod.deadline import Deadline
from comfypod.files.content import FileContent
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket

def peak_kibibytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

async def main():
    bucket = Bucket.from_settings(Settings.from_environment(os.environ))
    await bucket.check(Deadline.after(20))
    before = peak_kibibytes()
    async with asyncio.TaskGroup() as group:
        for path in map(Path, sys.argv[1:]):
            group.create_task(bucket.upload(FileContent(path), f"memory/{path.name}", "video/mp4", Deadline.after(60)))
    await bucket.download("memory/0", Path(sys.argv[1] + ".back"), Deadline.after(60))
    print(peak_kibibytes() - before)

asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process by itself")
@pytest.mark.parametrize("sizes_megabytes", [[250], [50] * 5, [50] * 3 + [4] * 25], ids=["one", "five", "mixed"])
def test_250_megabytes_need_less_than_64_of_memory(
    s3_server: S3Server, tmp_path: Path, sizes_megabytes: list[int]
) -> None:
    paths = [sparse(tmp_path / str(i), size * 1_000_000) for i, size in enumerate(sizes_megabytes)]
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, *map(str, paths)],
        env={**os.environ, **s3_server.environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 64_000_000 / 1024
    assert (tmp_path / "0.back").stat().st_size == paths[0].stat().st_size
