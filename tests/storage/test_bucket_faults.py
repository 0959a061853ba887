"""The worker's bucket at a store that is busy, slow, cut off or unwilling."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from comfypod.deadline import Deadline
from comfypod.errors import DeadlineExceeded, DownloadFailed, DownloadInterrupted, UploadFailed
from comfypod.files.content import FileContent
from comfypod.storage.buckets.store import Patience
from tests.storage.buckets import bucket_at, names, soon, sparse, until, write
from tests.storage.misbehaving_store import Answer, MisbehavingStore, cut, never, refusal, serving

SMALL = b"\x89PNG small"


@pytest.fixture
async def misbehaving() -> AsyncIterator[MisbehavingStore]:
    async with serving(MisbehavingStore()) as store:
        yield store


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "fox.png", SMALL)


async def test_a_busy_store_is_asked_again(misbehaving: MisbehavingStore, small: Path) -> None:
    misbehaving.plan("PUT", refusal(503, "SlowDown"))
    misbehaving.plan("PUT", refusal(429, "TooManyRequests"))
    await bucket_at(misbehaving.url, Patience()).upload(FileContent(small), "a.png", "image/png", soon())
    assert misbehaving.objects["/outputs/a.png"] == SMALL
    assert not misbehaving.planned


@pytest.mark.parametrize(("host", "signs"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
async def test_the_body_is_signed_where_it_could_be_changed_on_its_way(
    misbehaving: MisbehavingStore, small: Path, tmp_path: Path, host: str, signs: bool
) -> None:
    made = bucket_at(misbehaving.url.replace("127.0.0.1", host))
    sha256 = await made.upload(FileContent(small), "a.png", "image/png", soon())
    large = FileContent(sparse(tmp_path / "a.mp4", 18_000_000))
    await made.upload(large, "a.mp4", "video/mp4", soon())
    assert sha256 == hashlib.sha256(SMALL).hexdigest()
    assert (len(misbehaving.signed_bodies), sha256 in misbehaving.signed_bodies) == ((4, True) if signs else (0, False))


async def test_a_store_that_does_not_answer_is_asked_again(misbehaving: MisbehavingStore, small: Path) -> None:
    misbehaving.plan("PUT", never)
    await bucket_at(misbehaving.url, Patience(stall_seconds=0.3)).upload(
        FileContent(small), "a.png", "image/png", soon()
    )
    assert misbehaving.objects["/outputs/a.png"] == SMALL


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (refusal(503, "SlowDown", "Reduce your request rate."), "503 SlowDown (Reduce your request rate.)"),
        (refusal(403, "AccessDenied"), "access was denied"),
        (refusal(413, "EntityTooLarge", "too large"), "413 EntityTooLarge (too large)"),
        (never, "it did not answer in time"),
    ],
)
async def test_a_store_that_keeps_refusing_fails_the_upload(
    misbehaving: MisbehavingStore, small: Path, answer: Answer, cause: str
) -> None:
    misbehaving.plan("PUT", answer, times=10)
    with pytest.raises(UploadFailed) as caught:
        await bucket_at(misbehaving.url).upload(FileContent(small), "job/a.png", "image/png", soon())
    assert caught.value.target == "outputs/job/a.png"
    assert cause in caught.value.cause


async def test_uploads_end_with_the_deadline(misbehaving: MisbehavingStore, small: Path) -> None:
    misbehaving.plan("PUT", never)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        await bucket_at(misbehaving.url, Patience()).upload(
            FileContent(small), "a.png", "image/png", Deadline.after(0.3)
        )
    assert caught.value.phase == "deliver"
    assert time.monotonic() - started < 3


async def test_uploads_run_at_once_but_not_all(misbehaving: MisbehavingStore, small: Path) -> None:
    misbehaving.pause_seconds = 0.02
    made = bucket_at(misbehaving.url)
    async with asyncio.TaskGroup() as group:
        for index in range(30):
            group.create_task(made.upload(FileContent(small), str(index), "image/png", soon()))
    assert len(misbehaving.objects) == 30
    assert 2 <= misbehaving.most_under_way <= 8


@pytest.mark.parametrize("size_bytes", [18_000_000, 30_000_000], ids=["while it ends", "in the middle"])
async def test_a_cancelled_upload_leaves_no_parts(
    misbehaving: MisbehavingStore, tmp_path: Path, size_bytes: int
) -> None:
    let_go = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return await misbehaving.right_answer(request)

    async def two_parts_are_under_way() -> bool:
        return misbehaving.under_way == 2  # of 18 MB a third one, too short to be sent before the end is known

    async def no_parts_are_left() -> bool:
        return not misbehaving.uploads

    misbehaving.plan("PUT", held, times=2)
    path = sparse(tmp_path / "a.mp4", size_bytes)
    upload = asyncio.create_task(
        bucket_at(misbehaving.url, Patience()).upload(FileContent(path), "a", "video/mp4", soon())
    )
    await until(two_parts_are_under_way)
    started = time.monotonic()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert time.monotonic() - started < 5
    let_go.set()
    await until(no_parts_are_left)
    # What had nearly ended ends: there is the whole object, or none.
    assert misbehaving.objects in ({}, {"/outputs/a": bytes(size_bytes)})


async def test_an_upload_cancelled_while_it_begins_is_ended_at_the_store(
    misbehaving: MisbehavingStore, tmp_path: Path
) -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def begin_and_wait(request: web.Request) -> web.StreamResponse:
        answer = await misbehaving.right_answer(request)
        begun.set()
        await let_go.wait()
        return answer

    async def none_is_left() -> bool:
        return not misbehaving.uploads

    misbehaving.plan("POST", begin_and_wait)
    path = sparse(tmp_path / "a.mp4", 18_000_000)
    upload = asyncio.create_task(
        bucket_at(misbehaving.url, Patience()).upload(FileContent(path), "a", "video/mp4", soon())
    )
    await begun.wait()
    upload.cancel()
    asyncio.get_running_loop().call_later(0.5, let_go.set)
    with pytest.raises(asyncio.CancelledError):
        await upload
    await until(none_is_left)
    assert misbehaving.objects == {}


async def test_a_dead_store_does_not_hold_up_a_cancellation(misbehaving: MisbehavingStore, tmp_path: Path) -> None:
    async def two_parts_are_under_way() -> bool:
        return misbehaving.under_way == 2

    misbehaving.plan("PUT", never, times=9)
    misbehaving.plan("DELETE", never, times=9)
    path = sparse(tmp_path / "a.mp4", 18_000_000)
    upload = asyncio.create_task(
        bucket_at(misbehaving.url, Patience()).upload(FileContent(path), "a", "video/mp4", soon())
    )
    await until(two_parts_are_under_way)
    started = time.monotonic()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("key", ["", "/", "a//b", "a/", "../a", "a\nb", "\udc80.png", 1025 * "a"])
async def test_a_key_that_s3_cannot_have_is_refused(misbehaving: MisbehavingStore, small: Path, key: str) -> None:
    made = bucket_at(misbehaving.url)
    with pytest.raises(UploadFailed, match="the key"):
        await made.upload(FileContent(small), key, "image/png", soon())
    with pytest.raises(UploadFailed, match="the key"):
        made.url(key)
    with pytest.raises(DownloadFailed, match="the key"):
        await made.download(key, small, soon())
    assert misbehaving.most_under_way == 0  # an empty one would mean the bucket itself


async def test_a_file_that_cannot_be_read_fails_the_upload(misbehaving: MisbehavingStore, tmp_path: Path) -> None:
    made = bucket_at(misbehaving.url)
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(UploadFailed, match="its file cannot be read"):
            await made.upload(FileContent(path), "a.png", "image/png", soon())


async def test_a_download_goes_on_where_it_broke_off(misbehaving: MisbehavingStore, tmp_path: Path) -> None:
    misbehaving.objects["/outputs/a"] = content = bytes(1_000_000) + os.urandom(2_000_000)
    misbehaving.plan("GET", cut)
    downloaded = await bucket_at(misbehaving.url).download("a", tmp_path / "a", soon())
    assert downloaded.sha256 == hashlib.sha256(content).hexdigest()
    assert names(tmp_path) == ["a"]


async def test_a_download_that_keeps_breaking_off_can_be_tried_later(
    misbehaving: MisbehavingStore, tmp_path: Path
) -> None:
    misbehaving.plan("GET", cut)
    misbehaving.plan("GET", refusal(503, "SlowDown"), times=10)
    with pytest.raises(DownloadInterrupted, match="s3://outputs/a: "):
        await bucket_at(misbehaving.url).download("a", tmp_path / "a", soon())
    assert names(tmp_path) == []


async def test_a_download_ends_with_the_deadline_and_leaves_nothing(
    misbehaving: MisbehavingStore, tmp_path: Path
) -> None:
    misbehaving.plan("GET", never)
    with pytest.raises(DeadlineExceeded) as caught:
        await bucket_at(misbehaving.url, Patience()).download("a", tmp_path / "a", Deadline.after(0.3))
    assert caught.value.phase == "download"
    assert names(tmp_path) == []


async def test_a_folder_that_cannot_be_written_fails_the_download(
    misbehaving: MisbehavingStore, tmp_path: Path
) -> None:
    misbehaving.objects["/outputs/a"] = b"content"
    with pytest.raises(DownloadFailed, match="it cannot be written"):
        await bucket_at(misbehaving.url).download("a", tmp_path / "missing" / "a", soon())
