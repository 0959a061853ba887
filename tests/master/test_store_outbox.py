"""What is to be told is told by one at a time, again after a pause, and given up in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from comfypod.errors import DeadLetterNotFound
from comfypod.master.documents import NewRequest, Notification, Outcome
from comfypod.master.store import Store
from comfypod.master.store.outbox import MAXIMUM_TRIES

Ask = Callable[..., NewRequest]


@pytest.fixture
def key(store: Store, ask: Ask) -> str:
    """Of a request that has ended."""
    key = store.submit(ask()).request.key
    store.finish(key, 1, Outcome(state="succeeded"))
    return key


def test_one_sender_takes_it_and_another_if_that_one_is_silent(store: Store, key: str, clock: Any) -> None:
    (item,) = store.claim("webhook", "first", 30)
    assert (item.key, item.attempts, item.event) == (key, 1, "request.succeeded")
    assert store.claim("webhook", "second", 30) == []
    clock.pass_by(seconds=29)
    assert store.claim("webhook", "second", 30) == []
    clock.pass_by(seconds=1)
    (again,) = store.claim("webhook", "second", 30)
    assert (again.identifier, again.attempts) == (item.identifier, 2)
    store.delivered(item)  # the first one comes back: it is told
    clock.pass_by(days=1)
    assert store.claim("webhook", "third", 30) == []
    assert store.outbox(key)[0].delivered_at is not None


def test_a_kind_is_for_its_senders_alone(store: Store, key: str) -> None:
    assert store.claim("discord", "me", 30) == []
    assert len(store.claim("webhook", "me", 30)) == 1


def test_the_oldest_come_first_and_no_more_than_asked_for(store: Store, ask: Ask, clock: Any) -> None:
    keys = []
    for number in range(5):
        keys.append(store.submit(ask(str(number))).request.key)
        store.finish(keys[-1], 1, Outcome(state="succeeded"))
    assert [item.key for item in store.claim("webhook", "me", 30, limit=2)] == keys[:2]
    assert [item.key for item in store.claim("webhook", "me", 30, limit=9)] == keys[2:]


def test_a_try_that_failed_is_repeated_after_a_pause(store: Store, key: str, clock: Any) -> None:
    (item,) = store.claim("webhook", "me", 30)
    assert store.postpone(item, 60, "HTTP 500\x00")
    clock.pass_by(seconds=59)
    assert store.claim("webhook", "me", 30) == []
    clock.pass_by(seconds=1)
    (again,) = store.claim("webhook", "me", 30)
    assert again.attempts == 2
    assert (again.cause or "").startswith("HTTP 500")


def test_who_is_late_does_not_postpone_what_another_has_taken(store: Store, key: str, clock: Any) -> None:
    (late,) = store.claim("webhook", "first", 30)
    clock.pass_by(seconds=30)
    store.claim("webhook", "second", 30)
    store.postpone(late, 3600, "no answer")
    clock.pass_by(seconds=30)
    assert len(store.claim("webhook", "third", 30)) == 1


def test_after_the_last_try_it_is_a_dead_letter_until_it_is_revived(store: Store, key: str, clock: Any) -> None:
    for number in range(1, MAXIMUM_TRIES + 1):
        clock.pass_by(seconds=1)
        (item,) = store.claim("webhook", "me", 30)
        assert store.postpone(item, 1, "HTTP 500") is (number < MAXIMUM_TRIES)
    clock.pass_by(days=1)
    assert store.claim("webhook", "me", 30) == []
    (dead,) = store.dead_letters("webhook", "acme")
    assert (dead.identifier, dead.cause, dead.attempts) == (item.identifier, "HTTP 500", MAXIMUM_TRIES)
    assert store.outbox_counts() == {("webhook", "dead"): 1}
    assert store.dead_letters("discord") == store.dead_letters(tenant="other") == store.dead_letters(limit=-1) == []
    with pytest.raises(DeadLetterNotFound):
        store.revive(dead.identifier, tenant="other")
    store.revive(dead.identifier, tenant="acme")
    with pytest.raises(DeadLetterNotFound):
        store.revive(dead.identifier)
    assert store.outbox_counts() == {("webhook", "waiting"): 1}
    (item,) = store.claim("webhook", "me", 30)
    assert item.attempts == 1
    store.delivered(item)
    assert store.outbox_counts() == {}


def test_who_dies_of_it_every_time_is_not_asked_for_ever(store: Store, key: str, clock: Any) -> None:
    for _ in range(MAXIMUM_TRIES):
        assert len(store.claim("webhook", "me", 30)) == 1
        clock.pass_by(seconds=30)
    assert store.claim("webhook", "me", 30) == []
    assert store.dead_letters()[0].cause == "Every try broke off"


def test_what_can_never_be_told_is_given_up_at_once(store: Store, key: str) -> None:
    (item,) = store.claim("webhook", "me", 30)
    store.give_up(item, "the channel is gone")
    assert [letter.cause for letter in store.dead_letters()] == ["the channel is gone"]


def test_a_replay_is_told_under_another_name(store: Store, ask: Ask) -> None:
    key = store.submit(ask(notify=(Notification("webhook", {}), Notification("webhook", {})))).request.key
    store.cancel(key)
    store.replay(key)
    store.finish(key, 2, Outcome(state="succeeded"))
    names = [item.identifier for item in store.outbox(key)]
    assert names == [f"{key}-1-0", f"{key}-1-1", f"{key}-2-0", f"{key}-2-1"]
