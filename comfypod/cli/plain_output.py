"""The outputs for programs: JSON lines (``docs/reference/command-line.md``), or only the results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from comfypod.cli.exit_codes import code_of, exit_code_of
from comfypod.cli.output import SavedFile
from comfypod.cli.printing import for_stdout, write_error, write_json, write_line
from comfypod.cloud.jobs import JobState, JobStatus
from comfypod.errors import ComfyPodError, JobCancelled


class JSONOutput:
    """One JSON object per line and event; pictures of progress only if they were asked for."""

    def __init__(self, *, previews: bool) -> None:
        self._previews = previews
        self._last: Mapping[str, Any] = {}
        self._job_id: str | None = None

    def following(self) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def submitted(self, status: JobStatus, *, detached: bool) -> None:
        """``{"event": "submitted", "job_id": …, "status": …, "detached": …}``."""
        self._write("submitted", job_id=status.id, status=status.state.value, detached=detached)

    def progress(self, status: JobStatus) -> None:
        """``{"event": "progress", "job_id": …, "status": …, "progress": …}``, if it says something new."""
        event = {"job_id": status.id, "status": status.state.value, "progress": self._progress(status)}
        if event != self._last and not status.state.is_final:
            self._last = event
            self._write("progress", **event)

    def result(self, status: JobStatus) -> None:
        """``{"event": "result", "job_id": …, "output": …}``; inline files are left out of the output."""
        self._write("result", job_id=status.id, **_times(status), output=without_content(status.output))

    def saved(self, file: SavedFile) -> None:
        """``{"event": "saved", "job_id": …, "path": …, "artifact": …}``; the artifact without its content."""
        self._write("saved", job_id=file.job_id, path=str(file.path), artifact=_without_data(file.artifact))

    def text(self, value: str) -> None:
        """Nothing: it is in the result."""

    def status(self, status: JobStatus) -> None:
        """``{"event": "status", "job_id": …, "status": …}``, and what else is known."""
        more: dict[str, Any] = {"progress": self._progress(status), **_times(status)}
        if status.state.is_final:
            more["output"] = without_content(status.output)
        if status.error is not None:
            more["error"] = status.error
        self._write("status", job_id=status.id, status=status.state.value, **more)

    def cancelled(self, status: JobStatus) -> None:
        """``{"event": "cancelled", "job_id": …, "status": …}``."""
        self._write("cancelled", job_id=status.id, status=status.state.value)

    def health(self, document: Mapping[str, Any]) -> None:
        """``{"event": "health", "jobs": …, "workers": …}``."""
        self._write("health", jobs=document.get("jobs"), workers=document.get("workers"))

    def failed(self, error: ComfyPodError, job_id: str | None = None) -> None:
        """``{"event": "error", "job_id": …, "code": …, "message": …, "retryable": …, "exit_code": …}``.

        Of a job that was cancelled: ``{"event": "cancelled", …}``.
        """
        if isinstance(error, JobCancelled):
            self._write("cancelled", job_id=error.job_id, status=JobState.CANCELLED.value)
            return
        output = getattr(error, "output", None)
        self._write(
            "error",
            job_id=job_id or getattr(error, "job_id", self._job_id),
            code=code_of(error),
            message=str(error),
            retryable=error.retryable,
            exit_code=int(exit_code_of(error)),
            output=without_content(output) or None,
        )

    def note(self, sentence: str) -> None:
        """To stderr."""
        write_error(sentence)

    def _progress(self, status: JobStatus) -> dict[str, Any] | None:
        if status.progress is None:
            return None
        return {name: value for name, value in status.progress.items() if self._previews or name != "preview"}

    def _write(self, event: str, **fields: Any) -> None:  # noqa: ANN401 (any JSON)
        self._job_id = fields.get("job_id", self._job_id)
        write_json({"event": event, **fields})


class QuietOutput:
    """Nothing but what was asked for: paths, texts, a job's id or state."""

    def following(self) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def submitted(self, status: JobStatus, *, detached: bool) -> None:
        """The id, if the command ends with it."""
        if detached:
            write_line(status.id)

    def progress(self, status: JobStatus) -> None:
        """Nothing."""

    def result(self, status: JobStatus) -> None:
        """Nothing: files and texts follow."""

    def saved(self, file: SavedFile) -> None:
        """The path."""
        write_line(for_stdout(str(file.path)))

    def text(self, value: str) -> None:
        """The text."""
        write_line(for_stdout(value))

    def status(self, status: JobStatus) -> None:
        """The state, in RunPod's word."""
        write_line(status.state.value)

    def cancelled(self, status: JobStatus) -> None:
        """Nothing: the exit code says it."""

    def health(self, document: Mapping[str, Any]) -> None:
        """Two lines of counts."""
        for line in _health_lines(document):
            write_line(for_stdout(line))

    def failed(self, error: ComfyPodError, job_id: str | None = None) -> None:
        """Nothing: whoever ends the command says it on stderr."""

    def note(self, sentence: str) -> None:
        """Nothing."""


def without_content(output: Any) -> Any:  # noqa: ANN401 (foreign JSON)
    """The output without the content of inline files, which is saved, and too long to be read."""
    if not isinstance(output, Mapping):
        return output
    shown = dict(output)
    for name in ("images", "files"):
        if isinstance(shown.get(name), list):
            shown[name] = [_without_data(item) for item in shown[name]]
    return shown


def _health_lines(document: Mapping[str, Any]) -> list[str]:
    """``Jobs: …`` and ``Workers: …``, with what is counted in the platform's own words."""
    return [
        f"{title + ':':<9}" + ", ".join(f"{count} {word}" for word, count in counts.items())
        for title, counts in (("Jobs", document.get("jobs")), ("Workers", document.get("workers")))
        if isinstance(counts, Mapping)
    ]


def _without_data(artifact: Any) -> Any:  # noqa: ANN401 (foreign JSON)
    if not isinstance(artifact, Mapping) or artifact.get("type", "base64") != "base64":
        return artifact
    return {name: value for name, value in artifact.items() if name != "data"}


def _times(status: JobStatus) -> dict[str, Any]:
    known = {"delay_ms": status.delay_ms, "execution_ms": status.execution_ms, "worker_id": status.worker_id}
    return {name: value for name, value in known.items() if value is not None}
