"""Whether what a study's author claims follows from the study's own figures. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from comfypod.batch.economics.bidding import worth_waiting_seconds
from comfypod.batch.economics.comparison import dollars_per_item
from comfypod.batch.economics.findings import Finding, Verdict, compared, percent
from comfypod.batch.economics.formulas import Run, Tariff, hours_worth_splitting, setup_hours_behind
from comfypod.batch.economics.stated import check_alternative, dollars_per_item_as_stated
from comfypod.batch.economics.study import (
    Alternative,
    BiggerDisk,
    Cheaper,
    Claim,
    KeptVolume,
    MoreItems,
    Retries,
    ShortRuns,
    Splitting,
    Study,
    download_minutes,
)

_TOLERANCE = 0.01
_ENDS = ("lowest", "highest")


def check_study(study: Study) -> tuple[Finding, ...]:
    """What is stated of each alternative, its ladder, and then the claims in their order."""
    of_alternatives = [finding for each in study.alternatives for finding in check_alternative(study, each)]
    return (*of_alternatives, *(check_claim(study, claim) for claim in study.claims))


def check_claim(study: Study, claim: Claim) -> Finding:
    """One claim."""
    match claim:
        case MoreItems():
            finding = _more_items(study, claim)
        case Cheaper():
            finding = _cheaper(study, claim)
        case Splitting():
            finding = _splitting(study, claim)
        case ShortRuns():
            finding = _short_runs(claim)
        case BiggerDisk():
            finding = _bigger_disk(study, claim)
        case KeptVolume():
            finding = _kept_volume(study, claim)
        case Retries():
            finding = _retries(claim)
    return finding


def _more_items(study: Study, claim: MoreItems) -> Finding:
    one, other = study.alternative(claim.alternative), study.alternative(claim.than)
    slow, fast = (one.machines * speed for speed in one.items_per_hour)
    slowest, fastest = (other.machines * speed for speed in other.items_per_hour)
    low, high = slow / fastest - 1.0, fast / slowest - 1.0
    verdict: Verdict = "contradicted"
    if low >= claim.more - _TOLERANCE:
        verdict = "holds"
    elif high >= claim.more - _TOLERANCE:
        verdict = "depends"
    only_upper = " Only at the upper end." if verdict == "depends" else ""
    return Finding(
        claim.says, verdict, f"It makes {compared(low, high)} items.{only_upper}", {"lowest": low, "highest": high}
    )


def _cheaper(study: Study, claim: Cheaper) -> Finding:
    one, other = study.alternative(claim.alternative), study.alternative(claim.than)
    theirs = dollars_per_item(study, other)[1]
    answers = {"at the price of its machines and disks": _changes(dollars_per_item(study, one), theirs)}
    if one.stated.dollars_per_hour is not None:
        answers["by the hour as stated"] = _changes(dollars_per_item_as_stated(study, one), theirs)
    if one.stated.dollars_per_item is not None and other.stated.dollars_per_item is not None:
        answers["by the items as stated"] = _changes(one.stated.dollars_per_item, other.stated.dollars_per_item[1])
    if one.bid is not None:
        at_ceiling = dollars_per_item(study, one, one.bid.ceiling)
        answers["at the ceiling of its ladder"] = _changes(at_ceiling, theirs)
    lows, highs = zip(*answers.values(), strict=True)
    figures = {
        f"{name}, {end}": value for name, pair in answers.items() for end, value in zip(_ENDS, pair, strict=True)
    }
    return Finding(
        claim.says,
        _verdict_of_changes(min(lows), max(highs)),
        "An item costs " + ", ".join(f"{compared(*pair)} {name}" for name, pair in answers.items()) + ".",
        figures,
    )


def _changes(prices: Sequence[float], theirs: float) -> tuple[float, float]:
    return min(prices) / theirs - 1.0, max(prices) / theirs - 1.0


def _verdict_of_changes(low: float, high: float) -> Verdict:
    if high <= _TOLERANCE:
        return "holds"
    return "depends" if low <= 0 else "contradicted"


def _splitting(study: Study, claim: Splitting) -> Finding:
    tariff = _tariff(study, study.alternative(claim.alternative), claim.tool_chain_gigabytes)
    hours = {
        f"{gigabytes:g} GB, {minutes:g} min": hours_worth_splitting(gigabytes, minutes / 60.0, tariff)
        for minutes in claim.setup_minutes
        for gigabytes in claim.gigabytes
    }
    gigabytes, minutes = claim.gigabytes[0], claim.setup_minutes[0]
    idle = gigabytes * study.disk_dollars_per_gigabyte_hour
    start, share = minutes / 60.0 * tariff.dollars_per_hour, idle / tariff.dollars_per_hour
    shown = ", ".join(f"{value:.{1 if value < 20 else 0}f} ({name})" for name, value in hours.items())
    return Finding(
        claim.says,
        "holds" if max(hours.values()) <= claim.above_hours + _TOLERANCE else "contradicted",
        f"{gigabytes:g} GB that lie idle cost ${idle:.5f}/h, {100 * share:.1f} % of the price; "
        f"a start of {minutes:g} min costs ${start:.3f}, {start / idle:.0f} hours of them. "
        f"A machine for each pays from so many hours of work in all: {shown}.",
        {"idle_dollars_per_hour": idle, "start_dollars": start, "hours_of_a_start": start / idle, **hours},
    )


def _short_runs(claim: ShortRuns) -> Finding:
    needed = {
        run: 60.0 * setup_hours_behind(claim.dearer, run_hours=run, than_hours=claim.than_hours)
        for run in claim.run_hours
    }
    whole = download_minutes(claim.gigabytes, claim.megabits_per_second)
    first = download_minutes(claim.first_gigabytes, claim.megabits_per_second)
    reached = [minutes <= first for minutes in needed.values()]
    verdict: Verdict = "holds" if all(reached) else ("depends" if any(reached) else "contradicted")
    needs = " or ".join(f"{minutes:.0f} min of set-up ({run:g} h run)" for run, minutes in needed.items())
    return Finding(
        claim.says,
        verdict,
        f"{percent(claim.dearer)} more needs {needs}. On the link as stated all {claim.gigabytes:g} GB take "
        f"{whole:.1f} min, what the first item needs {first:.1f} min.",
        {"download_minutes": whole, "first_minutes": first}
        | {f"setup_minutes of {run:g} h": minutes for run, minutes in needed.items()},
    )


def _bigger_disk(study: Study, claim: BiggerDisk) -> Finding:
    tariff = _tariff(study, study.alternative(claim.alternative), claim.tool_chain_gigabytes)
    setup = claim.setup_minutes / 60.0
    bigger = Run(claim.gigabytes, claim.hours).cost_of_working_hour(tariff, setup)
    other = Run(claim.than_gigabytes, claim.than_hours).cost_of_working_hour(tariff, setup)
    hourly = tariff.hour(claim.gigabytes) / tariff.hour(claim.than_gigabytes) - 1.0
    change = bigger / other - 1.0
    return Finding(
        claim.says,
        "holds" if change < 0 else "contradicted",
        f"An hour costs {100 * hourly:+.1f} %, and an item {100 * change:+.2f} % after stretching the run from "
        f"{claim.than_hours:g} h to {claim.hours:g} h.",
        {"dearer_hour": hourly, "dearer_item": change},
    )


def _kept_volume(study: Study, claim: KeptVolume) -> Finding:
    price = study.alternative(claim.alternative).start_price
    moving = 60.0 * download_minutes(claim.gigabytes, claim.megabits_per_second)
    kept = claim.gigabytes * study.stopped_disk_dollars_per_gigabyte_hour
    hours = worth_waiting_seconds(moving_seconds=moving, dollars_per_hour=price, waiting_dollars_per_hour=kept) / 3600.0
    again = moving / 3600.0 * price
    return Finding(
        claim.says,
        "depends",
        f"Kept, {claim.gigabytes:g} GB cost ${kept:.4f}/h; downloaded again, ${again:.4f}. "
        f"Wait for the old machine for {hours:.2f} h at most, then move.",
        {"kept_dollars_per_hour": kept, "download_dollars": again, "hours": hours},
    )


def _retries(claim: Retries) -> Finding:
    seconds = (claim.tries - 1) * claim.seconds_between
    survives = seconds >= claim.outage_seconds
    short = "" if survives else f", not of {claim.outage_seconds:g} s"
    return Finding(
        claim.says,
        "holds" if survives else "contradicted",
        f"{claim.tries} tries {claim.seconds_between:g} s apart bear an outage of {seconds:g} s{short}.",
        {"seconds": seconds},
    )


def _tariff(study: Study, alternative: Alternative, tool_chain_gigabytes: float) -> Tariff:
    return Tariff(alternative.start_price, study.disk_dollars_per_gigabyte_hour, tool_chain_gigabytes)
