"""What holds of every plan: nothing is forgotten or made twice, and no demand is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from comfypod.batch.documents import GIGABYTE, Asset, Offer, Plan, Signature
from comfypod.batch.planning import Demands, LearnedSpeeds, Workload, gather, kind_of, make_plan
from comfypod.errors import PlanImpossible
from tests.batch.planning.making import asset, assets_of, batches, offer, offer_lists, signature, workload

Batch = tuple[Workload, dict[str, Asset]]
_SETTINGS = settings(max_examples=60)
_DEMANDS = st.builds(
    Demands,
    objective=st.sampled_from(["cost", "early", "balanced"]),
    deadline_seconds=st.none() | st.floats(900.0, 40_000.0),
    budget_dollars=st.none() | st.floats(0.05, 20.0),
    payload_cap_bytes=st.integers(21, 80).map(lambda gigabytes: gigabytes * GIGABYTE),
    least_pods=st.integers(1, 3),
    most_pods=st.none() | st.integers(3, 12),
)


def check(plan: Plan, batch: Workload, assets: Mapping[str, Asset], offers: list[Offer], demands: Demands) -> None:
    """Everything that any plan must keep to."""
    made: Counter[Signature] = Counter()
    for pod in plan.pods:
        needed = {key for share in pod.shares for key in share.signature.assets}
        payload = sum(assets[key].size_bytes for key in needed)
        assert payload <= demands.payload_cap_bytes
        assert sorted(pod.downloads) == sorted(needed), "every file comes once, and no other"
        assert pod.disk_bytes >= payload + demands.tool_chain_bytes
        assert len({share.signature for share in pod.shares}) == len(pod.shares)
        for share in pod.shares:
            made[share.signature] += share.items
            memory = max(assets[key].size_bytes for key in share.signature.bases) + 2 * GIGABYTE
            assert pod.offer.memory_bytes >= memory
        assert pod.offer in offers
        disk = (payload + demands.tool_chain_bytes) / GIGABYTE * pod.offer.disk_dollars_per_gigabyte_hour
        assert pod.dollars == pytest.approx(pod.seconds / 3600 * (pod.offer.dollars_per_hour + disk))
        if demands.deadline_seconds is not None:
            assert pod.seconds <= demands.deadline_seconds
    assert made == {group.signature: group.items for group in batch.groups}
    assert sum(share.work for pod in plan.pods for share in pod.shares) == pytest.approx(batch.work)
    assert all(count <= offers[0].most_pods for count in Counter(pod.offer.gpu for pod in plan.pods).values())
    assert demands.most_pods is None or len(plan.pods) <= demands.most_pods
    assert len(plan.pods) >= min(demands.least_pods, batch.items)
    assert plan.dollars == pytest.approx(sum(pod.dollars for pod in plan.pods))
    assert demands.budget_dollars is None or plan.dollars <= demands.budget_dollars
    assert plan.dollars >= plan.bound_dollars * (1 - 1e-9)
    assert plan.bound_seconds is not None
    assert plan.seconds >= plan.bound_seconds * (1 - 1e-9)


@given(batch=batches(), offers=offer_lists(), demands=_DEMANDS)
@_SETTINGS
def test_a_plan_keeps_to_its_demands_and_makes_every_item_once(
    batch: Batch, offers: list[Offer], demands: Demands
) -> None:
    found, assets = batch
    try:
        plan = make_plan(found, assets, offers, demands)
    except PlanImpossible as error:
        assert error.reasons
        assume(False)
        raise
    check(plan, found, assets, offers, demands)


@given(batch=batches(most_bases=12), offers=offer_lists())
@settings(_SETTINGS, max_examples=15)
def test_a_plan_without_demands_is_always_there_and_the_same_again(batch: Batch, offers: list[Offer]) -> None:
    found, assets = batch
    plan = make_plan(found, assets, offers)
    check(plan, found, assets, offers, Demands())
    assert make_plan(found, assets, offers) == plan


@given(batch=batches(), megabytes=st.sampled_from([10, 30, 100]))
@settings(_SETTINGS, max_examples=40)
def test_an_order_for_early_results_keeps_to_the_deadline_too(batch: Batch, megabytes: int) -> None:
    """On a slow link such an order takes longer than what pods are filled by."""
    found, assets = batch
    offers = [offer(download_bytes_per_second=megabytes * 1e6)]
    unhurried = make_plan(found, assets, offers, Demands(objective="early"))
    demands = Demands(objective="early", deadline_seconds=0.99 * unhurried.seconds)
    try:
        plan = make_plan(found, assets, offers, demands)
    except PlanImpossible:
        return
    check(plan, found, assets, offers, demands)


def test_a_group_that_is_too_much_before_the_deadline_is_taken_apart() -> None:
    assets = assets_of({"checkpoints/a": 7, "loras/x": 0.2})
    batch = workload((signature("a"), 1000, 21.0), (signature("a", ["x"]), 1000, 21.0))
    demands = Demands(deadline_seconds=3600)
    plan = make_plan(batch, assets, [offer()], demands)
    check(plan, batch, assets, [offer()], demands)
    assert len(plan.pods) == 8, "26,250 s of work, and 3,437 s an hour after set-up, download and load"
    assert sum("loras/x" in pod.downloads for pod in plan.pods) == 5, "only those that need it fetch it"


def test_small_groups_share_a_pod_and_large_ones_do_not() -> None:
    assets = assets_of({"checkpoints/a": 7, "checkpoints/b": 7})
    small = workload((signature("a"), 20, 21.0), (signature("b"), 20, 21.0))
    large = workload((signature("a"), 40_000, 21.0), (signature("b"), 40_000, 21.0))
    assert len(make_plan(small, assets, [offer(setup_seconds=480)]).pods) == 1
    assert len(make_plan(large, assets, [offer(setup_seconds=480)]).pods) == 2


def test_what_comes_with_the_image_is_neither_fetched_nor_kept_on_the_disk() -> None:
    assets = assets_of({"checkpoints/a": 7}) | {"vae/built": asset("vae/built", 200)}
    assets["vae/built"] = assets["vae/built"].model_copy(update={"entry": {"when": "build"}})
    batch = workload((Signature.of(["checkpoints/a", "vae/built"]), 10, 21.0))
    plan = make_plan(batch, assets, [offer(memory_bytes=300 * GIGABYTE)])
    assert plan.pods[0].downloads == ("checkpoints/a",)
    assert plan.pods[0].disk_bytes == 19 * GIGABYTE


def test_the_type_is_chosen_by_what_an_item_costs_on_it() -> None:
    assets = assets_of({"checkpoints/a": 7})
    batch = workload((signature("a"), 5000, 21.0))
    cheap, quick = offer(gpu="slow"), offer(gpu="quick", dollars_per_hour=0.27, megapixel_steps_per_second=3.0)
    assert make_plan(batch, assets, [cheap, quick]).pods[0].offer.gpu == "slow"
    assert make_plan(batch, assets, [cheap, quick], Demands(objective="cost")).pods[0].offer.gpu == "slow"
    learned = LearnedSpeeds().with_run("slow", kind_of(["checkpoints/a"]), work=100.0, seconds=100.0)
    assert make_plan(batch, assets, [cheap, quick], learned=learned).pods[0].offer.gpu == "quick"
    other = LearnedSpeeds().with_run("slow", "checkpoints/other", work=100.0, seconds=100.0)
    assert make_plan(batch, assets, [cheap, quick], learned=other).pods[0].offer.gpu == "quick", "better than a guess"


def test_offers_that_are_few_are_taken_where_they_save_most() -> None:
    assets = assets_of({"checkpoints/a": 7})
    batch = workload((signature("a"), 4000, 21.0))
    few, many = offer(gpu="few", dollars_per_hour=0.10, most_pods=2), offer(gpu="many", dollars_per_hour=0.13)
    plan = make_plan(batch, assets, [few, many], Demands(deadline_seconds=3600 * 3))
    assert Counter(pod.offer.gpu for pod in plan.pods)["few"] == 2
    assert len(plan.pods) > 2


def test_a_machine_that_costs_nothing_is_shared_out_over_as_many_pods_as_are_wanted() -> None:
    assets = assets_of({"checkpoints/a": 1, "checkpoints/b": 1})
    free = offer(dollars_per_hour=0, disk_dollars_per_gigabyte_hour=0, most_pods=2)
    batch = workload((signature("a"), 10, 1.0), (signature("b"), 10, 1.0))
    assert len(make_plan(batch, assets, [free], Demands(least_pods=2)).pods) == 2
    assert len(make_plan(workload((signature("a"), 10, 1.0)), assets, [free], Demands(least_pods=2)).pods) == 2
    assert len(make_plan(batch, assets, [free], Demands(most_pods=1)).pods) == 1


def test_a_bid_goes_up_to_where_the_next_best_offer_is_cheaper() -> None:
    assets = assets_of({"checkpoints/a": 7})
    batch = workload((signature("a"), 5000, 21.0))
    spot = offer(price_class="interruptible", interruptions_per_hour=0.1)
    other = offer(gpu="A40", dollars_per_hour=0.27, megapixel_steps_per_second=3.0)
    pod = make_plan(batch, assets, [spot, other]).pods[0]
    assert pod.bid_dollars_per_hour == 0.12
    assert pod.bid_ceiling_dollars_per_hour is not None
    dearer = spot.model_copy(update={"dollars_per_hour": pod.bid_ceiling_dollars_per_hour * 1.02})
    cheaper = spot.model_copy(update={"dollars_per_hour": pod.bid_ceiling_dollars_per_hour * 0.98})
    assert make_plan(batch, assets, [dearer, other]).pods[0].offer.gpu == "A40"
    assert make_plan(batch, assets, [cheaper, other]).pods[0].offer.gpu == "A4000"


def test_rows_become_groups() -> None:
    rows = [((("checkpoints/a",), ()), 2.0), ((("checkpoints/a",), ("loras/x",)), 3.0), ((("checkpoints/a",), ()), 4.0)]
    found = gather("batch", rows)
    assert [(group.items, group.work) for group in found.groups] == [(2, 6.0), (1, 3.0)]
    assert (found.items, found.work) == (3, 9.0)


@pytest.mark.parametrize(
    ("demands", "offers", "says"),
    [
        (Demands(payload_cap_bytes=6 * GIGABYTE), [offer()], "7.2 GB together"),
        (Demands(deadline_seconds=130), [offer()], "longer than the deadline"),
        (Demands(budget_dollars=0.01), [offer()], "No plan costs less than"),
        (Demands(), [offer(memory_bytes=8 * GIGABYTE)], "needs 9.0 GB of GPU memory"),
        (Demands(gpu_memory_bytes=30 * GIGABYTE), [offer()], "needs 30.0 GB"),
        (Demands(deadline_seconds=1800, most_pods=2), [offer()], "at most 2 are allowed"),
        (Demands(deadline_seconds=1800), [offer(most_pods=2)], "fewer are offered"),
        (Demands(least_pods=3, most_pods=2), [offer()], "exclude each other"),
        (Demands(), [], "Nothing is offered"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(demands: Demands, offers: list[Offer], says: str) -> None:
    assets = assets_of({"checkpoints/a": 7, "loras/x": 0.2})
    batch = workload((signature("a"), 1000, 21.0), (signature("a", ["x"]), 10, 21.0))
    with pytest.raises(PlanImpossible, match=says):
        make_plan(batch, assets, offers, demands)


def test_files_that_nobody_knows_and_batches_of_nothing_are_refused() -> None:
    with pytest.raises(PlanImpossible, match="Nothing is known of checkpoints/a, which 3 items need"):
        make_plan(workload((signature("a"), 3, 1.0)), {}, [offer()])
    with pytest.raises(PlanImpossible, match="no items"):
        make_plan(workload(), {}, [offer()])


def test_a_budget_that_only_the_deadline_breaks_says_so() -> None:
    assets = assets_of({"checkpoints/a": 7})
    batch = workload((signature("a"), 3000, 21.0))
    unhurried = make_plan(batch, assets, [offer(setup_seconds=900)])
    with pytest.raises(PlanImpossible, match="Without the deadline it would cost"):
        make_plan(
            batch,
            assets,
            [offer(setup_seconds=900)],
            Demands(deadline_seconds=1800, budget_dollars=unhurried.dollars * 1.05),
        )
