"""The report's page: complete, by itself, and harmless whatever is in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from comfypod.batch.account import Account
from comfypod.batch.figures import figures
from comfypod.batch.report.charts import planned_progress, pods_chart
from comfypod.batch.report.page import report_page
from comfypod.batch.report.svg import WIDTH, Scale, count_axis, element, nice_step, time_axis
from comfypod.batch.wording import against, in_dollars, in_percent, in_time, on_one_line
from tests.batch.report.accounts import HOSTILE, START, finished_account, pod

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Whether all that is opened is closed, what there is, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + "\n"


def page_of(account: Account) -> str:
    return report_page(account, figures(account))


def test_it_says_what_was_made_and_what_it_cost() -> None:
    page = Reader(page_of(finished_account()))
    assert page.open == []
    for words in ("297 of 300 items made, 3 failed", "$0.535", "+27 % against plan", "outbid", "killed", "4 runs for"):
        assert words in page.words, words
    assert page.tags.count("svg") == 4


def test_it_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    page = page_of(finished_account())
    reader = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(reader.tags)
    assert not re.search(r"https?:|url\(|@import|//", page.replace("<!doctype", ""))
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name in {"src", "href", "style"}]
    assert "default-src 'none'" in page


def test_hostile_names_are_words_everywhere() -> None:
    account = finished_account()
    hostile = pod("comfypod-x-0-1", 0, 500, reason=HOSTILE, gpu=HOSTILE).model_copy(update={"name": HOSTILE})
    offers = tuple(item.model_copy(update={"gpu": HOSTILE, "provider": HOSTILE}) for item in account.offers)
    account = account.model_copy(update={"pods": (hostile,), "offers": offers, "batch": HOSTILE})
    page = page_of(account)
    reader = Reader(page)
    assert reader.open == []
    assert "script" not in reader.tags
    assert "<script>alert(1)</script>" in reader.words
    assert "\x1b" not in page


def test_a_batch_that_has_only_begun_has_a_report() -> None:
    account = finished_account().model_copy(
        update={"ended_at": None, "state": "running", "at": START, "items": {"waiting": 300}}
    )
    account = account.model_copy(update={"progress": (), "pods": (), "failures": (), "speeds": (), "offers": ()})
    page = Reader(page_of(account))
    assert "0 of 300 items made; 300 left, running" in page.words
    assert "No item failed." in page.words


def test_very_many_pods_are_told_and_not_all_drawn() -> None:
    account = finished_account()
    pods = tuple(account.pods[0].model_copy(update={"name": f"comfypod-b-0-{number}"}) for number in range(1500))
    page = Reader(page_of(account.model_copy(update={"pods": pods})))
    assert "1440 more are in the table below." in page.words
    assert "500 more are in the JSON report." in page.words


def test_the_planned_line_ends_with_all_items_when_the_last_pod_ends() -> None:
    account = finished_account()
    points = planned_progress(account.plan)
    assert points[0] == (0, 0)
    assert points[-1] == (account.plan.seconds, account.plan.items)
    assert [count for _, count in points] == sorted(count for _, count in points)


@pytest.mark.parametrize("high", [0, 1, 3, 7, 300, 9_999, 1_000_000])
def test_axes_have_few_round_ticks(high: float) -> None:
    assert 1 <= count_axis(Scale(0, high, 0, 100), 0, 100).count("<text") <= 6
    assert high / nice_step(high) <= 5


@pytest.mark.parametrize("seconds", [0.5, 59, 4000, 86_400, 10_000_000])
def test_time_axes_have_few_ticks(seconds: float) -> None:
    assert 1 <= time_axis(Scale(0, seconds, 0, 100), 0, 100).count("<text") <= 9


def test_values_stay_inside_their_attribute() -> None:
    assert element("rect", class_='"><b>', x=1.26) == '<rect class="&quot;&gt;&lt;b&gt;" x="1.3"></rect>'
    assert Scale(0, 10, 0, 100)(99) == 100
    assert Scale(5, 5, 7, 100)(5) == 7


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (0.000412, "$0.000412"),
        (0.00000972, "$0.0000097"),
        (0.9999, "$1.00"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_dollars(value: float | None, words: str) -> None:
    assert in_dollars(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0 s"), (425, "7 min 05 s"), (12_000, "3 h 20 min"), (360_000, "4 d 04 h"), (-90, "-1 min 30 s"), (None, "-")],
)
def test_durations(value: float | None, words: str) -> None:
    assert in_time(value) == words


def test_shares_and_changes() -> None:
    assert (in_percent(0.5), in_percent(0.0123), in_percent(None)) == ("50 %", "1.2 %", "-")
    assert against(1.12, 1.0) == "+12 % against plan"
    assert against(0.95, 1.0) == "-5.0 % against plan"
    assert (against(1.001, 1.0), against(1, 0), against(None, 1)) == ("as planned", "", "")
    assert on_one_line("a\nb" + "c" * 300, 10) == "a bcccccc…"


def test_a_pod_that_ends_after_the_last_item_is_drawn_to_its_end() -> None:
    account = finished_account()
    late = pod("comfypod-b-0-1", 0, 8000, reason="over")
    drawn = pods_chart(account.model_copy(update={"pods": (late,), "ended_at": START + 4000}))
    rightmost = max(float(x) + float(width) for x, width in re.findall(r'<rect x="([\d.]+)".*?width="([\d.]+)"', drawn))
    setup = re.findall(r'width="([\d.]+)" height="[\d.]+" class="setup"', drawn)
    assert rightmost <= WIDTH
    assert float(setup[0]) == pytest.approx((WIDTH - 184) * 100 / 8000, rel=0.02)
