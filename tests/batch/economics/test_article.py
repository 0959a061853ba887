"""The published article's table, to the last digit that was worked out by hand, with every contradiction flagged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfypod.batch.economics.claims import check_study
from comfypod.batch.economics.comparison import compare
from comfypod.batch.economics.findings import Finding
from comfypod.batch.economics.study import parse_study

_STUDY = parse_study((Path(__file__).parents[3] / "docs/examples/article.toml").read_text())
_FINDINGS = check_study(_STUDY)
_COMPARISONS = {comparison.name: comparison for comparison in compare(_STUDY)}


def _finding(beginning: str) -> Finding:
    return next(finding for finding in _FINDINGS if finding.says.startswith(beginning))


@pytest.mark.parametrize(
    ("claim", "verdict", "figures"),
    [
        ("A40: $0.000515 an item", "contradicted", ["$0.000525", "2 % less"]),
        ("3 x A4000: $0.000483-0.000515", "contradicted", ["$0.000344-0.000402", "28-40 % more", "$0.372-0.435/h"]),
        ("3 x A4000: $0.310/h", "contradicted", ["$0.0119 of disk", "$0.396/h", "a price of $0.0914"]),
        ("3 x A4000: bids of up to $0.17", "contradicted", ["$0.123-0.146/h", "15-35 % more", "change to A40"]),
        ("Up to 75 % more", "depends", ["50-75 % more", "Only at the upper end"]),
        (
            "Nearly the same",
            "depends",
            [
                "2-16 % less at the price of its machines",
                "23-34 % less by the hour as stated",
                "0-6 % less by the items as stated",
                "15-35 % more at the ceiling",
            ],
        ),
        ("Two pods", "contradicted", ["8.5 (14 GB, 8 min)", "4.2 (14 GB, 4 min)", "15.9 (14 GB, 15 min)"]),
        (
            "One checkpoint a pod",
            "contradicted",
            ["$0.00096/h", "0.8 %", "$0.016", "17 hours", "16.9 (7 GB, 8 min)", "59 (2 GB, 8 min)", "4.9 (24 GB"],
        ),
        ("Short runs", "contradicted", ["14 min of set-up (0.5 h", "31 min of set-up (1 h", "7.3 min", "1.5 min"]),
        ("80 GB", "contradicted", ["+2.1 %", "+0.24 %"]),
        ("The volume keeps", "depends", ["$0.0236/h", "$0.0146", "0.62 h"]),
        ("It guarantees", "contradicted", ["outage of 110 s"]),
    ],
)
def test_every_claim_is_checked_to_the_last_digit(claim: str, verdict: str, figures: list[str]) -> None:
    finding = _finding(claim)

    assert finding.verdict == verdict
    for figure in figures:
        assert re.search(rf"(?<![\d.]){re.escape(figure)}", finding.sentence), finding.sentence


def test_no_claim_is_left_out() -> None:
    assert len(_FINDINGS) == 4 + len(_STUDY.claims)


def test_a_million_images_cost_what_was_worked_out() -> None:
    pods, serverless = _COMPARISONS["3 x A4000"], _COMPARISONS["serverless A4000"]
    assert pods.dollars is not None
    assert pods.hours is not None
    assert serverless.dollars is not None

    assert [round(dollars) for dollars in pods.dollars] == [440, 513]
    assert [round(3 * hours / 24) for hours in pods.hours] == [139, 162]
    assert [round(dollars, -1) for dollars in serverless.dollars] == [1920, 2240]
    assert round(1 + serverless.relative, 1) == 4.4


def test_the_indifference_prices_are_those_of_the_ladder() -> None:
    prices = _COMPARISONS["3 x A4000"].indifference_price
    assert prices is not None
    assert [round(price, 3) for price in prices] == [0.123, 0.146]
    assert _COMPARISONS["3 x A4000"].next_best == "A40"
