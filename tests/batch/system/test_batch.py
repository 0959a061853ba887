"""The whole engine, each part a process of its own: every item arrives exactly once, whatever happens on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comfypod.batch.figures import figures
from comfypod.batch.report.page import report_page
from tests.batch.system.trial import SUFFIX, Outcome, Trial, endure
from tests.batch.system.wanted import Wanted


def test_all_items_arrive_once_though_pods_are_killed_and_outbid_and_results_cannot_be_sent(tmp_path: Path) -> None:
    trial = Trial(Wanted(items=40), away_seconds=4.0, seconds=240.0)
    outcome = endure(trial, tmp_path)
    assert outcome.problems() == []
    assert_that_a_loss_and_a_double_would_be_seen(outcome)
    assert [blow.partition(" ")[0] for blow in outcome.blows] == ["lose_machine", "outbid", "results"]
    account, found = outcome.account, figures(outcome.account)
    assert len(account.pods) >= 4  # two that were planned, and two in their places
    assert {pod.end_reason for pod in account.pods} > {"outbid"}
    assert account.wasted_runs <= 4
    assert found.dollars > 0
    assert outcome.fetched_bytes >= sum(trial.wanted.files().values())
    assert "40 of 40 items made" in report_page(account, found)


def assert_that_a_loss_and_a_double_would_be_seen(outcome: Outcome) -> None:
    name = next(name for name in outcome.results if name.endswith(SUFFIX))
    item = name.partition("/")[0]
    without = {key: content for key, content in outcome.results.items() if not key.startswith(f"{item}/")}
    assert replace(outcome, results=without).problems() == [f"{item} is missing"]
    twice = {**outcome.results, f"{item}/again{SUFFIX}": outcome.results[name]}
    assert len(replace(outcome, results=twice).problems()) == 1
    empty = {**outcome.results, name: b""}
    assert replace(outcome, results=empty).problems() == [f"{name} is no picture"]
