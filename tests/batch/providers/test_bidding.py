"""What is asked for, in which order, when there is no capacity."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from comfypod.batch.economics.bidding import bid_ceiling
from comfypod.batch.providers.bidding import MOST_STEPS, Rung, bids, rungs
from tests.batch.providers.pods_site import A40, offer

SPOT = offer(price_class="interruptible", dollars=0.09, setup_seconds=0.0, load_seconds=0.0)
FULL = offer(dollars=0.17, setup_seconds=0.0, load_seconds=0.0)
FASTER = offer(A40, dollars=0.30, megapixel_steps_per_second=8.0, setup_seconds=0.0, load_seconds=0.0)
"""0.15 dollars for what the others do in an hour."""


def asked(found: tuple[Rung, ...]) -> list[tuple[str, str, float | None]]:
    return [(rung.offer.gpu, rung.offer.price_class, rung.bid_dollars_per_hour) for rung in found]


def test_bids_climb_to_what_the_next_best_is_worth_and_then_that_is_taken() -> None:
    found = rungs(SPOT, [FULL, FASTER], step=0.02)
    assert [rung.bid_dollars_per_hour for rung in found] == [0.09, 0.11, 0.13, 0.15, None, None]
    assert [rung.offer for rung in found[-2:]] == [FASTER, FULL]


def test_a_plan_s_own_start_and_ceiling_count() -> None:
    found = rungs(SPOT, [FULL], start=0.10, ceiling=0.12, step=0.01)
    assert [rung.bid_dollars_per_hour for rung in found] == [0.10, 0.11, 0.12, None]


def test_a_bid_that_is_dearer_than_the_next_best_is_never_made() -> None:
    dear = SPOT.model_copy(update={"dollars_per_hour": 0.16})
    assert asked(rungs(dear, [FASTER])) == [(A40, "on_demand", None)]


def test_with_nothing_to_compare_the_least_bid_is_made() -> None:
    assert [rung.bid_dollars_per_hour for rung in rungs(SPOT)] == [0.09]


def test_other_interruptible_offers_have_ladders_of_their_own() -> None:
    other = SPOT.model_copy(update={"gpu": "other", "dollars_per_hour": 0.14})
    found = asked(rungs(FULL, [other, FASTER], step=0.005))
    assert found[0] == (FULL.gpu, "on_demand", None)
    assert found[1:] == [
        ("other", "interruptible", 0.14),
        ("other", "interruptible", 0.145),
        ("other", "interruptible", 0.15),
        (A40, "on_demand", None),
    ]


@pytest.mark.parametrize(
    ("start", "ceiling", "expected"),
    [(0.2, 0.1, ()), (0.1, 0.1, (0.1,)), (0.09, 0.10004, (0.09, 0.095, 0.1)), (0.10004, 0.10006, ())],
)
def test_bids_are_whole_hundredths_of_a_cent(start: float, ceiling: float, expected: tuple[float, ...]) -> None:
    assert bids(start, ceiling) == expected


@settings(max_examples=50)
@given(start=some.floats(0.001, 5), ceiling=some.floats(0.001, 5), step=some.floats(0.0001, 1))
def test_ladders_are_short_and_between_start_and_ceiling(start: float, ceiling: float, step: float) -> None:
    found = bids(start, ceiling, step)
    assert list(found) == sorted(set(found))
    assert len(found) <= MOST_STEPS + 1
    assert all(start - 1e-6 <= bid <= ceiling + 1e-6 for bid in found)


@given(
    prices=some.lists(some.tuples(some.floats(0.05, 2), some.floats(0.5, 20), some.booleans()), min_size=1, max_size=5)
)
def test_no_bid_is_above_the_indifference_price(prices: list[tuple[float, float, bool]]) -> None:
    offers = [
        offer(f"gpu {number}", "interruptible" if is_spot else "on_demand", dollars, megapixel_steps_per_second=speed)
        for number, (dollars, speed, is_spot) in enumerate(prices)
    ]
    for rung in rungs(SPOT, offers):
        left = [other for other in offers if other != rung.offer]
        ceiling = bid_ceiling(rung.offer, left)
        if rung.bid_dollars_per_hour is not None and rung.offer == SPOT and ceiling is not None:
            assert rung.bid_dollars_per_hour <= ceiling + 1e-9


def test_what_could_not_be_had_is_no_measure_any_more() -> None:
    first = SPOT.model_copy(update={"gpu": "first", "dollars_per_hour": 0.10})
    second = SPOT.model_copy(update={"gpu": "second", "dollars_per_hour": 0.12})
    found = asked(rungs(FULL, [second, first, FASTER], step=0.03))
    assert found[1:] == [
        ("first", "interruptible", 0.10),
        ("first", "interruptible", 0.12),  # then the second one is as good
        ("second", "interruptible", 0.12),
        ("second", "interruptible", 0.15),
        (A40, "on_demand", None),
    ]
