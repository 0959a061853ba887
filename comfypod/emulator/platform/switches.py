"""Where RunPod's behaviour is unknown or its sources disagree: one switch each, with both readings. Pure.

Every switch is a field of `Switches`; its default is the first of its values. Set them with
``comfypod emulate runpod --switch NAME=VALUE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from comfypod.emulator.choices import Choices, choice


@dataclass(frozen=True, slots=True)
class Switches(Choices):
    """How the emulator reads what nobody has documented; each value is spelled as on the command line."""

    # docs.runpod.io, "Job states", says TIMED_OUT; "Endpoint configurations" says that "the job fails".
    execution_timeout: Literal["TIMED_OUT", "FAILED"] = choice(
        "TIMED_OUT", "the state of a job that ran longer than its executionTimeout"
    )
    # runpod-python issue 250 (2023): progress that arrived after the result made the job IN_PROGRESS for good.
    late_progress: Literal["ignored", "overwrites"] = choice(
        "ignored", "what progress does that a worker sends after the job's result"
    )
    # docs.runpod.io, "Operation reference", shows an array; both SDKs and a live capture have an object.
    stream_answer: Literal["object", "array"] = choice(
        "object", 'the answer of /stream: {"status", "stream"}, or the list of chunks alone'
    )
    purged_jobs: Literal["CANCELLED", "gone"] = choice(
        "CANCELLED", "what /status says of a job that /purge-queue removed: that state, or 404"
    )
    # docs.runpod.io, "Send API requests", says that a webhook is called "when the job completes"; only COMPLETED and
    # FAILED have been seen.
    cancelled_webhook: Literal["sent", "unsent"] = choice("sent", "whether a cancelled job calls its webhook")
    timed_out_webhook: Literal["sent", "unsent"] = choice("sent", "whether a timed-out job calls its webhook")
    # docs.runpod.io says 10 s between the tries; a live capture of July 2026 shows 5 s, then 15 s.
    webhook_spacing: Literal["captured", "documented"] = choice(
        "captured", "the pauses before a webhook's second and third try: 5 s and 15 s, or 10 s and 10 s"
    )
    # /requests stands in the table of rate limits and nowhere else.
    requests: Literal["listed", "missing"] = choice(
        "listed", "the answer of /requests: the endpoint's jobs in a shape of our own, or 404"
    )
    refused_retry: Literal["400", "404", "409"] = choice(
        "400", "the HTTP status of /retry for a job that is neither FAILED nor TIMED_OUT"
    )
    policy_to_worker: Literal["withheld", "sent"] = choice(
        "withheld", 'whether the job that a worker takes holds the client\'s "policy"'
    )
    error_value: Literal["kept", "text"] = choice(
        "kept", "how /status shows an error that is no string: as it was sent, or as JSON text"
    )
