"""All of one simulation: what it was told, what it found, and what it advises. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from comfypod.fleet.calibration import Calibration
from comfypod.fleet.frontier import Advice
from comfypod.fleet.outcome import Outcome
from comfypod.fleet.settings import Conditions


@dataclass(frozen=True, slots=True)
class FleetStudy:
    """What is shown of a simulation.

    Args:
        traffic: what came, in words.
        outcomes: of every point of the grid; the first is of the present settings.
        best: those that no other beats.
        what_ifs: of the present settings, if something else were different, by its name.
        notes: what was measured, and what was assumed.
    """

    traffic: str
    conditions: Conditions
    calibration: Calibration
    outcomes: Sequence[Outcome]
    best: Sequence[Outcome]
    what_ifs: Sequence[tuple[str, Outcome]]
    advice: Advice
    notes: Sequence[str]

    @property
    def current(self) -> Outcome:
        """Of the present settings."""
        return self.outcomes[0]

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        recommended = self.advice.recommended
        return {
            "traffic": self.traffic,
            "calibrated": self.calibration.is_calibrated,
            "calibration": self.calibration.verdict,
            "conditions": asdict(self.conditions),
            "notes": list(self.notes),
            "advice": list(self.advice.sentences),
            "recommended": None if recommended is None else _document(recommended),
            "current": _document(self.current),
            "frontier": [_document(outcome) for outcome in self.best],
            "what_if": {name: _document(outcome) for name, outcome in self.what_ifs},
            "outcomes": [_document(outcome) for outcome in self.outcomes],
        }


def _document(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome) | {"dollars_per_day": outcome.dollars_per_day}
