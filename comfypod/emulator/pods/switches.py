"""Where RunPod's behaviour with pods is unknown or changing: one switch each. Pure.

Its default is the first of its values. Set them with ``comfypod emulate pods --switch NAME=VALUE``, or while it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from comfypod.emulator.choices import Choices, choice


@dataclass(frozen=True, slots=True)
class PodSwitches(Choices):
    """How the emulator reads what nobody has documented; each value is spelled as on the command line."""

    # runpodctl pull request 267 (April 2026): podRentInterruptable "is being removed from the runpod api".
    spot: Literal["offered", "gone"] = choice("offered", "whether GraphQL still has podRentInterruptable, podBidResume")
    # runpodctl, internal/podstate: an outbid pod is stopped on one path, terminated on another.
    outbid: Literal["EXITED", "TERMINATED"] = choice("EXITED", "what becomes of a pod that is outbid")
    # docs.runpod.io, "Pods": the host starts the container again; others saw pods exit.
    container_exit: Literal["restarts", "exits"] = choice("restarts", "what a host does when a pod's program ends")
    # "Pod-scoped API key" is all that the documentation says of the key that a pod has.
    pod_key: Literal["terminates", "stops", "nothing"] = choice(
        "terminates", "what a pod may do to itself with its own key"
    )
    listing: Literal["prompt", "late"] = choice("prompt", "whether a new pod is listed at once, or 2 s later")
