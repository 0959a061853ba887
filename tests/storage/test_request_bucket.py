"""The bucket that a request brings along: understood, uploaded to, and kept out of private networks."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from comfypod.deadline import Deadline
from comfypod.errors import DeadlineExceeded, InvalidJobInput, UploadFailed
from comfypod.files.content import FileContent
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.buckets.request_bucket import RequestBucket
from comfypod.storage.safe_http import SafeHTTP
from tests.s3_server import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, S3Server
from tests.storage.buckets import fetch, soon, sparse, write
from tests.storage.misbehaving_store import MisbehavingStore, never, refusal, serving


@pytest.fixture
async def http() -> AsyncIterator[SafeHTTP]:
    """What an operator set up who allows this machine; nobody else's worker may reach it."""
    async with SafeHTTP(AddressPolicy.from_lists("127.0.0.1", "")) as opened:
        yield opened


@pytest.fixture
async def misbehaving() -> AsyncIterator[MisbehavingStore]:
    async with serving(MisbehavingStore()) as store:
        yield store


def s3_config(url: str, **others: Any) -> dict[str, Any]:
    return {
        "accessId": ACCESS_KEY_ID,
        "accessSecret": SECRET_ACCESS_KEY,
        "bucketName": BUCKET,
        "endpointUrl": url,
        **others,
    }


async def test_a_result_goes_to_the_callers_bucket(s3_server: S3Server, http: SafeHTTP, tmp_path: Path) -> None:
    prefix = uuid4().hex
    bucket = RequestBucket.parse(s3_config(s3_server.url, objectPath=f"/{prefix}/mine/"), http, 600)
    key = "job-u1/9/50% é+#🦊.png"

    await bucket.upload(FileContent(write(tmp_path / "a.png", b"fox")), key, "image/png", soon())

    assert s3_server.content(f"{prefix}/mine/{key}") == b"fox"
    assert s3_server.head(f"{prefix}/mine/{key}")["ContentType"] == "image/png"
    url, expires_at = bucket.url(key)
    assert expires_at is not None
    assert "X-Amz-Expires=600" in url
    assert fetch(url).content == b"fox"


async def test_several_large_files_go_at_once(s3_server: S3Server, http: SafeHTTP, tmp_path: Path) -> None:
    prefix = uuid4().hex
    bucket = RequestBucket.parse(s3_config(f"{s3_server.url}/{BUCKET}", bucketName=None, objectPath=prefix), http)
    async with asyncio.TaskGroup() as group:
        for index in range(6):
            path = sparse(tmp_path / str(index), 8_000_000 + index)
            group.create_task(bucket.upload(FileContent(path), str(index), "video/mp4", soon()))
    assert s3_server.sizes(prefix) == {f"{prefix}/{index}": 8_000_000 + index for index in range(6)}


async def test_a_private_endpoint_is_not_reached(misbehaving: MisbehavingStore, tmp_path: Path) -> None:
    async with SafeHTTP(AddressPolicy.from_lists("", "")) as http:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
            url = f"http://{host}:{urlsplit(misbehaving.url).port}"
            with pytest.raises(UploadFailed) as caught:
                await RequestBucket.parse(s3_config(url), http).upload(
                    FileContent(write(tmp_path / "a.png", b"fox")), "a.png", "image/png", soon()
                )
            assert caught.value.target == "outputs/a.png"
    assert misbehaving.most_under_way == 0


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ("s3://bucket", ["s3Config: must be an object with accessId, accessSecret, bucketName and endpointUrl"]),
        ([], ["s3Config: must be an object"]),
        (
            {},
            [
                "s3Config.accessId: field required",
                "s3Config.accessSecret: field",
                "s3Config.endpointUrl: field required",
            ],
        ),
        (s3_config("https://s3.amazonaws.com", accessSecret=""), ["s3Config.accessSecret: "]),
        (s3_config("https://s3.amazonaws.com", accessSecret={"hidden-77": 1}), ["s3Config.accessSecret: "]),
        (s3_config("https://s3.amazonaws.com", bucketName=7), ["s3Config.bucketName: "]),
        (s3_config("https://s3.amazonaws.com", bucketName=None), ["s3Config.bucketName: is missing"]),
        (s3_config("https://s3.amazonaws.com", bucketName="a/b"), ["s3Config.bucketName: 'a/b' cannot be"]),
        (
            s3_config("https://s3.amazonaws.com/other"),
            ["s3Config.bucketName: s3Config.endpointUrl names another bucket"],
        ),
        (s3_config("file:///etc/passwd"), ["s3Config.endpointUrl: must be an address"]),
        (s3_config("https://hidden-77:x@example.com"), ["s3Config.endpointUrl: must have neither credentials"]),
        (s3_config("https://s3.amazonaws.com", objectPath="../up"), ["s3Config.objectPath: "]),
        (s3_config("https://s3api-eu-ro-1.runpod.io"), ["s3Config.endpointUrl: this store has no presigned addresses"]),
    ],
)
async def test_what_is_wrong_with_it_is_said_with_its_path(http: SafeHTTP, given: Any, problems: list[str]) -> None:
    with pytest.raises(InvalidJobInput) as caught:
        RequestBucket.parse(given, http)
    assert len(caught.value.problems) == len(problems)
    assert all(map(str.startswith, caught.value.problems, problems))
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET_ACCESS_KEY not in told
    assert "hidden-77" not in told


async def test_a_wrong_secret_fails_the_upload_and_is_never_told(
    s3_server: S3Server, http: SafeHTTP, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = RequestBucket.parse(s3_config(s3_server.url, accessSecret="wrong-secret-0815"), http)
    with caplog.at_level(logging.DEBUG), pytest.raises(UploadFailed) as caught:
        await bucket.upload(FileContent(write(tmp_path / "a.png", b"fox")), "a.png", "image/png", soon())
    assert "403" in caught.value.cause
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(bucket) + caplog.text
    for secret in ("wrong-secret-0815", "X-Amz-Signature", ACCESS_KEY_ID):
        assert secret not in told


async def test_it_ends_with_the_deadline(misbehaving: MisbehavingStore, http: SafeHTTP, tmp_path: Path) -> None:
    misbehaving.plan("PUT", never)
    bucket = RequestBucket.parse(s3_config(misbehaving.url), http)
    with pytest.raises(DeadlineExceeded) as caught:
        await bucket.upload(FileContent(write(tmp_path / "a.png", b"fox")), "a.png", "image/png", Deadline.after(0.3))
    assert caught.value.phase == "deliver"


async def test_a_busy_store_is_asked_again(misbehaving: MisbehavingStore, http: SafeHTTP, tmp_path: Path) -> None:
    misbehaving.plan("PUT", refusal(503, "SlowDown"))
    bucket = RequestBucket.parse(s3_config(misbehaving.url), http)
    await bucket.upload(FileContent(write(tmp_path / "a.png", b"fox")), "a.png", "image/png", soon())
    assert misbehaving.objects == {"/outputs/a.png": b"fox"}


async def test_a_key_that_s3_cannot_have_is_refused(http: SafeHTTP, tmp_path: Path) -> None:
    bucket = RequestBucket.parse(s3_config("https://s3.amazonaws.com"), http)
    with pytest.raises(UploadFailed, match="the key"):
        await bucket.upload(FileContent(write(tmp_path / "a.png", b"fox")), "../a.png", "image/png", soon())
    with pytest.raises(UploadFailed, match="the key"):
        bucket.url("")
