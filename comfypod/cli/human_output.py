"""What a person reads: progress and remarks on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.text import Text

from comfypod.cli.display import ProgressDisplay, describe, is_interactive
from comfypod.cli.plain_output import QuietOutput
from comfypod.cli.previews import PreviewScreen, open_screen
from comfypod.cli.printing import printable, write_line
from comfypod.cloud.jobs import JobStatus

_PHASES = ("prepare_ms", "queue_ms", "execute_ms", "deliver_ms", "total_ms")


class HumanOutput(QuietOutput):
    """What `QuietOutput` writes to stdout; a bar and sentences on stderr."""

    def __init__(self, *, previews: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._display = ProgressDisplay(self._console, self._screen() if previews else None)

    def following(self) -> AbstractContextManager[object]:
        """The bar."""
        return self._display

    def submitted(self, status: JobStatus, *, detached: bool) -> None:
        """The id: on stdout if the command ends with it."""
        super().submitted(status, detached=detached)
        if not detached:
            self.note(f"Job {status.id}")

    def progress(self, status: JobStatus) -> None:
        """Move the bar."""
        self._display.show(status)

    def result(self, status: JobStatus) -> None:
        """What the result is worth: its times, its seeds, its warnings, its engine."""
        output = _mapping(status.output)
        timings = _mapping(output.get("timings"))
        parts = [
            f"{name.removesuffix('_ms')} {timings[name] / 1000:.2f} s"
            for name in _PHASES
            if isinstance(timings.get(name), int | float)
        ]
        if parts:
            self.note(f"Timings: {', '.join(parts)}")
        for name, seed in _mapping(output.get("seeds")).items():
            self.note(f"Seed drawn: {name}={seed}")
        warnings = output.get("warnings")
        for warning in warnings if isinstance(warnings, list) else ():
            self.note(f"Warning: {warning}")
        if _mapping(output.get("worker")).get("engine") == "emulator":
            self.note("Made by the built-in engine, which draws shapes; it is not a model.")

    def status(self, status: JobStatus) -> None:
        """One line: id, state, and how far it is, or why it failed."""
        stage, value, message, eta = describe(status)
        running = ("" if value is None else f"{value:.0%}", stage, message, eta) if status.state.is_running else ()
        error = "" if status.error is None else str(status.error)
        parts = [status.id, status.state.value, *running, error, _spent(status)]
        write_line(printable("  ".join(part for part in parts if part)))

    def cancelled(self, status: JobStatus) -> None:
        """What became of it."""
        self.note(f"Job {status.id}: {status.state.value}")

    def note(self, sentence: str) -> None:
        """A line on stderr."""
        self._console.print(Text(printable(sentence)), soft_wrap=True)

    def _screen(self) -> PreviewScreen | None:
        screen = open_screen(self._console) if is_interactive(self._console) else None
        if screen is None:
            self.note("This is no terminal that can show previews; with --json they are in the progress events.")
        return screen


def _spent(status: JobStatus) -> str:
    known = (("waited", status.delay_ms), ("ran", status.execution_ms))
    times = [f"{word} {value / 1000:.1f} s" for word, value in known if value is not None]
    return f"({', '.join(times)})" if times else ""


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 (foreign JSON)
    return value if isinstance(value, Mapping) else {}
