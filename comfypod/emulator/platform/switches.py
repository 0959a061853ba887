"""Where RunPod's behaviour is unknown or its sources disagree: one switch each, with both readings. Pure.

Every switch is a field of `Switches`; its default is the first of its values. Set them with
``comfypod emulate runpod --switch NAME=VALUE``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args, get_type_hints


def _switch(default: str, meaning: str) -> Any:  # noqa: ANN401 (a field of whatever type it is declared as)
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Switches:
    """How the emulator reads what nobody has documented; each value is spelled as on the command line."""

    # docs.runpod.io, "Job states", says TIMED_OUT; "Endpoint configurations" says that "the job fails".
    execution_timeout: Literal["TIMED_OUT", "FAILED"] = _switch(
        "TIMED_OUT", "the state of a job that ran longer than its executionTimeout"
    )
    # runpod-python issue 250 (2023): progress that arrived after the result made the job IN_PROGRESS for good.
    late_progress: Literal["ignored", "overwrites"] = _switch(
        "ignored", "what progress does that a worker sends after the job's result"
    )
    # docs.runpod.io, "Operation reference", shows an array; both SDKs and a live capture have an object.
    stream_answer: Literal["object", "array"] = _switch(
        "object", 'the answer of /stream: {"status", "stream"}, or the list of chunks alone'
    )
    purged_jobs: Literal["CANCELLED", "gone"] = _switch(
        "CANCELLED", "what /status says of a job that /purge-queue removed: that state, or 404"
    )
    # docs.runpod.io, "Send API requests", says that a webhook is called "when the job completes"; only COMPLETED and
    # FAILED have been seen.
    cancelled_webhook: Literal["sent", "unsent"] = _switch("sent", "whether a cancelled job calls its webhook")
    timed_out_webhook: Literal["sent", "unsent"] = _switch("sent", "whether a timed-out job calls its webhook")
    # docs.runpod.io says 10 s between the tries; a live capture of July 2026 shows 5 s, then 15 s.
    webhook_spacing: Literal["captured", "documented"] = _switch(
        "captured", "the pauses before a webhook's second and third try: 5 s and 15 s, or 10 s and 10 s"
    )
    # /requests stands in the table of rate limits and nowhere else.
    requests: Literal["listed", "missing"] = _switch(
        "listed", "the answer of /requests: the endpoint's jobs in a shape of our own, or 404"
    )
    refused_retry: Literal["400", "404", "409"] = _switch(
        "400", "the HTTP status of /retry for a job that is neither FAILED nor TIMED_OUT"
    )
    policy_to_worker: Literal["withheld", "sent"] = _switch(
        "withheld", 'whether the job that a worker takes holds the client\'s "policy"'
    )
    error_value: Literal["kept", "text"] = _switch(
        "kept", "how /status shows an error that is no string: as it was sent, or as JSON text"
    )

    @classmethod
    def parse(cls, settings: Iterable[str]) -> Self:
        """Read ``NAME=VALUE`` settings; of two for the same switch the later one counts.

        Raises:
            ValueError: there is no such switch, or it has no such value; the message names those there are.
        """
        choices = cls.choices()
        chosen: dict[str, Any] = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise ValueError(f'"{setting}" is no switch: write NAME=VALUE, for example late_progress=overwrites.')
            if name not in choices:
                raise ValueError(f'There is no switch "{name}"; there are {", ".join(choices)}.')
            if value not in choices[name]:
                raise ValueError(f'The switch "{name}" cannot be "{value}"; it is {" or ".join(choices[name])}.')
            chosen[name] = value
        return cls(**chosen)

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """The values of every switch, by its name; the default comes first."""
        hints = get_type_hints(cls)
        return {entry.name: get_args(hints[entry.name]) for entry in fields(cls)}

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """What every switch decides, by its name."""
        return {entry.name: entry.metadata["meaning"] for entry in fields(cls)}
