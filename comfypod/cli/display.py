"""A job's progress on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from comfypod.cloud.jobs import JobState, JobStatus

_STAGES = {"prepare": "Preparing", "queue": "Queued", "execute": "Running", "deliver": "Delivering"}
_STATES = {
    JobState.IN_QUEUE: "Waiting for a worker",
    JobState.IN_PROGRESS: "Starting",
    JobState.RUNNING: "Starting",
    JobState.COMPLETED: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
    JobState.TIMED_OUT: "Timed out",
}


def printable(text: str) -> str:
    """``text`` without control characters: what comes from elsewhere must not steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


class ProgressDisplay:
    """A bar with stage, node, step, percent and ETA; where there is no terminal, a line for every change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.fields[stage]:<20}"),
            BarColumn(bar_width=30, complete_style="cyan", finished_style="green"),
            TaskProgressColumn(),
            TextColumn("{task.fields[message]}", markup=False),  # what a worker sends is no markup
            TextColumn("{task.fields[eta]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, stage="Sending", message="", eta="")
        self._last_line = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, status: JobStatus) -> None:
        """Show where the job stands."""
        progress = status.progress or {}
        stage = _STAGES.get(str(progress.get("stage")), _STATES[status.state])
        message = printable(str(progress.get("message", "")))
        eta_seconds = progress.get("eta_seconds")
        eta = f"{eta_seconds:.0f} s left" if isinstance(eta_seconds, int | float) and eta_seconds >= 0.5 else ""
        value = 1.0 if status.state is JobState.COMPLETED else progress.get("value")
        self._bar.update(
            self._task,
            completed=value if isinstance(value, int | float) else None,
            stage=stage,
            message=message,
            eta=eta,
        )
        if not self._console.is_terminal:
            self._show_line(stage, value, message, eta)

    def _show_line(self, stage: str, value: object, message: str, eta: str) -> None:
        percent = f"{value:4.0%}" if isinstance(value, int | float) else "    "
        line = "  ".join(part for part in (f"{stage:<20}", percent, message, eta) if part).rstrip()
        if line != self._last_line:
            self._last_line = line
            self._console.print(Text(line))
