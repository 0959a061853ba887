"""``comfypod batch economics``: a table of alternatives, and what was found of the claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from comfypod.batch.economics.claims import check_study
from comfypod.batch.economics.comparison import Comparison, compare
from comfypod.batch.economics.findings import Finding, each, span
from comfypod.batch.economics.study import Study, parse_study
from comfypod.batch.wording import in_dollars, in_time
from comfypod.cli.batch.small_files import read_small_file
from comfypod.cli.reports import print_json, print_line, print_table, print_text

_STYLES = {"holds": "green", "depends": "yellow", "contradicted": "red"}


def economics_command(file: Path, *, as_json: bool) -> None:
    """Print what a study comes to.

    Raises:
        ConfigurationError: the file cannot be read, or is no study.
    """
    study = parse_study(read_small_file(file))
    comparisons, findings = compare(study), check_study(study)
    if as_json:
        print_json(
            {
                "title": study.title,
                "alternatives": [asdict(comparison) for comparison in comparisons],
                "findings": [asdict(finding) for finding in findings],
            }
        )
        return
    print_text(study.title)
    _print_alternatives(study, comparisons)
    _print_findings(findings)


def _print_alternatives(study: Study, comparisons: Sequence[Comparison]) -> None:
    columns = [
        "alternative",
        "$/h with disks",
        "items/h",
        "$/item",
        "at the ceiling",
        "dearer",
        "next best",
        "up to $/h",
    ]
    if study.items is not None:
        columns += [f"{study.items:,.0f} take", "and cost"]
    print_table(columns, [_row(comparison) for comparison in comparisons])
    print_text(
        '"dearer": its dearest item against that of the cheapest. "up to $/h": the price of one machine, without its '
        "disk, above which the next best is cheaper."
    )


def _row(comparison: Comparison) -> list[str]:
    start, ceiling = comparison.dollars_per_hour
    has_ladder = ceiling > start
    row = [
        comparison.name,
        span(f"{start:.3f}", f"{ceiling:.3f}"),
        _pair(comparison.items_per_hour, "{:g}"),
        each(*comparison.dollars_per_item),
        each(*comparison.dollars_per_item_at_ceiling) if has_ladder else "",
        f"{100 * comparison.relative:+.0f} %" if comparison.relative else "cheapest",
        comparison.next_best or "",
        "" if comparison.indifference_price is None else _pair(comparison.indifference_price, "{:.3f}"),
    ]
    if comparison.hours is not None and comparison.dollars is not None:
        row += [
            span(*(in_time(3600 * hours) for hours in comparison.hours)),
            span(*(in_dollars(dollars) for dollars in comparison.dollars)),
        ]
    return row


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print_line(f"{finding.verdict:<12}", f"{finding.says}. {finding.sentence}", _STYLES[finding.verdict])


def _pair(values: tuple[float, float], form: str) -> str:
    return span(*(form.format(value) for value in values))
