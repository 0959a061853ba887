"""How fast GPUs have been in earlier batches, by type and by what they ran: a JSON file that every run adds to.

A plan believes it rather than an offer's own figure: for the same bases if they ran on this type, else for the type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from comfypod.batch.documents import Document, Offer, Signature
from comfypod.errors import ConfigurationError
from comfypod.schema.wire import json_safe

ANY: Final = "*"
"""The kind of work that stands for all kinds together."""

_MOST_WEIGHT_SECONDS: Final = 20_000.0
"""What was measured longer ago counts as much as so many GPU-seconds at most, so that newer figures count."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Measured(Document):
    """What one type of GPU has done of one kind of work: megapixel-steps, in seconds without model loads."""

    work: Positive
    seconds: Positive

    @property
    def megapixel_steps_per_second(self) -> float:
        """The speed."""
        return self.work / self.seconds


class LearnedSpeeds(Document):
    """The file: speeds by GPU (the provider's word) and kind of work; the kind `ANY` is all of that GPU's."""

    version: int = 1
    speeds: Mapping[str, Mapping[str, Measured]] = Field(default_factory=dict)

    def speed(self, offer: Offer, kind: str) -> float:
        """Megapixel-steps per second of an offer for a kind of work."""
        by_kind = self.speeds.get(offer.gpu, {})
        measured = by_kind.get(kind) or by_kind.get(ANY)
        return measured.megapixel_steps_per_second if measured else offer.megapixel_steps_per_second

    def knows(self, gpu: str) -> bool:
        """Whether anything was measured on this type."""
        return gpu in self.speeds

    def with_run(self, gpu: str, kind: str, work: float, seconds: float) -> LearnedSpeeds:
        """With what one run measured; figures that say nothing (no work, no time) change nothing."""
        if not (work > 0 and seconds > 0 and math.isfinite(work) and math.isfinite(seconds)):
            return self
        by_kind = dict(self.speeds.get(gpu, {}))
        for name in {kind, ANY}:
            by_kind[name] = _added(by_kind.get(name), work, seconds)
        return LearnedSpeeds(version=self.version, speeds={**self.speeds, gpu: by_kind})


def kind_of(assets: Iterable[str]) -> str:
    """The kind of work of an item with these files (keys): its bases, whatever is laid over them."""
    return "+".join(Signature.of(assets).bases) or ANY


def read_learned(path: Path) -> LearnedSpeeds:
    """What was learned so far; nothing, if there is no such file.

    Raises:
        ConfigurationError: it cannot be read, or is no such file.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return LearnedSpeeds()
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be read: {error.strerror or error}"]) from error
    try:
        return LearnedSpeeds.model_validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(
            [f"{path} is no file of learned speeds ({error.errors()[0]['msg']}); remove it to begin anew"]
        ) from error


def write_learned(path: Path, learned: LearnedSpeeds) -> None:
    """Write it, whole or not at all.

    Raises:
        ConfigurationError: it cannot be written.
    """
    beside = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(json_safe(learned.model_dump(mode="json")), indent=1, sort_keys=True), "utf-8")
        beside.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be written: {error.strerror or error}"]) from error


def _added(before: Measured | None, work: float, seconds: float) -> Measured:
    """Both together; what was there before weighs no more than so many seconds."""
    if before is None:
        return Measured(work=work, seconds=seconds)
    weight = min(1.0, _MOST_WEIGHT_SECONDS / before.seconds)
    return Measured(work=before.work * weight + work, seconds=before.seconds * weight + seconds)
