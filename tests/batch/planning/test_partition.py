"""How lots are brought together: savings against the exact solver, the exact solver against every partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings

from comfypod.batch.documents import Asset, Offer
from comfypod.batch.planning import Demands, LearnedSpeeds, Workload
from comfypod.batch.planning.bound import lower_bound
from comfypod.batch.planning.drafts import Draft, together
from comfypod.batch.planning.exact import best_partition
from comfypod.batch.planning.lots import Lot, Pile, join, make_lots
from comfypod.batch.planning.market import Market
from comfypod.batch.planning.savings import save
from comfypod.batch.planning.table import make_table
from tests.batch.planning.making import batches, offer_lists

Batch = tuple[Workload, dict[str, Asset]]
_SETTINGS = settings(max_examples=30)


def lots_of(batch: Batch, offers: Sequence[Offer]) -> list[Lot]:
    workload, assets = batch
    return make_lots(Market(tuple(offers), assets, make_table(workload, assets), Demands(), LearnedSpeeds()))


def partitions(lots: Sequence[Lot]) -> Iterator[list[list[Lot]]]:
    """All of them."""
    if not lots:
        yield []
        return
    for rest in partitions(lots[1:]):
        yield [[lots[0]], *rest]
        for place in range(len(rest)):
            yield [*rest[:place], [lots[0], *rest[place]], *rest[place + 1 :]]


def dollars(pods: Sequence[Draft]) -> float:
    return sum(pod.price.dollars for pod in pods)


@given(batch=batches(most_bases=5), offers=offer_lists())
@_SETTINGS
def test_the_exact_solver_finds_the_best_of_all_partitions(batch: Batch, offers: list[Offer]) -> None:
    lots = lots_of(batch, offers)
    market = lots[0].market
    best = min(dollars([Draft(market, together(part)) for part in partition]) for partition in partitions(lots))
    found = best_partition([Draft(market, (lot,)) for lot in lots])
    assert dollars(found) == pytest.approx(best)
    assert sorted(sorted(lot.bases) for pod in found for lot in pod.lots) == sorted(sorted(lot.bases) for lot in lots)


@given(batch=batches(most_bases=8), offers=offer_lists())
@_SETTINGS
def test_savings_are_never_better_than_exact_nor_worse_than_no_sharing(batch: Batch, offers: list[Offer]) -> None:
    lots = lots_of(batch, offers)
    alone = [Draft(lot.market, (lot,)) for lot in lots]
    saved, exact = dollars(save(alone)), dollars(best_partition(alone))
    assert exact * (1 - 1e-9) <= saved <= dollars(alone) * (1 + 1e-9)
    assert saved <= exact * 1.05
    assert lower_bound(lots[0].market, lots).dollars <= exact * (1 + 1e-9)


@given(batch=batches(most_bases=1), offers=offer_lists())
@_SETTINGS
def test_a_lot_that_is_taken_apart_and_joined_is_the_same(batch: Batch, offers: list[Offer]) -> None:
    (lot,) = lots_of(batch, offers)
    part, rest = Pile.of(lot).take(lot.work / 3)
    if part is None or rest is None:
        assert float((lot.works / lot.items).max()) > lot.work / 3
        return
    assert part.work <= lot.work / 3 * (1 + 1e-9)
    assert part.work + rest.lot().work == pytest.approx(lot.work)
    assert _items(join([part, rest.lot()])) == _items(lot)


def _items(lot: Lot) -> dict[int, int]:
    return dict(zip(lot.members.tolist(), lot.items.tolist(), strict=True))


def test_too_many_lots_are_not_looked_at_exactly() -> None:
    with pytest.raises(ValueError, match="14 are too many"):
        best_partition([object()] * 14)  # type: ignore[list-item]
