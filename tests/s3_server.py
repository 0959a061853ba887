"""An S3 server on 127.0.0.1: SeaweedFS, which checks signatures, expiry and checksums as a store does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from comfypod.child import Child
from comfypod.cli.local_bucket import PORTS, free_ports, remove_sockets, weed_command, weed_environment

START_SECONDS = 30
ACCESS_KEY_ID = "test-key-id"
SECRET_ACCESS_KEY = "test-secret-9f1c2e"
BUCKET = "outputs"


class S3Server:
    """SeaweedFS in one process, with one bucket; it can be killed and started again over the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports(PORTS)
        self._child: Child | None = None
        self.url = f"http://127.0.0.1:{self._ports[6]}"
        # Another implementation of S3 than the one under test, to see what is really there.
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a worker that uses this server."""
        return {
            "BUCKET_ENDPOINT_URL": self.url,
            "BUCKET_NAME": BUCKET,
            "BUCKET_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "BUCKET_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }

    def start(self) -> None:
        """Start it, and return when it stores objects."""
        # Its guard ends it with the tests, however they end.
        self._child = Child(
            weed_command(self._folder, self._ports, BUCKET),
            on_line=lambda line: None,
            environment=weed_environment(ACCESS_KEY_ID, SECRET_ACCESS_KEY),
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._stores():
            if self._child.exit_code is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError("SeaweedFS did not start: " + "\n".join(self._child.last_lines))
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: it takes half a minute to end by itself."""
        if self._child is not None:
            self._child.stop(grace_seconds=0)
        remove_sockets(self._ports)

    def head(self, key: str, bucket: str = BUCKET) -> Mapping[str, Any]:
        """What is stored with an object."""
        return dict(self.client.head_object(Bucket=bucket, Key=key))

    def content(self, key: str, bucket: str = BUCKET) -> bytes:
        """An object."""
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def sizes(self, prefix: str, bucket: str = BUCKET) -> dict[str, int]:
        """Size in bytes of every object, by its key."""
        found = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return {item["Key"]: item["Size"] for item in found.get("Contents", [])}

    def unfinished_uploads(self, prefix: str = "", bucket: str = BUCKET) -> list[str]:
        """The keys of multipart uploads that were neither completed nor aborted."""
        found = self.client.list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for item in found.get("Uploads", [])]

    def _stores(self) -> bool:
        # It listens before it can store anything.
        try:
            self.client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")
            self.client.delete_object(Bucket=BUCKET, Key="ready")
        except (BotoCoreError, ClientError):
            return False
        return True
