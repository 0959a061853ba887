"""How many workers RunPod's scalers want. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from comfypod.fleet.settings import EndpointSettings, Scaler, ScaleUp


class Load(NamedTuple):
    """What a scaler looks at."""

    queued: int
    """Requests that no worker has taken."""
    in_progress: int
    late: int
    """Of those queued: they have waited longer than the scaler's value."""
    active: int
    """Workers that start, idle or run."""
    starting: int
    expired: int
    """Workers that have been idle for the idle timeout."""


def wanted_workers(load: Load, settings: EndpointSettings, scale_up: ScaleUp) -> int:
    """How many workers there should be.

    Documented (docs.runpod.io, "Endpoint configurations"): never fewer than the active workers, never more than the max
    workers; QUEUE_DELAY adds a worker when a request waits longer than the value; REQUEST_COUNT wants
    ceil((queued + in progress) / value); a worker is stopped after the idle timeout.

    Our reading where that is silent: the first request for no worker at all starts one at once; no worker is stopped
    while a request waits; how many QUEUE_DELAY adds, see `ScaleUp`.
    """
    if settings.scaler is Scaler.REQUEST_COUNT:
        needed = math.ceil((load.queued + load.in_progress) / settings.scaler_value)
    elif not load.queued:
        needed = load.active - load.expired
    elif not load.active:
        needed = 1
    elif scale_up is ScaleUp.EACH_LATE:
        needed = load.active + max(0, load.late - load.starting)
    else:
        needed = load.active + (load.late > 0 and not load.starting)
    return max(settings.active_workers, min(needed, settings.max_workers))
