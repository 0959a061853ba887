"""What an endpoint's address, a bucket's name and a region are understood as."""

from __future__ import annotations

import pytest

from comfypod.errors import ConfigurationError
from comfypod.storage.buckets.address import BucketAddress

ACCOUNT = "0123456789abcdef0123456789abcdef"

# The endpoint, the name given besides it -> the bucket's address, its region.
UNDERSTOOD = [
    # AWS
    ("https://s3.eu-central-1.amazonaws.com", "art", "https://art.s3.eu-central-1.amazonaws.com", "eu-central-1"),
    ("https://s3.eu-central-1.amazonaws.com/art/", None, "https://art.s3.eu-central-1.amazonaws.com", "eu-central-1"),
    ("https://art.s3.us-west-2.amazonaws.com", None, "https://art.s3.us-west-2.amazonaws.com", "us-west-2"),
    ("https://art.s3.us-west-2.amazonaws.com", "art", "https://art.s3.us-west-2.amazonaws.com", "us-west-2"),
    ("https://Art.S3.US-West-2.amazonaws.com", None, "https://art.s3.us-west-2.amazonaws.com", "us-west-2"),
    ("https://s3-eu-west-1.amazonaws.com", "art", "https://art.s3-eu-west-1.amazonaws.com", "eu-west-1"),
    (
        "https://s3.dualstack.eu-west-1.amazonaws.com",
        "art",
        "https://art.s3.dualstack.eu-west-1.amazonaws.com",
        "eu-west-1",
    ),
    ("https://s3.us-gov-east-1.amazonaws.com", "art", "https://art.s3.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
    ("https://s3.cn-north-1.amazonaws.com.cn", "art", "https://art.s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
    ("https://s3.amazonaws.com", "art", "https://art.s3.amazonaws.com", "us-east-1"),
    ("https://art.s3.amazonaws.com", None, "https://art.s3.amazonaws.com", "us-east-1"),
    # A name with dots does not fit the certificate.
    ("https://s3.us-east-2.amazonaws.com", "my.art", "https://s3.us-east-2.amazonaws.com/my.art", "us-east-2"),
    ("https://my.art.s3.us-east-2.amazonaws.com", None, "https://s3.us-east-2.amazonaws.com/my.art", "us-east-2"),
    # The others
    (
        f"https://{ACCOUNT}.r2.cloudflarestorage.com",
        "art",
        f"https://{ACCOUNT}.r2.cloudflarestorage.com/art",
        "auto",
    ),
    (
        f"https://{ACCOUNT}.eu.r2.cloudflarestorage.com/art",
        None,
        f"https://{ACCOUNT}.eu.r2.cloudflarestorage.com/art",
        "auto",
    ),
    (
        f"https://art.{ACCOUNT}.r2.cloudflarestorage.com",
        None,
        f"https://{ACCOUNT}.r2.cloudflarestorage.com/art",
        "auto",
    ),
    ("https://storage.googleapis.com/my.art", None, "https://storage.googleapis.com/my.art", "auto"),
    ("https://art.storage.googleapis.com", None, "https://storage.googleapis.com/art", "auto"),
    ("https://s3.us-west-004.backblazeb2.com", "art", "https://s3.us-west-004.backblazeb2.com/art", "us-west-004"),
    ("https://art.s3.us-west-004.backblazeb2.com", None, "https://s3.us-west-004.backblazeb2.com/art", "us-west-004"),
    ("https://nyc3.digitaloceanspaces.com", "art", "https://nyc3.digitaloceanspaces.com/art", "nyc3"),
    ("https://art.nyc3.digitaloceanspaces.com", None, "https://nyc3.digitaloceanspaces.com/art", "nyc3"),
    ("https://s3.eu-central-2.wasabisys.com", "art", "https://s3.eu-central-2.wasabisys.com/art", "eu-central-2"),
    ("https://s3.wasabisys.com", "art", "https://s3.wasabisys.com/art", "us-east-1"),
    ("https://s3api-eur-is-1.runpod.io/", "agv6w2qcg7", "https://s3api-eur-is-1.runpod.io/agv6w2qcg7", "EUR-IS-1"),
    ("http://minio:9000/art", None, "http://minio:9000/art", "us-east-1"),
    ("http://127.0.0.1:9000", "art", "http://127.0.0.1:9000/art", "us-east-1"),
    ("http://[::1]:9000", "art", "http://[::1]:9000/art", "us-east-1"),
    # Its host is called like the bucket; that says nothing.
    ("https://comfyui.example.com", "comfyui", "https://comfyui.example.com/comfyui", "us-east-1"),
    # A longer path belongs to the endpoint (Supabase, a proxy), with or without the bucket's name behind it.
    ("https://p.supabase.co/storage/v1/s3", "art", "https://p.supabase.co/storage/v1/s3/art", "us-east-1"),
    ("https://p.supabase.co/storage/v1/s3/art", "art", "https://p.supabase.co/storage/v1/s3/art", "us-east-1"),
]


@pytest.mark.parametrize(("endpoint", "name", "bucket_url", "region"), UNDERSTOOD)
def test_an_endpoint_is_understood(endpoint: str, name: str | None, bucket_url: str, region: str) -> None:
    address = BucketAddress.parse(endpoint, name, None, "auto", "")
    assert (address.bucket_url, address.region) == (bucket_url, region)


@pytest.mark.parametrize(
    ("endpoint", "name", "sentence"),
    [
        ("https://s3.amazonaws.com", None, "BUCKET_NAME: is missing"),
        ("https://p.supabase.co/storage/v1/s3", None, "BUCKET_NAME: is missing"),
        ("https://art.s3.us-west-2.amazonaws.com", "music", "('art' and 'music')"),
        ("https://art.s3.us-west-2.amazonaws.com/music", None, "('art' and 'music')"),
        ("http://minio:9000/art", "music", "('art' and 'music')"),
        ("http://minio:9000", "a", "'a' cannot be a bucket's name"),
        ("http://minio:9000", "../up", "cannot be a bucket's name"),
        ("http://minio:9000", "art?x=", "cannot be a bucket's name"),
        ("http://minio:9000", "a..b", "cannot be a bucket's name"),
        ("ftp://minio:9000", "art", "BUCKET_ENDPOINT_URL: must be an address"),
        ("minio:9000", "art", "BUCKET_ENDPOINT_URL: must be an address"),
        ("http://minio:port", "art", "BUCKET_ENDPOINT_URL: must be an address"),
        ("https://", "art", "BUCKET_ENDPOINT_URL: must be an address"),
        ("http://[::1", "art", "BUCKET_ENDPOINT_URL: must be an address"),
        ("https://key:secret-5@minio", "art", "must have neither credentials"),
        ("https://minio/art?key=secret-5", None, "must have neither credentials"),
    ],
)
def test_what_is_not_understood_is_named(endpoint: str, name: str | None, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BucketAddress.parse(endpoint, name, None, "auto", "")
    assert sentence in str(caught.value)
    assert "secret-5" not in str(caught.value)


def test_a_region_that_is_given_counts_most() -> None:
    assert BucketAddress.parse("http://minio:9000", "art", "eu-west-9", "auto", "").region == "eu-west-9"
    # AWS's global endpoint would only redirect to the region's own.
    address = BucketAddress.parse("https://s3.amazonaws.com", "art", "eu-west-1", "auto", "")
    assert address.bucket_url == "https://art.s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("endpoint", "name", "addressing", "bucket_url"),
    [
        ("https://s3.eu-west-1.amazonaws.com", "art", "path", "https://s3.eu-west-1.amazonaws.com/art"),
        ("https://store.example.com", "art", "virtual", "https://art.store.example.com"),
        ("https://art.store.example.com", "art", "virtual", "https://art.store.example.com"),
        ("http://store.example.com:9000/art", None, "virtual", "http://art.store.example.com:9000"),
    ],
)
def test_addressing_can_be_chosen(endpoint: str, name: str | None, addressing: str, bucket_url: str) -> None:
    assert BucketAddress.parse(endpoint, name, None, addressing, "").bucket_url == bucket_url  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prefix", "key"), [("", "job/9/a.png"), ("made", "made/job/9/a.png"), ("/made//here/", "made/here/job/9/a.png")]
)
def test_the_prefix_goes_before_a_key(prefix: str, key: str) -> None:
    assert BucketAddress.parse("http://minio:9000", "art", None, "auto", prefix).object_key("job/9/a.png") == key


@pytest.mark.parametrize("prefix", ["..", "a/../b", "./a", "a\nb"])
def test_a_prefix_that_s3_cannot_have_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="BUCKET_PREFIX"):
        BucketAddress.parse("http://minio:9000", "art", None, "auto", prefix)


def test_runpods_own_storage_is_known_to_have_no_presigned_addresses() -> None:
    assert not BucketAddress.parse("https://s3api-us-ks-2.runpod.io", "vol1", None, "auto", "").presigns
    assert BucketAddress.parse("https://s3.amazonaws.com", "vol1", None, "auto", "").presigns
