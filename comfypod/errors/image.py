"""What keeps an image from being made: sources that cannot be had, packages that cannot be together, a failed check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields


@dataclass(eq=False)
class SourceFetchFailed(ErrorWithFields, ComfyPodError):
    """A git repository could not be reached, or does not have what was asked for; ``cause`` is a clause."""

    code = "source_fetch_failed"
    repository: str
    cause: str

    def __str__(self) -> str:
        return f"{self.repository}: {self.cause}"


@dataclass(eq=False)
class RequirementsConflict(ErrorWithFields, ComfyPodError):
    """What ComfyUI, node packs and the worker require cannot be installed together.

    ``sources`` names those that contradict each other, ``cause`` is the resolver's explanation.
    """

    code = "requirements_conflict"
    sources: Sequence[str]
    cause: str

    def __str__(self) -> str:
        between = f" of {' and '.join(self.sources)}" if self.sources else ""
        return f"The requirements{between} cannot be met together: {self.cause}"


@dataclass(eq=False)
class SmokeTestFailed(ErrorWithFields, ComfyPodError):
    """A freshly built image does not work; every problem is a sentence."""

    code = "smoke_test_failed"
    problems: Sequence[str]

    def __str__(self) -> str:
        return " ".join(self.problems)
