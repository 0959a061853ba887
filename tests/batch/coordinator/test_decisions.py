"""The rules by which pods are rented, drained and ended, at one moment each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfypod.batch.coordinator.decisions import decide, first_end, is_behind
from comfypod.batch.coordinator.situation import Drain, End, MoveEnd, Patience, Pause, Rent, Situation, spent_dollars
from comfypod.batch.documents import GIGABYTE, Pulse
from comfypod.batch.store.books import Book
from comfypod.batch.store.records import BatchPod, Standing
from tests.batch.coordinator.making import CHECKPOINTS, offer, plan

NOW = 1_800_000_000.0
A, B = CHECKPOINTS
PLAN = plan(200, [[(A, 100)], [(B, 100)]], offer=offer(setup_seconds=60.0, disk_dollars_per_gigabyte_hour=0.0))
BOOK = Book.of(PLAN, {0: (A,), 1: (B,)})
FRESH = Standing(
    state="running",
    started_at=NOW - 1000,
    ended_at=None,
    done_share=0.0,
    waiting=(0, 1),
    leased=0,
    work_left={0: 2000.0, 1: 2000.0},
)


def pod(number: int = 0, generation: int = 0, **fields: Any) -> BatchPod:
    given: dict[str, Any] = {
        "name": f"comfypod-batch1-{number}-{generation}",
        "number": number,
        "generation": generation,
        "provider": "fake",
        "identifier": f"id-{number}",
        "state": "running",
        "offer": PLAN.pods[number].offer,
        "bid_dollars_per_hour": None,
        "dollars_per_hour": 0.2,
        "disk_bytes": 20 * GIGABYTE,
        "asked_at": NOW - 1000,
        "rented_at": NOW - 1000,
        "hello_at": NOW - 900,
        "pulsed_at": NOW - 1,
        "ends_at": NOW + 7200,
        "ended_at": None,
        "end_reason": None,
        "drain_reason": None,
        "spare_since": None,
        "condition": None,
        "pulse": Pulse(in_hand=(), present=(CHECKPOINTS[number],)),
        "items": 10,
        "work": 200.0,
        "gpu_seconds": 200.0,
    }
    return BatchPod(**(given | fields))


def situation(*pods: BatchPod, standing: Standing = FRESH, **fields: Any) -> Situation:
    return Situation(now=NOW, book=BOOK, standing=standing, pods=pods, **fields)


def test_the_plans_pods_are_rented_and_none_twice() -> None:
    assert decide(situation()) == [Rent(0), Rent(1)]
    assert decide(situation(pod(0))) == [Rent(1)]
    assert decide(situation(pod(0), pod(1))) == []
    assert decide(situation(blocked=frozenset({0}))) == [Rent(1)]
    assert decide(situation(is_stopping=True)) == []
    for state in ("paused", "cancelled", "over"):
        assert decide(situation(standing=replace(FRESH, state=state))) == []
    assert decide(situation(standing=replace(FRESH, started_at=None))) == [], "items are still being written"


def test_a_pod_that_died_is_replaced_if_that_is_worth_its_set_up() -> None:
    dead = pod(1, state="ended", ended_at=NOW - 10, end_reason="outbid")
    assert decide(situation(pod(0), dead)) == [Rent(1)]
    little = replace(FRESH, work_left={0: 2000.0, 1: 100.0})
    helper = pod(0, pulse=Pulse(in_hand=(), present=(A, B)))
    assert decide(situation(helper, dead, standing=little)) == [], "another has the files"
    assert decide(situation(pod(0), dead, standing=little)) == [Rent(1)], "nobody else has them"
    assert decide(situation(helper, dead, standing=little, deadline_at=NOW + 100)) == [Rent(1, is_urgent=True)]


def test_what_comes_back_after_its_pods_were_let_go_gets_a_pod() -> None:
    gone = [pod(number, state="ended", ended_at=NOW - 10, end_reason="over") for number in (0, 1)]
    back = replace(FRESH, waiting=(1,), work_left={})
    assert decide(situation(*gone, standing=back)) == [Rent(1)]


def test_a_deadline_that_is_not_kept_makes_what_cannot_be_taken_away_wanted() -> None:
    begun = replace(FRESH, started_at=NOW - 1060)  # 60 s of them were set-up
    for done, behind in ((0.46, False), (0.44, True)):
        there = situation(standing=replace(begun, done_share=done), deadline_at=NOW + 1000)
        assert is_behind(there) is behind
        assert decide(there)[0] == Rent(0, is_urgent=behind)
    assert not is_behind(situation(deadline_at=None))


def test_no_pod_is_rented_for_which_the_money_does_not_suffice() -> None:
    # A pod's set-up and last two minutes cost $0.2 / 20 = $0.01.
    assert decide(situation(budget_dollars=0.0199)) == [Rent(0)]
    assert decide(situation(budget_dollars=0.0201)) == [Rent(0), Rent(1)]
    assert decide(situation(budget_dollars=0.009)) == []


def test_when_only_enough_for_the_end_is_left_all_pods_drain_and_the_batch_pauses() -> None:
    pods = (pod(0), pod(1, drain_reason="spare"))
    spent = spent_dollars(pods, NOW)
    assert round(spent, 4) == round(2 * 0.2 * 1000 / 3600, 4)
    actions = decide(situation(*pods, budget_dollars=spent + 0.4 * 119 / 3600))
    assert actions[:2] == [Pause("the budget of $0.124 is spent"), Drain(pods[0].name, "budget")]
    ends = [action for action in actions if isinstance(action, MoveEnd)]
    assert [round(action.ends_at - NOW) for action in ends] == [119, 119], "and end when the last of it is spent"
    assert decide(situation(*pods, budget_dollars=spent + 0.4 * 121 / 3600))[0] != actions[0]


def test_pods_that_are_of_no_use_any_more_are_ended() -> None:
    cases = {
        "it said goodbye": pod(state="ending"),
        "outbid": pod(state="ending", end_reason="outbid"),
        "silent": pod(pulsed_at=NOW - 301),
        "past its time": pod(ends_at=NOW - 61),
        "no hello": pod(state="starting", hello_at=None, pulsed_at=None, rented_at=NOW - 661),
    }
    for reason, useless in cases.items():
        assert End(useless.name, reason) in decide(situation(useless))
    alive = [
        pod(pulsed_at=NOW - 299),
        pod(ends_at=NOW - 59, drain_reason="budget"),
        pod(state="starting", hello_at=None, pulsed_at=None, rented_at=NOW - 659),
    ]
    for one in alive:
        assert not [action for action in decide(situation(one)) if isinstance(action, End)]


def test_a_pod_with_something_unsent_is_left_alone_until_its_time_unless_the_batch_is_cancelled() -> None:
    sending = pod(drain_reason="budget", pulse=Pulse(in_hand=(), present=(A,), spool_items=3))
    for state in ("running", "paused", "over"):
        actions = decide(situation(sending, standing=replace(FRESH, state=state, waiting=())))
        assert not [action for action in actions if isinstance(action, End)]
    cancelled = replace(FRESH, state="cancelled", ended_at=NOW - 10)
    assert decide(situation(sending, standing=cancelled)) == []
    cancelled = replace(cancelled, ended_at=NOW - 21)
    assert decide(situation(sending, standing=cancelled)) == [End(sending.name, "cancelled")]


def test_stopping_and_long_pauses_drain() -> None:
    there = pod(0)
    assert decide(situation(there, is_stopping=True)) == [Drain(there.name, "stopped")]
    paused = replace(FRESH, state="paused")
    assert decide(situation(there, standing=paused, paused_seconds=599)) == []
    assert decide(situation(there, standing=paused, paused_seconds=600)) == [Drain(there.name, "paused")]


def test_a_dead_mans_switch_moves_on_while_the_coordinator_lives_but_not_past_the_money() -> None:
    there = pod(0, ends_at=NOW + 600)
    assert MoveEnd(there.name, NOW + 3600) in decide(situation(there))
    assert not [action for action in decide(situation(pod(0))) if isinstance(action, MoveEnd)]
    fresh = situation(patience=Patience(alone=3600))
    assert first_end(fresh, 0) == NOW + 900 + 3600
    assert first_end(replace(fresh, budget_dollars=0.1), 0) == NOW + 1800
