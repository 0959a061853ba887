"""What a check finds, and how checks run: side by side, each under a deadline, none in another's way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError

Status = Literal["ok", "note", "warning", "problem"]
"""``note``: worth knowing, nothing to do. ``warning``: works, but not as it should. ``problem``: does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, as a sentence; ``remedy`` says what to do about it, if anything."""

    name: str
    status: Status
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at: the repository at ``root``, as a process with this environment would see it.

    ``patience_seconds`` is how long an endpoint may be busy or away: a person waits for the answer.
    """

    root: Path
    environment: Mapping[str, str]
    endpoint_id: str | None = None
    base_url: str | None = None
    needs_bucket: bool = False
    starts_comfyui: bool = False
    patience_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ``look`` returns what it found, or None where it has nothing to say.

    ``expected`` are the exceptions by which a check may break (a `ComfyPodError` always may); anything else is a bug.
    ``look`` must end by itself in ``seconds``; if it does not, that is what is told.
    """

    name: str
    look: Callable[[Patient], Finding | None]
    expected: tuple[type[Exception], ...] = (OSError,)
    seconds: float = 30.0


def run_checks(checks: Sequence[Check], patient: Patient) -> Iterator[Finding]:
    """Run all at the same time; yield what they found, in the order of ``checks``, each as soon as it is its turn.

    Raises:
        Exception: whatever a check raised that it does not name, after everything else was told.
    """
    runs = [_Run(check, patient) for check in checks]
    yield from (finding for run in runs if (finding := run.finding()) is not None)
    for run in runs:
        if run.bug is not None:
            raise run.bug


class _Run:
    """One check in a thread of its own, which does not keep the program from ending."""

    def __init__(self, check: Check, patient: Patient) -> None:
        self.bug: Exception | None = None
        self._check = check
        self._patient = patient
        self._found: Finding | None = None
        self._deadline = Deadline.after(check.seconds)
        self._thread = threading.Thread(target=self._look, name=f"doctor: {check.name}", daemon=True)
        self._thread.start()

    def finding(self) -> Finding | None:
        """Wait until the check's deadline, and say what it found."""
        self._thread.join(self._deadline.remaining_seconds)
        if self._thread.is_alive():
            sentence = f"The check did not end within {self._check.seconds:g} s"
            return Finding(self._check.name, "problem", sentence, "Run the command again; something it asks hangs.")
        return self._found

    def _look(self) -> None:
        name = self._check.name
        expected: tuple[type[Exception], ...] = (ComfyPodError, *self._check.expected)
        try:
            self._found = self._check.look(self._patient)
        except expected as error:
            sentence = f"The check itself failed: {str(error) or type(error).__name__}"
            self._found = Finding(name, "problem", sentence, "Mend what it says, and run the command again.")
        except Exception as error:  # noqa: BLE001 (the boundary of a thread: raised in the caller's, see `run_checks`)
            self._found = Finding(name, "problem", f"The check has a bug: {error!r}", "Please report it.")
            self.bug = error
