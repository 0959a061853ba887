"""Checks of what is reached over the network: the bucket, and the endpoint on RunPod."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfypod.cli.doctor.finding import Finding, Patient, Status
from comfypod.cli.settings_view import has_worker_libraries
from comfypod.cloud.client import Client
from comfypod.cloud.configuration import ENDPOINT_VARIABLE, KEY_FILE, KEY_VARIABLE, find_connection
from comfypod.deadline import Deadline
from comfypod.errors import AuthenticationFailed, CloudUnavailable, ConfigurationError, EndpointNotFound
from comfypod.schema.wire import as_object
from comfypod.settings import Settings

BUCKET_SECONDS = 30.0

# What RunPod counts on /health: docs.runpod.io, "Operation reference"; live captures of July 2026.
WORKER_STATES = ("idle", "ready", "running", "initializing", "throttled", "unhealthy")
_LOGS = "Its workers' logs (console.runpod.io, Serverless, the endpoint, Workers) say why."


def bucket(patient: Patient) -> Finding:
    """Whether an object can be written, read and deleted, if a bucket is set."""
    if not has_worker_libraries():
        return Finding("bucket", "note", "Not tried: it takes the libraries of comfypod[worker]")
    # Here, since a client's machine need not have those libraries.
    from comfypod.storage.buckets.bucket import Bucket  # noqa: PLC0415

    try:
        place = Bucket.from_settings(Settings.from_environment(patient.environment))
    except ConfigurationError:
        return Finding("bucket", "note", "Not tried: the settings are not valid", "See the line about settings.")
    if place is None:
        status: Status = "problem" if patient.needs_bucket else "note"
        remedy = "Set BUCKET_ENDPOINT_URL, BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY"
        return Finding("bucket", status, "No bucket is set", f"{remedy}: results above 10 MB need one.")
    try:
        asyncio.run(place.check(Deadline.after(BUCKET_SECONDS)))
    except ConfigurationError as error:
        return Finding("bucket", "problem", str(error), "All settings: comfypod settings")
    return Finding("bucket", "ok", f"An object was written to {place.name}, read and deleted")


def endpoint(patient: Patient) -> Finding:
    """Whether the key is accepted, and what the endpoint says of its workers."""
    named = patient.endpoint_id or patient.environment.get(ENDPOINT_VARIABLE)
    if not named:
        remedy = f"To look at one: --endpoint ID, or {ENDPOINT_VARIABLE}"
        return Finding("endpoint", "note", f"No endpoint is named{_key_words(patient)}", remedy)
    try:
        found = find_connection(named, None, patient.base_url, patient.environment)
        with Client(named, found.api_key, found.base_url, patience_seconds=patient.patience_seconds) as client:
            health = client.health()
    except AuthenticationFailed as error:
        remedy = f"Make a key that may use it (console.runpod.io, Settings, API Keys), and set {KEY_VARIABLE}."
        return Finding("endpoint", "problem", str(error), remedy)
    except EndpointNotFound as error:
        return Finding("endpoint", "problem", str(error), "Its id stands on the endpoint's page, and in its address.")
    except ConfigurationError as error:
        return Finding("endpoint", "problem", str(error), "Keys are made at console.runpod.io, Settings, API Keys.")
    except CloudUnavailable as error:
        return Finding("endpoint", "problem", str(error), "Is there a network? Else see uptime.runpod.io, and wait.")
    return _judged(named, as_object(health.get("workers")), as_object(health.get("jobs")), _key_words(patient))


def _key_words(patient: Patient) -> str:
    """Where the key is from; never the key."""
    if patient.environment.get(KEY_VARIABLE):
        return f" (a key is in {KEY_VARIABLE})"
    return f" (a key may be in ~/{KEY_FILE})" if (Path.home() / KEY_FILE).exists() else " (and there is no key)"


def _judged(name: str, workers: Mapping[str, Any], jobs: Mapping[str, Any], key: str) -> Finding:
    """What the counts mean for the next job."""
    count = {state: _number(workers.get(state)) for state in WORKER_STATES}
    waiting = _number(jobs.get("inQueue"))
    # `ready` counted the same workers as `idle` in all captures.
    useful = max(count["idle"], count["ready"]) + count["running"] + count["initializing"]
    shown = ", ".join(f"{number} {state}" for state, number in count.items() if number) or "no workers"
    sentence = f"{name} answers{key}: {shown}; {waiting} jobs wait"
    if count["unhealthy"] and not useful:
        return Finding("endpoint", "problem", f"{sentence}; all its workers are unhealthy", _LOGS)
    if count["throttled"] and not useful:
        remedy = "No GPU of the chosen kinds is free: choose more kinds, or allow more data centres."
        return Finding("endpoint", "warning", f"{sentence}; its workers are throttled", remedy)
    if not any(count.values()) and waiting:
        remedy = "Set max workers above 0 in the endpoint's settings; if it is, wait until a worker starts."
        return Finding("endpoint", "problem", f"{sentence}, for a worker that is not there", remedy)
    if count["unhealthy"]:
        return Finding("endpoint", "warning", f"{sentence}; some workers are unhealthy", _LOGS)
    if not any(count.values()):
        remedy = "A job starts one, unless max workers is 0 in the endpoint's settings."
        return Finding("endpoint", "note", sentence, remedy)
    return Finding("endpoint", "ok", sentence)


def _number(value: Any) -> int:  # noqa: ANN401 (foreign JSON)
    return value if isinstance(value, int) else 0
