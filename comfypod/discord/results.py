"""What a request made, as a message takes it: files that fit are attached, larger ones are linked."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.deadline import Deadline
from comfypod.discord.messages import Link
from comfypod.discord.replies import Picture
from comfypod.errors import ConfigurationError, DownloadInterrupted
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.download import ByteBudget

MOST_FILES = 10
LARGEST_MESSAGE_BYTES = 25 * 1024**2 - 64 * 1024
"""All files of a message, but for what is around them (docs.discord.com, Uploading Files: 25 MiB a request)."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What goes into a message, and what is linked in it."""

    pictures: list[Picture]
    links: list[Link]


class Results:
    """Fetches results from the workers' bucket."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = "/".join(part for part in prefix.split("/") if part)

    @classmethod
    def from_settings(cls, settings: Settings) -> Results:
        """Those of the bucket that the BUCKET_… settings name.

        Raises:
            ConfigurationError: they name none, or half of one.
        """
        bucket = Bucket.from_settings(settings)
        if bucket is None:
            raise ConfigurationError(
                ["BUCKET_ENDPOINT_URL: is missing; the bot fetches results from the workers' bucket."]
            )
        return cls(bucket, settings.bucket_prefix)

    async def bring(self, output: Mapping[str, Any], limit_bytes: int, deadline: Deadline) -> Brought:
        """The files of a job's output; each at most ``limit_bytes``, which is the server's limit.

        Raises:
            DownloadInterrupted: the bucket did not answer, or gave something else than was made.
            DownloadFailed: a file is no longer there, or may not be read.
            UploadRefused: it names what can be no object.
            DeadlineExceeded: the deadline passed.
        """
        brought, left_bytes = Brought([], []), LARGEST_MESSAGE_BYTES
        for artifact in artifacts_of(output):
            size_bytes, name = int(artifact["size_bytes"]), _unique(str(artifact["filename"]), brought)
            if size_bytes > min(limit_bytes, left_bytes) or len(brought.pictures) == MOST_FILES:
                url, _ = self._bucket.url(artifact["bucket_key"])
                brought.links.append(Link(name, url, size_bytes))
            else:
                brought.pictures.append(Picture(name, await self._fetch(artifact, deadline)))
                left_bytes -= size_bytes
        return brought

    def address(self, artifact: Mapping[str, Any]) -> str:
        """The ``s3://`` address by which a worker, which has the same bucket, fetches the file."""
        return f"s3://{self._bucket.name}/{self._whole_key(artifact)}"

    async def _fetch(self, artifact: Mapping[str, Any], deadline: Deadline) -> bytes:
        with tempfile.TemporaryDirectory(prefix="comfypod-discord-") as folder:
            target = Path(folder, "file")
            budget = ByteBudget(int(artifact["size_bytes"]))
            found = await self._bucket.download(self._whole_key(artifact), target, deadline, budget)
            if artifact.get("sha256") not in {None, found.sha256}:
                raise DownloadInterrupted(self.address(artifact), "it is not what was made")
            return await asyncio.to_thread(target.read_bytes)

    def _whole_key(self, artifact: Mapping[str, Any]) -> str:
        key = str(artifact["bucket_key"])
        return f"{self._prefix}/{key}" if self._prefix else key


def artifacts_of(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The files of a job's output, pictures first."""
    return [*(output.get("images") or ()), *(output.get("files") or ())]


def _unique(name: str, brought: Brought) -> str:
    """The name, unless another file has it: two nodes may save under the same one."""
    taken = {*(item.name for item in brought.pictures), *(item.name for item in brought.links)}
    return f"{len(taken) + 1}-{name}" if name in taken else name
