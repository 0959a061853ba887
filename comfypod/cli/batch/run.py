"""``comfypod batch run``: a manifest becomes a plan, and the plan is carried out, by pods that are rented for it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from logging import WARNING
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from rich.console import Console

from comfypod import logs
from comfypod.batch.coordinator.server import ServerOptions
from comfypod.batch.coordinator.serverless_plan import serverless_plan
from comfypod.batch.coordinator.service import CoordinatorOptions, coordinating
from comfypod.batch.coordinator.situation import Patience
from comfypod.batch.documents import Offer, Plan
from comfypod.batch.manifest.manifest import Manifest
from comfypod.batch.planning import (
    Demands,
    make_plan,
    read_learned,
    workload_of,
)
from comfypod.batch.providers import local, runpod_pods, skypilot
from comfypod.batch.providers.opening import open_provider
from comfypod.batch.report.learning import learn
from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import Batch, NewBatch
from comfypod.cli.batch.manifest_choice import ManifestChoice
from comfypod.cli.batch.offer_choice import SERVERLESS, choose_offers
from comfypod.cli.batch.places import Results, archived, check_address, learned_file, pod_options, results_of
from comfypod.cli.batch.plan_view import show_plan
from comfypod.cli.batch.watch import watching
from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.printing import write_error, write_line
from comfypod.errors import BatchNotFound, ComfyPodError, ConfigurationError, ProviderRefused, ProviderUnavailable
from comfypod.settings import Settings

LEASE_SECONDS: Final = 60.0
SESSION_SECONDS: Final = 60.0
"""So much work a pod has in hand: it bears that the coordinator is away so long, and little is lost with it."""
FEWEST_ITEMS, MOST_ITEMS = 4, 200
LAUNCH_SECONDS: Final = 24 * 3600.0
"""So long somebody may take to launch what was written down for SkyPilot."""
MOST_PLAN_BYTES: Final = 512 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand:
    """What ``comfypod batch run`` is told: see its ``--help``."""

    choice: ManifestChoice
    plan_file: Path | None
    provider: str
    offers_file: Path | None
    demands: Demands
    results: str | None
    archives: bool
    database: str
    server: ServerOptions
    image: str | None
    endpoint: str | None = None
    at_once: int = 10


def run_batch(command: RunCommand) -> int:
    """Plan a manifest, or go on with its batch, and see it to its end. Returns the exit code.

    Raises:
        InvalidManifest, PlanImpossible, ConfigurationError, ComfyPodError: see `main`.
    """
    if command.provider != SERVERLESS:
        check_address(command.server, command.provider)
    elif command.archives:
        raise ConfigurationError(["--archives is for pods: what an endpoint's jobs made comes as single files."])
    manifest = command.choice.read()
    BatchStore.migrate(command.database)
    with closing(BatchStore.open(command.database)) as store:
        batch, results = _begun(command, store, manifest)
        if batch.state == "cancelled":
            raise ConfigurationError(
                [f"The batch was cancelled; `comfypod batch resume {batch.identifier}` gives it back."]
            )
        if batch.state == "paused":
            batch = store.change_state(batch.number, "running")
        _fill(store, batch, manifest)
        if store.of(batch.number).state != "over":
            _carry_out(command, store, batch, results)
        return _ended(store, batch, results)


def _begun(command: RunCommand, store: BatchStore, manifest: Manifest) -> tuple[Batch, Results]:
    """The batch of this manifest: made now, by a plan that is shown, or found."""
    results = results_of(command.results, manifest.identifier)
    if command.archives:
        results = archived(results)
    try:
        known = store.find(manifest.identifier)
    except BatchNotFound:
        known = None
    offers = _offers(command)
    if known is not None:
        if known.results != dict(results.document):
            raise ConfigurationError(["The results of this batch go elsewhere; name the same place as before."])
        plan = store.plan(known.number)
        if command.plan_file is not None and _read_plan(command.plan_file, manifest) != plan:
            raise ConfigurationError(
                ["This batch has begun by another plan, and goes on by that one; leave out --plan."]
            )
        write_error(f"Going on with batch {known.identifier}, by the plan that it began with.")
    else:
        plan = _planned(command, manifest, offers)
        show_plan(plan)
    new = NewBatch(
        plan=plan,
        label=command.choice.source if "://" not in command.choice.source else "database",
        provider=command.provider,
        offers=tuple(offers),
        results=results.document,
        lease_seconds=LEASE_SECONDS,
        session_items=session_items(plan),
        deadline_at=_deadline_at(command, plan, known),
        budget_dollars=_budget(command, plan, known),
    )
    return store.begin(new), results


def _deadline_at(command: RunCommand, plan: Plan, known: Batch | None) -> float | None:
    """The one that is given now counts from now; else that of the batch, or of its plan."""
    seconds = command.demands.deadline_seconds
    if seconds is None and known is not None:
        return known.deadline_at
    seconds = plan.deadline_seconds if seconds is None else seconds
    return None if seconds is None else time.time() + seconds


def _budget(command: RunCommand, plan: Plan, known: Batch | None) -> float | None:
    """The one that is given now, else that of the batch, or of its plan."""
    if command.demands.budget_dollars is not None:
        return command.demands.budget_dollars
    return known.budget_dollars if known is not None else plan.budget_dollars


def session_items(plan: Plan) -> int:
    """How many items a pod has in hand."""
    fastest = max((pod.offer.megapixel_steps_per_second for pod in plan.pods), default=1.0)
    seconds = plan.work / max(1, plan.items) / fastest
    return int(min(MOST_ITEMS, max(FEWEST_ITEMS, SESSION_SECONDS / max(seconds, 1e-3))))


def _offers(command: RunCommand) -> list[Offer]:
    """What can be rented: of the file; else what the provider has at this moment, or at least is known to have."""
    asks = command.offers_file is None and command.provider == runpod_pods.NAME
    try:
        return choose_offers(command.offers_file, command.provider, ask=asks)
    except (ProviderUnavailable, ProviderRefused) as error:
        if not asks:
            raise
        write_error(f"{error.code}: {error}; the plan takes the prices that were published.")
        return choose_offers(None, command.provider)


def _planned(command: RunCommand, manifest: Manifest, offers: Sequence[Offer]) -> Plan:
    if command.plan_file is not None:
        return _read_plan(command.plan_file, manifest)
    if command.provider == SERVERLESS:
        return serverless_plan(manifest, offers, command.at_once, command.demands.budget_dollars)
    workload = workload_of(manifest.identifier, manifest.signatures())
    return make_plan(workload, manifest.assets, offers, command.demands, learned=read_learned(learned_file()))


def _read_plan(file: Path, manifest: Manifest) -> Plan:
    try:
        if file.stat().st_size > MOST_PLAN_BYTES:
            raise ConfigurationError([f"{file} is too large for a plan."])
        plan = Plan.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigurationError([f"The plan {file} cannot be read ({error.strerror})."]) from error
    except ValidationError as error:
        raise ConfigurationError([f"{file} is no plan; `comfypod batch plan --output` writes one."]) from error
    if plan.batch != manifest.identifier:
        raise ConfigurationError([f"{file} is the plan of other items ({plan.batch}, not {manifest.identifier})."])
    return plan


def _fill(store: BatchStore, batch: Batch, manifest: Manifest) -> None:
    if batch.started_at is not None:
        return
    with Console(stderr=True).status("Writing the items down …") as status:
        store.fill(
            batch.number,
            manifest.items(),
            lambda rows: status.update(f"Writing the items down: {rows:,} of {manifest.count:,} rows"),
        )


def _carry_out(command: RunCommand, store: BatchStore, batch: Batch, results: Results) -> None:
    settings = Settings.from_environment(os.environ)
    with ExitStack() as stack:
        logs.configure(settings)
        if sys.stderr.isatty():
            stack.enter_context(watching(store, batch.number, _log_file(batch)))
        if command.provider == SERVERLESS:
            from comfypod.cli.batch.serverless import run_serverless  # noqa: PLC0415 (only this provider needs it)

            run_serverless(store, batch, results, command.endpoint, command.at_once)
            return
        provider = open_provider(command.provider, store.offers(batch.number))
        stack.callback(provider.close)
        server = ServerOptions(command.server.host, command.server.port, command.server.public_url, results.folder)
        is_local = command.provider == local.NAME
        options = CoordinatorOptions(
            server=server,
            pods=pod_options(command.provider, command.image),
            tick_seconds=1.0 if is_local else 2.0,
            listing_seconds=1.0 if is_local else 5.0,
            patience=Patience(hello=LAUNCH_SECONDS) if command.provider == skypilot.NAME else Patience(),
        )

        async def run() -> None:
            stop, end_now = _signals()
            async with coordinating(store, batch, options, provider) as keeper:
                await keeper.run(stop, end_now)

        asyncio.run(run())


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first and by the second signal to end."""
    stop, end_now = asyncio.Event(), asyncio.Event()

    def told() -> None:
        if stop.is_set():
            end_now.set()
        else:
            stop.set()
            logs.event("batch_stopping", WARNING, remedy="pods finish what they are at; once more ends them at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told)
    return stop, end_now


def _log_file(batch: Batch) -> Path:
    return Path(".comfypod") / f"batch-{batch.identifier}.log"


def _ended(store: BatchStore, batch: Batch, results: Results) -> int:
    """Say how it ended, and remember how fast what was."""
    now, account = store.of(batch.number), store.account(batch.number)
    counts = account.items
    try:
        if account.speeds and now.state in {"over", "cancelled"} and batch.state != "over":
            learn(learned_file(), account)
    except ComfyPodError as error:
        write_error(f"{error.code}: {error}")
    left = counts["waiting"] + counts["leased"]
    write_line(
        f"Batch {now.identifier}: {counts['succeeded']:,} of {account.plan.items:,} items made, "
        f"{counts['failed']:,} failed, {left:,} left; results in {results.shown}."
    )
    if now.state == "over":
        return ExitCode.JOB_FAILED if counts["failed"] else ExitCode.SUCCESS
    if now.state == "cancelled":
        return ExitCode.JOB_CANCELLED
    if now.state == "paused":
        write_error(f"Paused: {now.note}. Run the same command again to go on, with a larger --budget.")
        return ExitCode.FAILURE
    write_error("Stopped; run the same command again to go on.")
    return ExitCode.INTERRUPTED
