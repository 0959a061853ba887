"""``comfypod batch plan``: what a batch would take, shown before anything is rented."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.batch.documents import Offer, Plan
from comfypod.batch.planning import Demands, read_learned, workload_of
from comfypod.batch.planning.what_if import Alternative, Asked, Question
from comfypod.cli.batch.manifest_choice import ManifestChoice
from comfypod.cli.batch.offer_choice import choose_offers
from comfypod.cli.batch.places import learned_file
from comfypod.cli.batch.plan_view import show_alternatives, show_plan
from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.printing import write_error
from comfypod.cli.reports import print_json
from comfypod.errors import PlanImpossible, SavingFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCommand:
    """What ``comfypod batch plan`` is told: see its ``--help``."""

    choice: ManifestChoice
    offers_file: Path | None
    provider: str | None
    ask_provider: bool
    demands: Demands
    question: Question | None
    output: Path | None
    as_json: bool


def plan_batch(command: PlanCommand) -> int:
    """Print the plan, or why there is none. Returns the exit code.

    Raises:
        InvalidManifest, InvalidJobInput, ConfigurationError, ProviderUnavailable, ProviderRefused: see `main`.
        SavingFailed: ``output`` cannot be written.
    """
    offers = choose_offers(command.offers_file, command.provider, ask=command.ask_provider)
    manifest = command.choice.read()
    learned = read_learned(learned_file())
    workload = workload_of(manifest.identifier, manifest.signatures())
    asked = Asked(workload, manifest.assets, offers, command.demands, learned)
    if command.question is not None:
        return _answer(asked.what_if(command.question), command.question, as_json=command.as_json)
    try:
        plan = asked.plan()
    except PlanImpossible as error:
        return _refused(error, as_json=command.as_json)
    if command.output is not None:
        _save(plan, command.output)
    if command.as_json:
        print_json(plan.model_dump(mode="json"))
    else:
        show_plan(plan)
        _say_guesses(plan, [offer for offer in offers if learned.knows(offer.gpu)])
    return ExitCode.SUCCESS


def _refused(error: PlanImpossible, *, as_json: bool) -> int:
    if as_json:
        print_json({"error": {"code": error.code, "message": str(error), "reasons": list(error.reasons)}})
    else:
        for reason in error.reasons:
            write_error(f"{error.code}: {reason}")
    return ExitCode.USAGE


def _answer(alternatives: Sequence[Alternative], question: Question, *, as_json: bool) -> int:
    if as_json:
        print_json({question: [_document(alternative) for alternative in alternatives]})
    else:
        show_alternatives(question, alternatives)
    return ExitCode.SUCCESS


def _document(alternative: Alternative) -> dict[str, Any]:
    plan = alternative.plan
    if plan is None:
        return {"condition": alternative.condition, "reason": alternative.reason}
    return {
        "condition": alternative.condition,
        "pods": len(plan.pods),
        "gpus": sorted({pod.offer.gpu for pod in plan.pods}),
        "dollars": plan.dollars,
        "bound_dollars": plan.bound_dollars,
        "seconds": plan.seconds,
    }


def _save(plan: Plan, path: Path) -> None:
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_text(json.dumps(plan.model_dump(mode="json"), indent=1), "utf-8")
        beside.replace(path)
    except OSError as error:
        raise SavingFailed(str(path), error.strerror or str(error), "the plan is not saved") from error


def _say_guesses(plan: Plan, learned: Sequence[Offer]) -> None:
    """Which speeds no batch has measured yet."""
    known = {offer.gpu for offer in learned}
    guessed = sorted({pod.offer.gpu for pod in plan.pods} - known)
    if guessed:
        write_error(f"The speed of {', '.join(guessed)} is the offer's own; the first batch on it will measure it.")
