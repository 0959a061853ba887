"""Up to which price a machine is the better one; figures computed by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfypod.batch.documents import GIGABYTE, Offer
from comfypod.batch.economics.bidding import (
    Rental,
    bearable_interruptions_per_hour,
    bid_ceiling,
    indifference_price,
    rental_of,
    worth_waiting_seconds,
)

_DISK = 87 * 0.10 / 730
_A40 = Rental(dollars_per_hour=0.27, work_per_hour=514)

_positive = st.floats(min_value=0.001, max_value=1000)
_rentals = st.builds(
    Rental,
    dollars_per_hour=_positive,
    work_per_hour=_positive,
    disk_dollars_per_hour=st.floats(min_value=0, max_value=1),
    setup_hours=st.floats(min_value=0, max_value=2),
    interruptions_per_hour=st.floats(min_value=0, max_value=10),
)


def _offer(gpu: str, dollars: float, speed: float, **more: float) -> Offer:
    return Offer(
        provider="somewhere",
        gpu=gpu,
        price_class="interruptible" if "interruptions_per_hour" in more else "on_demand",
        dollars_per_hour=dollars,
        memory_bytes=16 * GIGABYTE,
        megapixel_steps_per_second=speed,
        download_bytes_per_second=10**8,
        **more,
    )


@pytest.mark.parametrize(("items_per_hour", "price"), [(257, 0.123), (300, 0.146)])
def test_the_slower_machine_is_the_better_one_up_to_its_indifference_price(items_per_hour: int, price: float) -> None:
    a4000 = Rental(dollars_per_hour=0.12, work_per_hour=items_per_hour, disk_dollars_per_hour=_DISK)

    assert round(indifference_price(a4000, _A40), 3) == price


@given(rental=_rentals, next_best=_rentals, work=_positive | st.just(math.inf))
def test_at_the_indifference_price_both_cost_the_same(rental: Rental, next_best: Rental, work: float) -> None:
    price = indifference_price(rental, next_best, work)

    asked = next_best.dollars_per_work(work)
    at_price = (price + rental.disk_dollars_per_hour) * rental.dollars_per_work(work) / rental.all_dollars_per_hour
    if price > 0:
        assert at_price == pytest.approx(asked)
    else:
        assert at_price >= asked * (1 - 1e-9)


def test_work_costs_its_hours_those_of_set_up_and_those_that_interruptions_cost() -> None:
    rental = Rental(
        dollars_per_hour=1.0,
        work_per_hour=100,
        disk_dollars_per_hour=0.5,
        setup_hours=0.25,
        interruptions_per_hour=0.4,
    )

    assert rental.hours(200) == pytest.approx(0.25 + 2 * 1.1)
    assert rental.dollars_per_work(200) == pytest.approx(1.5 * 2.45 / 200)
    assert rental.dollars_per_work() == pytest.approx(1.5 * 1.1 / 100)


def test_half_the_price_bears_six_interruptions_an_hour_of_ten_minutes_each() -> None:
    half = Rental(dollars_per_hour=0.5, work_per_hour=100, setup_hours=1 / 6)
    full = Rental(dollars_per_hour=1.0, work_per_hour=100, setup_hours=1 / 6)

    assert bearable_interruptions_per_hour(half, full) == pytest.approx(6)
    assert bearable_interruptions_per_hour(full, half) == 0
    assert bearable_interruptions_per_hour(Rental(dollars_per_hour=0.5, work_per_hour=100), full) == math.inf


def test_the_old_host_is_waited_for_until_that_cost_what_moving_costs() -> None:
    seconds = worth_waiting_seconds(
        moving_seconds=86 * 8 / 1.576, dollars_per_hour=0.12, waiting_dollars_per_hour=86 * 0.20 / 730
    )

    assert round(seconds / 3600, 2) == 0.62
    assert worth_waiting_seconds(moving_seconds=1, dollars_per_hour=1, waiting_dollars_per_hour=0) == math.inf


def test_a_bid_ends_where_the_cheapest_other_offer_begins() -> None:
    spot = _offer("A4000", 0.10, 1.0, setup_seconds=120.0, load_seconds=0.0, interruptions_per_hour=0.5)
    fast = _offer("4090", 0.60, 3.0, setup_seconds=120.0)
    slow = _offer("A4500", 0.30, 1.0, setup_seconds=120.0)

    # 0.60 at three times the speed is 0.20 an hour, less what an interruption every two hours costs: (120 + 60) s each.
    ceiling = bid_ceiling(spot, [spot, fast, slow], first_bytes=6 * 10**9)

    assert ceiling == pytest.approx(0.20 / (1 + 0.5 * 0.05))
    assert bid_ceiling(spot, [spot]) is None


def test_an_offers_disk_is_paid_by_the_gigabyte() -> None:
    rental = rental_of(_offer("A4000", 0.12, 0.5), disk_bytes=87 * GIGABYTE, first_bytes=10**10)

    assert rental.disk_dollars_per_hour == pytest.approx(_DISK)
    assert rental.work_per_hour == 1800
    assert rental.setup_hours == pytest.approx((120 + 100 + 8) / 3600)


def test_what_cannot_pay_is_not_bid_for() -> None:
    crawling = Rental(dollars_per_hour=0.01, work_per_hour=1, disk_dollars_per_hour=0.1)

    assert indifference_price(crawling, _A40) == 0.0
