"""How much a tenant and its users may ask for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from comfypod.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tenant may ask for; ``None`` is without limit.

    ``weight``, 1 to 16, is the share of its users where others wait too: each gets about that many turns for one of
    weight 1.
    """

    at_once: int | None = None
    per_minute: int | None = None
    per_day: int | None = None
    user_at_once: int | None = None
    weight: int = 1

    def __post_init__(self) -> None:
        problems = [
            f"The quota's {name} must be at least 1."
            for name, value in asdict(self).items()
            if value is not None and (not isinstance(value, int) or value < 1)
        ]
        if problems:
            raise ConfigurationError(problems)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Quota:
        """As it was stored; fields of a newer version are left out."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})
