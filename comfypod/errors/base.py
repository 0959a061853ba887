"""What all errors have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar


class ComfyPodError(Exception):
    """Any expected failure. Everything else that is raised is a bug."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def details(self) -> dict[str, Any]:
        """The fields, for ``details`` of a failed job's output."""
        return {}


class ErrorWithFields(ComfyPodError):
    """A failure whose facts are dataclass fields."""

    def details(self) -> dict[str, Any]:
        """The fields by name, but those marked as the worker's own."""
        shown = [item for item in fields(self) if not item.metadata.get("own")]  # type: ignore[arg-type]
        return {item.name: getattr(self, item.name) for item in shown}


@dataclass(eq=False)
class ConfigurationError(ErrorWithFields):
    """The worker or the command was set up wrongly; ``problems`` are sentences."""

    code = "configuration"
    problems: Sequence[str]

    def __str__(self) -> str:
        return " ".join(self.problems)


@dataclass(eq=False)
class DeadlineExceeded(ErrorWithFields):
    """The deadline passed; ``phase`` says where, ``seconds`` how long was allowed in all."""

    code = "deadline_exceeded"
    phase: str
    seconds: float

    def __str__(self) -> str:
        return f"The {self.seconds:g} s allowed were over ({self.phase}); allow more time, or ask for less work"


@dataclass(eq=False)
class ProtocolViolation(ErrorWithFields):
    """A server answered what its protocol does not allow; ``received`` is the beginning of it."""

    code = "protocol_violation"
    source: str
    received: str

    def __str__(self) -> str:
        return f"{self.source} answered something unexpected: {self.received}"
