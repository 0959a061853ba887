"""AWS's signature, version 4, of a PUT whose content is not signed. Only the standard library."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where results go, and with which keys."""

    url: str
    name: str
    key_id: str
    secret: str
    region: str = "us-east-1"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Bucket | None:
        """The bucket of the worker's settings; None if there is none."""
        if "BUCKET_ENDPOINT_URL" not in environment:
            return None
        return cls(
            environment["BUCKET_ENDPOINT_URL"],
            environment["BUCKET_NAME"],
            environment["BUCKET_ACCESS_KEY_ID"],
            environment["BUCKET_SECRET_ACCESS_KEY"],
        )

    def address(self, key: str) -> str:
        return f"{self.url}/{self.name}/{quote(key)}"

    def headers(self, key: str, moment: datetime | None = None) -> dict[str, str]:
        """What a PUT of ``key`` must carry (docs.aws.amazon.com, "Signature Version 4 request elements")."""
        parts = urlsplit(self.address(key))
        now = (moment or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        signed = {"host": parts.netloc, "x-amz-content-sha256": UNSIGNED, "x-amz-date": now}
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        request = f"PUT\n{parts.path}\n\n{lines}\n{names}\n{UNSIGNED}"
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        secret = f"AWS4{self.secret}".encode()
        for word in scope.split("/"):
            secret = hmac.digest(secret, word.encode(), "sha256")
        signature = hmac.digest(secret, text.encode(), "sha256").hex()
        credential = f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}"
        return {**signed, "Authorization": f"{credential}, SignedHeaders={names}, Signature={signature}"}
