"""The bucket that a request brings along: its address comes from outside, and so do its keys."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from comfypod.deadline import Deadline
from comfypod.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DownloadFailed,
    InvalidJobInput,
    UploadFailed,
    UploadRefused,
)
from comfypod.files.content import FileContent
from comfypod.storage.buckets.address import BucketAddress, FieldNames
from comfypod.storage.buckets.faults import StoreFailure
from comfypod.storage.buckets.store import BucketKeys, Store
from comfypod.storage.safe_http import SafeHTTP

UPLOADS_AT_ONCE = 4
LONGEST_LIFETIME_SECONDS = 604_800
"""A week: the most that S3 allows a presigned address."""
_NAMES = FieldNames("s3Config.endpointUrl", "s3Config.bucketName", "s3Config.objectPath")


class _S3Config(BaseModel):
    """``s3Config`` of RunPod's ``POST /run`` (docs.runpod.io/serverless/endpoints/send-requests).

    ``objectPath`` is in the types of RunPod's JavaScript and Go SDKs only. What else is there is left alone.
    """

    model_config = ConfigDict(alias_generator=to_camel, str_strip_whitespace=True, hide_input_in_errors=True)

    access_id: SecretStr = Field(min_length=1)
    access_secret: SecretStr = Field(min_length=1)
    endpoint_url: str = Field(min_length=1, max_length=2_000)
    bucket_name: str | None = None
    object_path: str | None = None


class RequestBucket:
    """A bucket of the caller's own.

    Uploads go by presigned PUT through `SafeHTTP`, so that no request reaches an address that its policy refuses. One
    PUT carries 5 GB at most (a limit of S3's).
    """

    def __init__(self, address: BucketAddress, keys: BucketKeys, http: SafeHTTP, url_lifetime_seconds: int) -> None:
        self._address = address
        self._http = http
        self._url_lifetime_seconds = url_lifetime_seconds
        self._store = Store(address, keys)  # it signs here, and sends nothing
        self._turns = asyncio.Semaphore(UPLOADS_AT_ONCE)

    @classmethod
    def parse(cls, value: Any, http: SafeHTTP, url_lifetime_seconds: int = 86_400) -> Self:  # noqa: ANN401
        """Understand a job's ``s3Config``; no request is made.

        Raises:
            InvalidJobInput: every problem with its path, such as ``s3Config.accessSecret: …``; values are left out.
        """
        try:
            config = _S3Config.model_validate(value)
            address = BucketAddress.parse(
                config.endpoint_url, config.bucket_name, None, "auto", config.object_path or "", names=_NAMES
            )
        except ValidationError as error:
            raise InvalidJobInput([_sentence(item) for item in error.errors(include_url=False)]) from None
        except ConfigurationError as error:
            raise InvalidJobInput(error.problems) from error
        if not address.presigns:
            raise InvalidJobInput(["s3Config.endpointUrl: this store has no presigned addresses; take another one"])
        return cls(address, BucketKeys(config.access_id, config.access_secret), http, url_lifetime_seconds)

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._address.bucket

    async def upload(self, content: FileContent, key: str, content_type: str, deadline: Deadline) -> str:
        """Store the file under ``key``, over what is there; return the SHA-256 of what was sent.

        Raises:
            UploadFailed: the store did not answer, or the file could not be read.
            UploadRefused: the address is refused, or the store does not allow it.
            DeadlineExceeded: the deadline passed (phase "deliver").
        """
        try:
            # The address must outlive the deadline, and no more.
            lifetime_seconds = min(LONGEST_LIFETIME_SECONDS, math.ceil(deadline.remaining_seconds) + 60)
            url = self._store.presigned_put(self._address.object_key(key), lifetime_seconds)
            async with deadline.enforce("deliver"), self._turns:
                return await self._http.put_file(url, content, content_type, deadline)
        except (StoreFailure, DownloadFailed) as error:
            passing = error.passing if isinstance(error, StoreFailure) else error.retryable
            raise (UploadFailed if passing else UploadRefused)(self._target(key), error.cause) from error
        except DeadlineExceeded as error:
            raise DeadlineExceeded("deliver", error.seconds) from error

    def url(self, key: str) -> tuple[str, datetime | None]:
        """A presigned address, and the moment (UTC) until which it works. Nothing is sent.

        Raises:
            UploadRefused: no object can have this key.
        """
        try:
            return self._store.presigned_get(self._address.object_key(key), self._url_lifetime_seconds)
        except StoreFailure as failure:
            raise UploadRefused(self._target(key), failure.cause) from failure

    def _target(self, key: str) -> str:
        return f"{self.name}/{self._address.object_key(key)}"


def _sentence(item: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    if not item["loc"]:
        return "s3Config: must be an object with accessId, accessSecret, bucketName and endpointUrl"
    message = str(item["msg"])
    return f"s3Config.{item['loc'][0]}: {message[0].lower()}{message[1:]}"
