"""The addresses in answers: absolute, below the address by which the program knows the gateway. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

API = "/api/v2"
JOBS_KEPT = timedelta(days=30)
"""So long a job can be asked for at least: masters keep requests for 30 days after their end."""


@dataclass(frozen=True, slots=True)
class Links:
    """``origin`` is scheme, host and port, without a slash at the end."""

    origin: str

    def job(self, key: str, part: str = "") -> str:
        """Of a job, or of a part of it such as ``/events``."""
        return f"{self.origin}{API}/jobs/{key}{part}"

    def content(self, asset_id: str) -> str:
        """Of an asset's or an output's bytes."""
        return f"{self.origin}{API}/assets/{asset_id}/content"

    def expiry(self, created_at: datetime) -> datetime:
        """Until when a job of that moment, and what it made, can be asked for."""
        return created_at + JOBS_KEPT
