"""``comfypod batch reconcile``: which pods of ours nobody needs or watches any more; and ending them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from comfypod.batch.documents import Pod
from comfypod.batch.providers.interface import Provider
from comfypod.batch.providers.local import NAME as LOCAL
from comfypod.batch.providers.names import PodName
from comfypod.batch.providers.opening import open_provider
from comfypod.batch.providers.orphans import KnownBatch, KnownPod, Orphan, find_orphans
from comfypod.batch.store.store import BatchStore
from comfypod.batch.wording import in_dollars
from comfypod.cli.printing import write_error, write_json, write_line
from comfypod.cli.reports import print_table
from comfypod.errors import BatchNotFound, ComfyPodError, NoCapacity, ProviderUnavailable, StoreUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileCommand:
    """What ``comfypod batch reconcile`` is told: see its ``--help``."""

    provider: str
    database: str | None
    """None: nothing is known of any batch."""
    folder: Path | None
    end: bool
    unknown: bool
    every_seconds: float | None
    """None: once."""
    as_json: bool


def reconcile(command: ReconcileCommand) -> None:
    """Look once, or again and again; say what was found, and end it if that was asked for.

    Raises:
        ProviderUnavailable, ProviderRefused, StoreUnavailable, StoreOutdated, ConfigurationError: it cannot be told, or
            a pod not be ended. With ``every_seconds`` what may go better later is said, and tried again.
    """
    with ExitStack() as stack:
        provider = open_provider(command.provider, folder=command.folder)
        stack.callback(provider.close)
        store = None if command.database is None else BatchStore.open(command.database)
        if store is not None:
            stack.callback(store.close)
        if command.every_seconds is None:
            _look(command, provider, store)
            return
        while True:
            try:
                _look(command, provider, store)
            except (ProviderUnavailable, StoreUnavailable, NoCapacity) as error:
                write_error(f"{error.code}: {error}")
            time.sleep(command.every_seconds)


def _look(command: ReconcileCommand, provider: Provider, store: BatchStore | None) -> None:
    pods = provider.pods()
    if provider.name == LOCAL:  # an ended process costs nothing; its folder holds what it printed
        pods = [pod for pod in pods if pod.state != "ended"]
    orphans = find_orphans(pods, known_batches(pods, store), time.time())
    failures: list[ComfyPodError] = []
    for orphan in orphans:
        is_ended = command.end and (orphan.is_sure or command.unknown) and _is_ended(provider, orphan, failures)
        if command.as_json:
            write_json(_document(orphan, is_ended=is_ended))
        elif is_ended:
            write_line(f"Ended {orphan.pod.name}: {orphan.reason}.")
    if not command.as_json:
        _summarize(command, pods, orphans)
    if failures:
        raise failures[0]


def known_batches(pods: Sequence[Pod], store: BatchStore | None) -> Mapping[str, KnownBatch]:
    """What the database says of the batches of these pods."""
    found = {}
    for identifier in {name.batch for pod in pods if (name := PodName.parse(pod.name)) is not None}:
        try:
            batch = store.find(identifier) if store is not None else None
        except BatchNotFound:
            batch = None
        if store is not None and batch is not None:
            known = {
                pod.name: KnownPod(pod.ends_at, has_ended=pod.state == "ended") for pod in store.pods(batch.number)
            }
            found[identifier] = KnownBatch(batch.state, batch.beat_at if batch.owner is not None else None, known)
    return found


def _is_ended(provider: Provider, orphan: Orphan, failures: list[ComfyPodError]) -> bool:
    """End one; that one cannot be ended does not keep the others."""
    try:
        provider.end(orphan.pod)
    except ComfyPodError as error:
        failures.append(error)
        return False
    return True


def _document(orphan: Orphan, *, is_ended: bool) -> dict[str, object]:
    pod = orphan.pod
    return {
        "pod": pod.name,
        "identifier": pod.identifier,
        "state": pod.state,
        "gpu": pod.gpu,
        "dollars_per_hour": pod.dollars_per_hour,
        "reason": orphan.reason.name.lower(),
        "ended": is_ended,
    }


def _summarize(command: ReconcileCommand, pods: Sequence[Pod], orphans: Sequence[Orphan]) -> None:
    if not command.end and orphans:
        print_table(["pod", "state", "GPU", "$/h", "why"], map(_row, orphans))
        dollars = sum(orphan.pod.dollars_per_hour for orphan in orphans)
        how = "--end ends them" if all(orphan.is_sure for orphan in orphans) else "--end, and --unknown, end them"
        write_line(f"{len(orphans)} of {len(pods)} pods, {in_dollars(dollars)} an hour; {how}.")
    elif not orphans and command.every_seconds is None:
        write_line(f"No orphans among {len(pods)} pods.")
    spared = [orphan for orphan in orphans if not orphan.is_sure]
    if command.end and spared and not command.unknown:
        write_error(
            f"{len(spared)} pods are of batches that this database does not know; another may. "
            "To end them as well: --unknown."
        )


def _row(orphan: Orphan) -> tuple[str, ...]:
    pod = orphan.pod
    return pod.name, pod.state, pod.gpu, in_dollars(pod.dollars_per_hour), orphan.reason.value
