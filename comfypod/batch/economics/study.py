"""A study: alternatives with their few figures, and what somebody claims of them; a TOML file. Pure.

Money is in US dollars; a GB is 10^9 bytes; disks are priced by the month of 730 hours, as RunPod does.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from comfypod.batch.economics.bidding import Rental
from comfypod.errors import ConfigurationError

HOURS_PER_MONTH: Final = 730.0
_MINUTES_PER_HOUR = 60.0
_MOST_PROBLEMS = 10
_LONGEST_TEXT = 300

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)]


def _as_range(value: Any) -> Any:  # noqa: ANN401 (any TOML)
    return (value, value) if isinstance(value, int | float) else value


Range = Annotated[tuple[Positive, Positive], BeforeValidator(_as_range)]
"""Lowest and highest; in the file a number, or a list of two."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bid(_Table):
    """A ladder: it begins at ``start`` dollars an hour, and goes no higher than ``ceiling``."""

    start: Positive
    ceiling: Positive

    @model_validator(mode="after")
    def _goes_up(self) -> Self:
        if self.ceiling < self.start:
            raise ValueError("the ceiling is below the start")
        return self


class Stated(_Table):
    """What somebody says that the alternative costs; it is checked."""

    dollars_per_hour: Positive | None = None
    """Of all its machines."""
    dollars_per_item: Range | None = None


class Alternative(_Table):
    """One way to have the items made: so many machines of one kind."""

    name: Text
    machines: int = Field(default=1, ge=1, le=100_000)
    dollars_per_hour: Positive | None = None
    """Of one machine; instead of it ``dollars_per_second``, or ``bid``."""
    dollars_per_second: Positive | None = None
    bid: Bid | None = None
    items_per_hour: Range
    """Of one machine, once it is set up."""
    disk_gigabytes: NotNegative = 0.0
    """Of one machine; 0 where the price has it."""
    setup_minutes: NotNegative = 0.0
    """Paid, before the first download begins."""
    first_download_gigabytes: NotNegative = 0.0
    """What must be there before the first item."""
    megabits_per_second: Positive | None = None
    interruptions_per_hour: NotNegative = 0.0
    stated: Stated = Stated()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if sum(price is not None for price in (self.dollars_per_hour, self.dollars_per_second, self.bid)) != 1:
            raise ValueError("give one of dollars_per_hour, dollars_per_second and bid")
        if self.first_download_gigabytes and self.megabits_per_second is None:
            raise ValueError("first_download_gigabytes needs megabits_per_second")
        if self.items_per_hour[0] > self.items_per_hour[1]:
            raise ValueError("items_per_hour: the lowest comes first")
        return self

    @property
    def start_price(self) -> float:
        """Dollars per hour of one machine; of a ladder its first step."""
        if self.bid is not None:
            return self.bid.start
        return self.dollars_per_hour or 3600.0 * (self.dollars_per_second or 0.0)

    @property
    def ceiling_price(self) -> float:
        """Dollars per hour of one machine; of a ladder its last step."""
        return self.start_price if self.bid is None else self.bid.ceiling

    @property
    def setup_hours(self) -> float:
        """From rented to the first item."""
        minutes = self.setup_minutes
        if self.megabits_per_second is not None:
            minutes += download_minutes(self.first_download_gigabytes, self.megabits_per_second)
        return minutes / _MINUTES_PER_HOUR

    def rental(self, dollars_per_hour: float, items_per_hour: float, disk_dollars_per_gigabyte_hour: float) -> Rental:
        """One of its machines, at a price and a speed."""
        return Rental(
            dollars_per_hour=dollars_per_hour,
            work_per_hour=items_per_hour,
            disk_dollars_per_hour=self.disk_gigabytes * disk_dollars_per_gigabyte_hour,
            setup_hours=self.setup_hours,
            interruptions_per_hour=self.interruptions_per_hour,
        )


class _Claim(_Table):
    says: Text
    """In the claimant's words."""


class MoreItems(_Claim):
    """``alternative`` makes so much more than ``than``: 0.75 is 75 % more."""

    about: Literal["more_items"]
    alternative: Text
    than: Text
    more: Positive


class Cheaper(_Claim):
    """An item of ``alternative`` costs about what one of ``than`` does, or less."""

    about: Literal["cheaper"]
    alternative: Text
    than: Text


class Splitting(_Claim):
    """Groups of items with files of their own are cheaper on a machine each.

    ``above_hours``: the claimant's threshold, in hours of work; without it: always.
    """

    about: Literal["splitting"]
    alternative: Text
    gigabytes: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=20)]
    """Of each of the two sides; every size is tried."""
    setup_minutes: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=20)]
    tool_chain_gigabytes: NotNegative = 12.0
    above_hours: NotNegative = 0.0


class ShortRuns(_Claim):
    """An item of a short run costs so much more than one of a long run, because of the set-up: 0.7 is 70 %."""

    about: Literal["short_runs"]
    run_hours: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=20)]
    than_hours: Positive
    dearer: Positive
    gigabytes: Positive
    """All that is downloaded."""
    first_gigabytes: Positive
    """What is needed for the first item."""
    megabits_per_second: Positive

    @model_validator(mode="after")
    def _is_short(self) -> Self:
        if max(self.run_hours) >= self.than_hours:
            raise ValueError("run_hours must be less than than_hours")
        return self


class BiggerDisk(_Claim):
    """More models on the disk are cheaper, for the run becomes longer."""

    about: Literal["bigger_disk"]
    alternative: Text
    gigabytes: Positive
    hours: Positive
    than_gigabytes: Positive
    than_hours: Positive
    setup_minutes: Positive
    tool_chain_gigabytes: NotNegative = 12.0

    @model_validator(mode="after")
    def _has_time(self) -> Self:
        if 60.0 * min(self.hours, self.than_hours) <= self.setup_minutes:
            raise ValueError("the runs must be longer than their set-up")
        return self


class KeptVolume(_Claim):
    """It is worth keeping the volume of an interrupted machine, and waiting for that machine."""

    about: Literal["kept_volume"]
    alternative: Text
    gigabytes: Positive
    megabits_per_second: Positive


class Retries(_Claim):
    """Nothing is lost, for it is tried so often."""

    about: Literal["retries"]
    tries: int = Field(ge=1)
    seconds_between: Positive
    outage_seconds: Positive
    """That should be survived."""


Claim = Annotated[
    MoreItems | Cheaper | Splitting | ShortRuns | BiggerDisk | KeptVolume | Retries, Field(discriminator="about")
]


class Study(_Table):
    """All of the file."""

    title: Text
    items: Positive | None = None
    """How many are wanted; without it only the prices of items are compared, without set-up."""
    disk_dollars_per_gigabyte_month: NotNegative = 0.10
    stopped_disk_dollars_per_gigabyte_month: NotNegative = 0.20
    alternatives: Annotated[tuple[Alternative, ...], Field(min_length=1, max_length=100)]
    claims: Annotated[tuple[Claim, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        names = [alternative.name for alternative in self.alternatives]
        if len(set(names)) != len(names):
            raise ValueError("two alternatives have the same name")
        for claim in self.claims:
            for name in (getattr(claim, "alternative", None), getattr(claim, "than", None)):
                if name is not None and name not in names:
                    raise ValueError(f"a claim names {name!r}, which is no alternative")
        return self

    @property
    def disk_dollars_per_gigabyte_hour(self) -> float:
        """Of a machine that runs."""
        return self.disk_dollars_per_gigabyte_month / HOURS_PER_MONTH

    @property
    def stopped_disk_dollars_per_gigabyte_hour(self) -> float:
        """Of one that was stopped or taken away."""
        return self.stopped_disk_dollars_per_gigabyte_month / HOURS_PER_MONTH

    def alternative(self, name: str) -> Alternative:
        """The one of this name, which there is."""
        return next(alternative for alternative in self.alternatives if alternative.name == name)


def download_minutes(gigabytes: float, megabits_per_second: float) -> float:
    """How long so much takes on such a link."""
    return gigabytes * 8_000.0 / megabits_per_second / 60.0


def parse_study(text: str) -> Study:
    """Read a study.

    Raises:
        ConfigurationError: it is no TOML, or not of the form above; every problem with its place.
    """
    try:
        return Study.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"The study is not valid TOML: {error}."]) from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'The study'}: {problem['msg']}."
            for problem in error.errors()[:_MOST_PROBLEMS]
        ]
        raise ConfigurationError(problems) from error
