"""How an emulated endpoint behaves: everything about it that can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from comfypod.emulator.platform.rates import RateLimits
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.platform.switches import Switches

if TYPE_CHECKING:
    from comfypod.emulator.platform.faults import PlatformFault


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """The choices of one endpoint; the defaults are RunPod's, as far as they are known.

    Attributes:
        limits: sizes, times and retention.
        switches: how what is not documented is read.
        rate_limits: requests per operation, or None: none apply.
        poll_seconds: how long a worker's job-take and job-stop are held; not documented, below runpod-python's 90 s.
        faults: what is planned to go wrong.
        accept_faults: whether clients may plan faults, at /emulator/faults.
        state_file: where the jobs are kept over restarts, or None: they end with the process.
    """

    limits: Limits = field(default_factory=Limits)
    switches: Switches = field(default_factory=Switches)
    rate_limits: RateLimits | None = field(default_factory=RateLimits)
    poll_seconds: float = 10.0
    faults: Sequence[PlatformFault] = ()
    accept_faults: bool = False
    state_file: Path | None = None
