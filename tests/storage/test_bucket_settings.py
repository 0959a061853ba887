"""A bucket that is set up wrongly is found at start, and the sentence names the setting to change."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from aiohttp import web

from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError
from comfypod.files.content import FileContent
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket
from tests.s3_server import SECRET_ACCESS_KEY, S3Server
from tests.storage.buckets import bucket_at, bucket_of, fetch, soon, write
from tests.storage.misbehaving_store import Answer, MisbehavingStore, never, refusal, serving

AWS = {
    "BUCKET_ENDPOINT_URL": "https://s3.eu-west-1.amazonaws.com/art",
    "BUCKET_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "BUCKET_SECRET_ACCESS_KEY": "secret-4711",
}
# What a container may have set for other programs.
OTHER_PROGRAMS = {
    "AWS_ACCESS_KEY_ID": "another-key",
    "AWS_SECRET_ACCESS_KEY": "another-secret",
    "AWS_SESSION_TOKEN": "another-token",
    "AWS_REGION": "mars-north-1",
    "AWS_DEFAULT_REGION": "mars-north-2",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_BUCKET": "another-bucket",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_UNSIGNED_PAYLOAD": "true",
    "AWS_S3_EXPRESS": "true",
    "AWS_REQUEST_PAYER": "true",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
}


@pytest.fixture
async def misbehaving() -> AsyncIterator[MisbehavingStore]:
    async with serving(MisbehavingStore()) as store:
        yield store


def from_environment(environment: dict[str, str]) -> Bucket:
    made = Bucket.from_settings(Settings.from_environment(environment))
    assert made is not None
    return made


def test_without_a_setting_there_is_no_bucket() -> None:
    assert Bucket.from_settings(Settings()) is None
    assert Bucket.from_settings(Settings(bucket_prefix="made", bucket_region="eu-west-1")) is None


@pytest.mark.parametrize(
    ("environment", "sentences"),
    [
        (
            {"BUCKET_ENDPOINT_URL": AWS["BUCKET_ENDPOINT_URL"]},
            ["BUCKET_ACCESS_KEY_ID: is missing", "BUCKET_SECRET_ACCESS_KEY: is missing"],
        ),
        (
            {**AWS, "BUCKET_SECRET_ACCESS_KEY": ""},
            ["BUCKET_SECRET_ACCESS_KEY: is missing, but BUCKET_ENDPOINT_URL is set."],
        ),
        ({**AWS, "BUCKET_ENDPOINT_URL": ""}, ["BUCKET_ENDPOINT_URL: is missing, but BUCKET_ACCESS_KEY_ID is set."]),
        (
            {"BUCKET_NAME": "art"},
            ["BUCKET_ENDPOINT_URL: is missing, but BUCKET_NAME is set.", "BUCKET_ACCESS_KEY_ID: is missing"],
        ),
        ({**AWS, "BUCKET_ENDPOINT_URL": "https://s3.eu-west-1.amazonaws.com"}, ["BUCKET_NAME: is missing"]),
        (
            {**AWS, "BUCKET_ENDPOINT_URL": "https://s3api-eu-ro-1.runpod.io/vol1"},
            ["no presigned addresses", "BUCKET_PUBLIC_URL"],
        ),
    ],
)
def test_half_a_bucket_is_found_before_anything_is_sent(environment: dict[str, str], sentences: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Bucket.from_settings(Settings.from_environment(environment))
    assert all(sentence in str(caught.value) for sentence in sentences)


def test_a_public_bucket_gets_plain_addresses() -> None:
    made = from_environment({**AWS, "BUCKET_PUBLIC_URL": "https://cdn.example.com/x/", "BUCKET_PREFIX": "made"})
    assert made.url("job/9/50% é+#.png") == ("https://cdn.example.com/x/made/job/9/50%25%20%C3%A9%2B%23.png", None)


def test_an_address_at_aws_is_made_of_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OTHER_PROGRAMS.items():
        monkeypatch.setenv(name, value)
    url = urlsplit(from_environment(AWS).url("job/a.png")[0])
    assert (url.scheme, url.netloc, url.path) == ("https", "art.s3.eu-west-1.amazonaws.com", "/job/a.png")
    assert "X-Amz-Credential=AKIDEXAMPLE%2F" in url.query
    assert "%2Feu-west-1%2Fs3%2Faws4_request" in url.query
    assert "X-Amz-Expires=86400" in url.query
    assert "Token" not in url.query
    assert "payer" not in url.query


async def test_the_environment_of_other_programs_changes_nothing(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OTHER_PROGRAMS.items():
        monkeypatch.setenv(name, value)
    made = bucket_of(s3_server, BUCKET_PREFIX=uuid4().hex)
    await made.check(soon())
    await made.upload(FileContent(write(tmp_path / "a.png", b"fox")), "a.png", "image/png", soon())
    assert fetch(made.url("a.png")[0]).content == b"fox"


async def test_a_bucket_that_works_passes_and_keeps_nothing(s3_server: S3Server) -> None:
    prefix = uuid4().hex
    await bucket_of(s3_server, BUCKET_PREFIX=prefix).check(soon())
    assert s3_server.sizes(prefix) == {}


def unused_port() -> int:
    with socket.socket() as item:
        item.bind(("127.0.0.1", 0))
        return int(item.getsockname()[1])


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("BUCKET_SECRET_ACCESS_KEY", "wrong-secret-0815", "BUCKET_SECRET_ACCESS_KEY: it does not belong to the key"),
        ("BUCKET_ACCESS_KEY_ID", "wrong-key", "BUCKET_ACCESS_KEY_ID: http://127.0.0.1:PORT does not know this key."),
        ("BUCKET_NAME", "nowhere", "BUCKET_NAME: http://127.0.0.1:PORT has no bucket 'nowhere'"),
        ("BUCKET_ENDPOINT_URL", "http://127.0.0.1:UNUSED", "cannot be used; the connection was refused."),
        ("BUCKET_ENDPOINT_URL", "http://no-such-host.invalid", "cannot be used; the host cannot be found."),
        ("BUCKET_ENDPOINT_URL", "https://127.0.0.1:PORT", "cannot be used; the connection failed or broke off."),
    ],
)
async def test_what_is_wrong_with_a_bucket_is_said(
    s3_server: S3Server, setting: str, value: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = str(urlsplit(s3_server.url).port)
    value = value.replace("PORT", port).replace("UNUSED", str(unused_port()))
    made = bucket_of(s3_server, **{setting: value})

    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError) as caught:
        await made.check(soon())

    assert sentence.replace("PORT", port) in str(caught.value)
    assert str(caught.value).startswith(f"{setting}: ")
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text + repr(made)
    for secret in ("wrong-secret-0815", SECRET_ACCESS_KEY, "Signature=", "<Error>"):
        assert secret not in told


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (refusal(403, "AccessDenied"), "BUCKET_ACCESS_KEY_ID: this key must be allowed to write and read outputs"),
        (refusal(403), "BUCKET_ACCESS_KEY_ID: this key must be allowed"),
        (refusal(401, "Unauthorized", "No."), "read outputs; the store answered 401 Unauthorized (No.)."),
        (
            refusal(400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-west-1'"),
            "BUCKET_REGION: 'us-east-1' is refused; the region is wrong (it is 'eu-west-1').",
        ),
        (refusal(301, "PermanentRedirect"), "BUCKET_REGION: 'us-east-1' is refused"),
        (refusal(403, "RequestTimeTooSkewed"), "The clock of this machine is wrong"),
        (
            refusal(400, "InvalidArgument", "Credential access key has length 5, should be 32"),
            "the store answered 400 InvalidArgument (Credential access key has length 5, should be 32).",
        ),
        (refusal(400, "InvalidArgument", "bad: Credential=k/x, Signature=0a1b2c"), "(bad: Credential=… Signature=…)"),
        (refusal(404), "the store answered HTTP 404"),
        (refusal(405), "the store answered HTTP 405"),
        (refusal(200), "it does not answer as an S3 store does"),
    ],
)
async def test_a_refusal_names_the_setting_to_change(
    misbehaving: MisbehavingStore, answer: Answer, sentence: str
) -> None:
    misbehaving.plan("PUT", answer)
    with pytest.raises(ConfigurationError) as caught:
        await bucket_at(misbehaving.url).check(soon())
    assert sentence in str(caught.value)


async def test_a_store_that_never_answers_is_found_by_the_deadline(misbehaving: MisbehavingStore) -> None:
    misbehaving.plan("PUT", never)
    with pytest.raises(ConfigurationError, match=r"BUCKET_ENDPOINT_URL: .* did not answer in time"):
        await bucket_at(misbehaving.url).check(Deadline.after(0.3))


async def test_a_store_that_gives_back_something_else_is_found(misbehaving: MisbehavingStore) -> None:
    async def something_else(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"else", headers={"ETag": '"1"', "Last-Modified": "Sat, 21 Nov 2026 16:40:31 GMT"})

    misbehaving.plan("GET", something_else)
    with pytest.raises(ConfigurationError, match="gives back something else"):
        await bucket_at(misbehaving.url).check(soon())


async def test_a_key_that_may_not_read_is_found(misbehaving: MisbehavingStore) -> None:
    misbehaving.plan("GET", refusal(403, "AccessDenied"))
    with pytest.raises(ConfigurationError, match="must be allowed to write and read"):
        await bucket_at(misbehaving.url).check(soon())


async def test_a_key_that_may_not_delete_is_good_enough(
    misbehaving: MisbehavingStore, caplog: pytest.LogCaptureFixture
) -> None:
    misbehaving.plan("DELETE", refusal(403, "AccessDenied"))
    with caplog.at_level(logging.WARNING, logger="comfypod"):
        await bucket_at(misbehaving.url).check(soon())
    assert "bucket_probe_stays" in caplog.text
