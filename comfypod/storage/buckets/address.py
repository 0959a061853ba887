"""Where a bucket is: what an endpoint's address, a name, a region and a way of addressing amount to. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from comfypod.errors import ConfigurationError

Addressing = Literal["path", "virtual"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
"""S3's rule, and the capitals and underscores that older buckets and other stores have."""

LONGEST_KEY_BYTES = 1_024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class FieldNames:
    """What the sentences about a bad address call its parts: the settings', or a request's own."""

    endpoint: str = "BUCKET_ENDPOINT_URL"
    bucket: str = "BUCKET_NAME"
    prefix: str = "BUCKET_PREFIX"


SETTINGS = FieldNames()


@dataclass(frozen=True, slots=True)
class _Provider:
    """How one company names its hosts.

    ``host`` has the groups ``bucket`` (where it may stand before the host) and ``region`` (where it is told);
    ``fixed_region`` is for those that have one for all, or none in the name.
    """

    host: re.Pattern[str]
    fixed_region: str | None = None
    virtual: bool = False
    uppercase_region: bool = False
    presigns: bool = True


def _host(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:(?P<bucket>[a-z0-9][a-z0-9._-]*)\.)?{pattern}")


# AWS: docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html and general/latest/gr/s3.html. The bucket goes
#   before the host; but a name with dots fits no certificate for *.s3.…, and takes the path.
# Cloudflare R2: developers.cloudflare.com/r2/api/s3/api (region "auto"; hosts ACCOUNT[.eu|.fedramp].r2.…).
# Google: cloud.google.com/storage/docs/interoperability (XML API with HMAC keys; region "auto").
# Backblaze: backblaze.com/docs/cloud-storage-s3-compatible-api (s3.REGION.backblazeb2.com).
# DigitalOcean: docs.digitalocean.com/products/spaces/reference/s3-compatibility (REGION.digitaloceanspaces.com).
# Wasabi: docs.wasabi.com, "Service URLs" (s3[.REGION].wasabisys.com; without a region us-east-1).
# RunPod: docs.runpod.io/storage/s3-api (volume id as bucket, data center id in capitals as region, no presigned URLs).
_REGION = r"(?P<region>[a-z0-9-]+)"
_AWS_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-\d+)"
_PROVIDERS = (
    _Provider(_host(rf"s3(?:-fips)?(?:\.dualstack)?[.-]{_AWS_REGION}\.amazonaws\.com(?:\.cn)?"), virtual=True),
    _Provider(_host(r"s3(?:-external-1)?\.amazonaws\.com"), "us-east-1", virtual=True),
    _Provider(_host(r"[0-9a-f]{32}(?:\.(?:eu|fedramp))?\.r2\.cloudflarestorage\.com"), "auto"),
    _Provider(_host(r"storage\.googleapis\.com"), "auto"),
    _Provider(_host(rf"s3\.{_REGION}\.backblazeb2\.com")),
    _Provider(_host(r"(?P<region>[a-z]{3}\d)\.digitaloceanspaces\.com")),
    _Provider(_host(rf"s3\.{_REGION}\.wasabisys\.com")),
    _Provider(_host(r"s3\.wasabisys\.com"), "us-east-1"),
    _Provider(_host(rf"s3api-{_REGION}\.runpod\.io"), uppercase_region=True, presigns=False),
)


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A bucket at an S3-compatible store.

    ``endpoint_url`` is the store's address without the bucket and without a slash at its end; ``prefix`` has no slash
    at either end. ``presigns`` is false for a store that is known to refuse presigned addresses.
    """

    endpoint_url: str
    bucket: str
    region: str
    addressing: Addressing
    prefix: str
    presigns: bool = True

    @classmethod
    def parse(
        cls,
        endpoint_url: str,
        bucket: str | None,
        region: str | None,
        addressing: Literal["auto", "path", "virtual"],
        prefix: str,
        *,
        names: FieldNames = SETTINGS,
    ) -> BucketAddress:
        """Understand an endpoint that may hold the bucket's name, before its host or as its path.

        A region that is given counts more than the one the host tells. The path of an endpoint is the bucket if it has
        one part; a longer one belongs to the endpoint, but for the bucket's name at its end.

        Raises:
            ConfigurationError: it is no address, no bucket is named, or two different ones; ``names`` are used for it.
        """
        parts = _split(endpoint_url, names)
        host = parts.hostname or ""
        provider, match = _provider(host)
        in_host = match.group("bucket") if match else None
        if provider is None and addressing == "virtual" and bucket and host.startswith(f"{bucket.lower()}."):
            in_host = bucket  # at an unknown store only the settings can tell the bucket's name from the host's
        in_path, path = _bucket_in_path(parts.path, bucket or in_host)
        name = _one_name(bucket, in_host, in_path, names)
        rest = parts.netloc[len(in_host) + 1 :] if in_host else parts.netloc
        known_region = _known_region(provider, match)
        return cls(
            endpoint_url=f"{parts.scheme}://{_regional(rest, region)}{path}",
            bucket=name,
            region=region or known_region or "us-east-1",
            addressing=_addressing(addressing, provider, name),
            prefix=_prefix(prefix, names),
            presigns=provider is None or provider.presigns,
        )

    @property
    def bucket_url(self) -> str:
        """The address of the bucket itself."""
        if self.addressing == "path":
            return f"{self.endpoint_url}/{self.bucket}"
        scheme, rest = self.endpoint_url.split("://", 1)
        return f"{scheme}://{self.bucket}.{rest}"

    def object_key(self, key: str) -> str:
        """``key`` under the prefix."""
        return f"{self.prefix}/{key}" if self.prefix else key


def _split(endpoint_url: str, names: FieldNames) -> SplitResult:
    try:
        parts = urlsplit(endpoint_url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            [f"{names.endpoint}: must be an address such as https://s3.eu-central-1.amazonaws.com."]
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError([f"{names.endpoint}: must have neither credentials nor a query; keys go elsewhere."])
    return parts._replace(netloc=parts.netloc.lower())


def _provider(host: str) -> tuple[_Provider | None, re.Match[str] | None]:
    for provider in _PROVIDERS:
        if match := provider.host.fullmatch(host):
            return provider, match
    return None, None


def _bucket_in_path(path: str, known_name: str | None) -> tuple[str | None, str]:
    """The bucket that the path ends in, and the path without it."""
    segments = [segment for segment in path.split("/") if segment]
    if len(segments) == 1 or (segments and segments[-1] == known_name):
        return segments[-1], "".join(f"/{segment}" for segment in segments[:-1])
    return None, "".join(f"/{segment}" for segment in segments)


def _one_name(given: str | None, in_host: str | None, in_path: str | None, names: FieldNames) -> str:
    found = {name for name in (given, in_host, in_path) if name}
    if not found:
        raise ConfigurationError([f"{names.bucket}: is missing, and {names.endpoint} holds no bucket's name either."])
    if len(found) > 1:
        listed = " and ".join(repr(name) for name in sorted(found))
        raise ConfigurationError([f"{names.bucket}: {names.endpoint} names another bucket ({listed}); name one."])
    name = found.pop()
    if not _NAME.fullmatch(name) or ".." in name:
        raise ConfigurationError([f"{names.bucket}: {name!r} cannot be a bucket's name."])
    return name


def _known_region(provider: _Provider | None, match: re.Match[str] | None) -> str | None:
    if provider is None or match is None:
        return None
    if provider.fixed_region:
        return provider.fixed_region
    region = match.group("region")
    return region.upper() if provider.uppercase_region else region


def _regional(netloc: str, region: str | None) -> str:
    """AWS's global endpoint serves us-east-1 and redirects for all others: ask the bucket's own."""
    return (
        f"s3.{region}.amazonaws.com" if netloc == "s3.amazonaws.com" and region not in {None, "us-east-1"} else netloc
    )


def _addressing(wanted: Literal["auto", "path", "virtual"], provider: _Provider | None, name: str) -> Addressing:
    if wanted != "auto":
        return wanted
    return "virtual" if provider is not None and provider.virtual and "." not in name else "path"


def _prefix(prefix: str, names: FieldNames) -> str:
    segments = [segment for segment in prefix.split("/") if segment]
    cleaned = "/".join(segments)
    if segments and not is_key(cleaned):
        raise ConfigurationError([f"{names.prefix}: must have neither '.' or '..' as a part nor control characters."])
    return cleaned


def is_key(key: str) -> bool:
    """Whether an object can have this key.

    S3 takes any UTF-8 up to 1,024 bytes (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html). But clients
    resolve '.' and '..', and an empty key would mean the bucket itself: a GET would list it, a PUT create it.
    """
    parts = key.split("/")
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        return False
    return size_bytes <= LONGEST_KEY_BYTES and not _CONTROL.search(key) and not {"", ".", ".."}.intersection(parts)
