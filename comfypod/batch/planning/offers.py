"""Files of offers: TOML, with prices as they are quoted. The built-in one is ``offers.toml`` beside this module."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from comfypod.batch.documents import GIGABYTE, Offer, PriceClass
from comfypod.errors import ConfigurationError

_HOURS_PER_MONTH: Final = 730.0
_SECONDS_PER_HOUR: Final = 3600.0
_BYTES_PER_MEGABIT: Final = 125_000.0
_MOST_PROBLEMS: Final = 10

Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[\w .()+/-]+$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    """One ``[[offers]]``, with what ``[defaults]`` says and it does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Word
    gpu: Word
    price_class: PriceClass
    dollars_per_hour: NotNegative | None = None
    dollars_per_second: NotNegative | None = None
    memory_gigabytes: Positive
    megapixel_steps_per_second: Positive
    download_megabits: Positive
    """Per second."""
    disk_dollars_per_gigabyte_month: NotNegative = 0.10
    setup_seconds: NotNegative = 120.0
    load_seconds: NotNegative = 8.0
    patch_seconds: NotNegative = 0.7
    interruptions_per_hour: NotNegative = 0.0
    most_pods: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _has_one_price(self) -> Self:
        if (self.dollars_per_hour is None) == (self.dollars_per_second is None):
            raise PydanticCustomError("price", "give either dollars_per_hour or dollars_per_second")
        return self

    def offer(self) -> Offer:
        """In the units of documents."""
        return Offer(
            provider=self.provider,
            gpu=self.gpu,
            price_class=self.price_class,
            dollars_per_hour=self._dollars_per_hour(),
            memory_bytes=round(self.memory_gigabytes * GIGABYTE),
            megapixel_steps_per_second=self.megapixel_steps_per_second,
            download_bytes_per_second=self.download_megabits * _BYTES_PER_MEGABIT,
            disk_dollars_per_gigabyte_hour=self.disk_dollars_per_gigabyte_month / _HOURS_PER_MONTH,
            setup_seconds=self.setup_seconds,
            load_seconds=self.load_seconds,
            patch_seconds=self.patch_seconds,
            interruptions_per_hour=self.interruptions_per_hour,
            most_pods=self.most_pods,
        )

    def _dollars_per_hour(self) -> float:
        if self.dollars_per_hour is not None:
            return self.dollars_per_hour
        return (self.dollars_per_second or 0.0) * _SECONDS_PER_HOUR


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    offers: tuple[_Entry, ...] = Field(min_length=1, max_length=500)


def parse_offers(text: str) -> list[Offer]:
    """The offers of a file.

    Raises:
        ConfigurationError: it is no such file; every problem is named with its place, up to a bound.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"The offers are not valid TOML: {error}."]) from error
    try:
        found = _File.model_validate(_with_defaults(document))
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'The offers'}: {problem['msg']}."
            for problem in error.errors()[:_MOST_PROBLEMS]
        ]
        raise ConfigurationError(problems) from error
    return [entry.offer() for entry in found.offers]


def builtin_offers() -> list[Offer]:
    """What RunPod rents out, as far as it is published; the file says where each price is from."""
    return parse_offers(Path(__file__).with_name("offers.toml").read_text("utf-8"))


def _with_defaults(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its defaults in every offer that does not say otherwise."""
    defaults = document.get("defaults", {})
    offers = document.get("offers")
    if not isinstance(defaults, dict) or not isinstance(offers, list):
        return document
    rest = {key: value for key, value in document.items() if key != "defaults"}
    return {**rest, "offers": [{**defaults, **offer} if isinstance(offer, dict) else offer for offer in offers]}
