"""A job's progress: a bar where a person looks, a line for every change elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from comfypod.cli.previews import PreviewScreen
from comfypod.cli.printing import printable
from comfypod.cloud.jobs import JobProgress, JobState, JobStatus

__all__ = ["ProgressDisplay", "describe", "is_interactive", "printable"]

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
_REFRESHES_PER_SECOND = 4.0
LONGEST_MESSAGE = 200


def is_interactive(console: Console) -> bool:
    """Whether something may move on it: stderr is a terminal that can, whatever FORCE_COLOR and its like say."""
    return sys.stderr.isatty() and console.is_interactive and not console.is_dumb_terminal


def describe(status: JobStatus) -> tuple[str, float | None, str, str]:
    """Stage, value from 0 to 1, message and time left, ready to be printed."""
    progress = status.progress or JobProgress({})
    stage = _STAGES.get(progress.stage or "", _STATES[status.state])
    value = 1.0 if status.state is JobState.COMPLETED else progress.value
    eta_seconds = progress.eta_seconds or 0.0
    eta = f"{eta_seconds:.0f} s left" if eta_seconds >= 0.5 else ""
    return stage, value, printable((progress.message or "")[:LONGEST_MESSAGE]), eta


class ProgressDisplay:
    """A context manager; `show` it every answer. ``screen`` has the previews, if there are to be any."""

    def __init__(self, console: Console, screen: PreviewScreen | None = None) -> None:
        self._console = console
        self._screen = screen
        self._bar = Progress(
            TextColumn("{task.fields[stage]:<20}"),
            BarColumn(bar_width=30, complete_style="cyan", finished_style="green"),
            TaskProgressColumn(),
            TextColumn("{task.fields[message]}", markup=False),  # what a worker sends is no markup
            TextColumn("{task.fields[eta]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("", total=1.0, stage="Sending", message="", eta="")
        self._live: Live | None = None
        if is_interactive(console):
            shown = Group(self._bar, screen) if screen is not None else self._bar
            self._live = Live(shown, console=console, refresh_per_second=_REFRESHES_PER_SECOND, redirect_stdout=False)
        self._last_line = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen is not None:
            self._screen.clear()  # what stays on the terminal is the bar
        if self._live is not None:
            self._live.stop()

    def show(self, status: JobStatus) -> None:
        """Show where the job stands."""
        stage, value, message, eta = describe(status)
        self._bar.update(self._task, completed=value, stage=stage, message=message, eta=eta)
        if self._screen is not None:
            self._screen.show(status.progress)
        if self._live is None:
            self._show_line(stage, value, message, eta)

    def _show_line(self, stage: str, value: float | None, message: str, eta: str) -> None:
        percent = "    " if value is None else f"{value:4.0%}"
        line = "  ".join(part for part in (f"{stage:<20}", percent, message, eta) if part).rstrip()
        if line != self._last_line:
            self._last_line = line
            self._console.print(Text(line), soft_wrap=True)
