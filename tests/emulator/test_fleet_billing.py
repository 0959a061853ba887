"""What workers cost, as tables of moments."""

from __future__ import annotations

import pytest

from comfypod.emulator.fleet.billing import Ledger, WorkerBill


def bill(*, bill_initializing: bool = True, ready: float | None = 12.0, stop: float | None = None) -> WorkerBill:
    """A worker that was started at 10 s."""
    bill = WorkerBill(bill_initializing)
    bill.start(10.0)
    if ready is not None:
        bill.ready(ready)
    if stop is not None:
        bill.stop(stop)
    return bill


@pytest.mark.fact("C6-billed-from-start-to-stop")
@pytest.mark.parametrize(
    ("now", "seconds"), [(10.0, 0), (10.001, 1), (11.0, 1), (11.5, 2), (15.0, 5), (17.3, 8), (18.0, 8), (99.0, 8)]
)
def test_a_worker_is_billed_from_its_start_to_its_full_stop_rounded_up(now: float, seconds: int) -> None:
    assert bill(stop=17.2 if now > 17.2 else None).seconds(now) == seconds


def test_a_second_that_only_the_clocks_fraction_completes_is_not_billed() -> None:
    assert bill(stop=10.0 + 0.1 + 0.2 + 2.7).seconds(99.0) == 3


@pytest.mark.fact("C6-initializing-billed-or-not")
@pytest.mark.parametrize(
    ("bill_initializing", "ready", "stop", "seconds"),
    [(True, 12.0, 15.0, 5), (False, 12.0, 15.0, 3), (True, None, 15.0, 5), (False, None, 15.0, 0)],
)
def test_whether_initialising_is_billed_is_a_choice(
    bill_initializing: bool, ready: float | None, stop: float, seconds: int
) -> None:
    assert bill(bill_initializing=bill_initializing, ready=ready, stop=stop).seconds(99.0) == seconds


@pytest.mark.fact("C6-frozen-not-billed")
def test_a_frozen_worker_is_not_billed_and_every_revival_is_rounded_up_by_itself() -> None:
    frozen = bill(stop=12.5)
    assert frozen.seconds(99.0) == 3
    frozen.start(100.0)
    frozen.ready(100.1)
    assert frozen.seconds(101.5) == 3 + 2
    frozen.stop(101.5)
    frozen.start(200.0)
    frozen.stop(200.2)
    assert frozen.seconds(999.0) == 3 + 2 + 1


def test_only_the_first_word_of_readiness_and_of_the_end_counts() -> None:
    worker = bill(bill_initializing=False, ready=12.0, stop=15.0)
    worker.ready(14.0)
    worker.stop(20.0)
    assert worker.seconds(99.0) == 3


@pytest.mark.fact("C5-price-per-second")
def test_the_endpoint_pays_for_all_its_workers_those_that_are_gone_included() -> None:
    ledger = Ledger(0.00031)
    ledger.open("a", 0.0)
    ledger.open("b", 5.0)
    ledger.close("a", 7.5)  # 8 s
    spend = ledger.spend(9.2)  # and 5 s of b
    assert (spend.billed_seconds, spend.dollars, spend.price_per_second) == (13, 0.00403, 0.00031)
    ledger.close("b", 9.2)
    assert ledger.spend(1000.0) == spend
