"""Who gets a GPU, and who loses it."""

from __future__ import annotations

import pytest

from comfypod.emulator.pods.market import Full, Stock


def stock(capacity: int = 2) -> Stock:
    return Stock("gpu", 16, capacity, 0.3, 0.1)


def test_what_is_free_goes_to_whoever_asks() -> None:
    market = stock()
    assert market.take("a", None) is None
    assert market.take("b", 0.1) is None
    assert market.free == 0


def test_a_bid_below_the_minimum_gets_nothing_though_all_is_free() -> None:
    with pytest.raises(Full):
        stock().take("a", 0.09)


def test_the_full_price_takes_from_the_lowest_bid() -> None:
    market = stock()
    market.take("low", 0.1)
    market.take("high", 0.2)
    assert market.take("full", None) == "low"
    assert market.held == {"high": 0.2, "full": None}


def test_a_higher_bid_takes_from_a_lower_one_and_an_equal_one_does_not() -> None:
    market = stock(1)
    market.take("a", 0.15)
    assert market.least_bid == pytest.approx(0.151)
    for bid in (0.12, 0.15):
        with pytest.raises(Full):
            market.take("b", bid)
    assert market.take("b", 0.16) == "a"


def test_nobody_takes_from_the_full_price() -> None:
    market = stock(1)
    market.take("a", None)
    for bid in (None, 9.0):
        with pytest.raises(Full):
            market.take("b", bid)
    with pytest.raises(Full):
        market.rival(9.0)


def test_other_users_take_and_lose_as_we_do() -> None:
    market = stock(1)
    market.take("a", 0.12)
    assert market.rival(0.13) == "a"
    assert (market.free, market.rivals) == (0, [0.13])
    assert market.take("b", 0.14) is None  # nobody of ours loses
    assert market.rivals == []
    market.leave("b")
    assert market.free == 1
