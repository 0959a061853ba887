"""What a job made, as its caller gets it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from comfypod.cloud.documents import Document
from comfypod.cloud.saving import artifact_blocks, save_artifacts


class ResultFile(Document):
    """One file: its fields by name, and as they came with ``[…]`` (``docs/reference/job.md``)."""

    @property
    def filename(self) -> str:
        """Its name on the worker; empty if none was told."""
        return self.text("filename") or ""

    @property
    def node_id(self) -> str | None:
        """The node that saved it."""
        return self.text("node_id")

    @property
    def content_type(self) -> str:
        """What it is, such as ``image/png``."""
        return self.text("content_type") or "application/octet-stream"

    @property
    def size_bytes(self) -> int | None:
        """The size of the file."""
        return self.whole_number("size_bytes")

    @property
    def url(self) -> str | None:
        """Where it can be fetched, if it was put into a bucket. It may hold a signature, and then expires."""
        return self.text("data") if self.text("type") == "s3_url" else None

    def read(self) -> bytes:
        """Its content: what came inline, or what its address yields.

        Raises:
            ProtocolViolation: it is damaged.
            CloudUnavailable: its address does not yield it.
            ResultOnVolume: it was left on the endpoint's volume.
        """
        return b"".join(artifact_blocks(self))


class Result(Document):
    """The output of a job that succeeded: its fields by name, and as they came with ``[…]``."""

    @property
    def images(self) -> Sequence[ResultFile]:
        """The pictures, in the workflow's order."""
        return [ResultFile(item) for item in self.objects("images")]

    @property
    def files(self) -> Sequence[ResultFile]:
        """All other files: video, audio, models."""
        return [ResultFile(item) for item in self.objects("files")]

    @property
    def texts(self) -> Sequence[Any]:
        """The texts, or other values, that nodes showed."""
        return [item.get("value") for item in self.objects("texts")]

    @property
    def warnings(self) -> Sequence[str]:
        """What the caller should know although the job succeeded."""
        return self.strings("warnings")

    @property
    def seeds(self) -> dict[str, int]:
        """The random seeds that the worker drew, by parameter or ``NODE.INPUT``."""
        seeds = self.get("seeds")
        return dict(seeds) if isinstance(seeds, dict) else {}

    def save(self, folder: Path | str) -> list[Path]:
        """Write all files below ``folder`` and return where each one is; a file is complete or not there.

        Raises:
            ProtocolViolation, CloudUnavailable, SavingFailed: one cannot be had or written; those before it are there.
        """
        return list(self.saving(folder))

    def saving(self, folder: Path | str) -> Iterator[Path]:
        """The same, file by file."""
        return save_artifacts(self, Path(folder))
