"""Switches with a few values each, read from ``NAME=VALUE``: what is known of them stands in the class. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Self, get_args, get_type_hints


def choice(default: str, meaning: str) -> Any:  # noqa: ANN401 (a field of whatever type it is declared as)
    """A switch: its type is a Literal, whose first value is the default."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Choices:
    """Every field of a class below this one is a switch, made by `choice`."""

    @classmethod
    def parse(cls, settings: Iterable[str]) -> Self:
        """Read ``NAME=VALUE`` settings; of two for the same switch the later one counts.

        Raises:
            ValueError: there is no such switch, or it has no such value; the message names those there are.
        """
        return cls().changed(settings)

    def changed(self, settings: Iterable[str]) -> Self:
        """These, with some switched.

        Raises:
            ValueError: as `parse`.
        """
        choices = self.choices()
        chosen: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                example = next(f"{name}={values[-1]}" for name, values in choices.items())
                raise ValueError(f'"{setting}" is no switch: write NAME=VALUE, for example {example}.')
            if name not in choices:
                raise ValueError(f'There is no switch "{name}"; there are {", ".join(choices)}.')
            if value not in choices[name]:
                raise ValueError(f'The switch "{name}" cannot be "{value}"; it is {" or ".join(choices[name])}.')
            chosen[name] = value
        return type(self)(**chosen)

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """The values of every switch, by its name; the default comes first."""
        hints = get_type_hints(cls)
        return {entry.name: get_args(hints[entry.name]) for entry in fields(cls)}

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """What every switch decides, by its name."""
        return {entry.name: entry.metadata["meaning"] for entry in fields(cls)}
