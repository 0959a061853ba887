"""The fleet as GET /emulator/state and ``comfypod top`` show it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from comfypod.emulator.fleet.fleet import Fleet

_NOTHING = {"billed_seconds": 0, "dollars": 0.0, "price_per_second": 0.0}


def fleet_document(fleet: Fleet | None) -> dict[str, Any]:
    """``workers``, ``spend`` and ``scaling`` (None without a fleet). Seconds, and dollars."""
    if fleet is None:
        return {"workers": [], "spend": _NOTHING, "scaling": None}
    options = fleet.options
    return {
        "workers": _worker_documents(fleet),
        "spend": asdict(fleet.spend()),
        "scaling": {
            "scaler": options.scaler.value,
            "value": options.scaler_value,
            "min": options.min_workers,
            "max": options.max_workers,
            "wanted": fleet.wanted,
        },
    }


def _worker_documents(fleet: Fleet) -> list[dict[str, Any]]:
    now = time.monotonic()
    documents = []
    for worker in fleet.members():
        seconds = worker.bill.seconds(now)
        documents.append(
            {
                "id": worker.id,
                "state": worker.state.value,
                "pid": worker.process.pid if worker.process else None,
                "job_ids": list(worker.job_ids),
                "age_seconds": round(now - worker.started, 1),
                "billed_seconds": seconds,
                "dollars": fleet.ledger.dollars(seconds),
            }
        )
    return documents
