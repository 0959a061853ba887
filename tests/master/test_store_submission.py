"""A request is taken once, in its turn, and within what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from comfypod.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    NotReplayable,
    QueueFull,
    QuotaExceeded,
    RequestNotFound,
)
from comfypod.master.documents import NewRequest, Notification, Outcome, Request
from comfypod.master.quotas import Quota
from comfypod.master.store import Store

Ask = Callable[..., NewRequest]
Open = Callable[..., Store]


def end(store: Store, key: str, state: Any = "succeeded") -> None:
    assert store.finish(key, store.get(key).run, Outcome(state=state))


def start(store: Store, key: str) -> None:
    assert store.begin_attempt(key, store.get(key).run, "main") is not None


def taken_in_order(store: Store) -> list[str]:
    """Start all that waits, in turn; their idempotency keys."""
    waiting = sorted(store.list(states=["queued"], limit=500), key=lambda request: (request.turn, request.key))
    for request in waiting:
        start(store, request.key)
    return [request.idempotency_key for request in waiting]


def test_what_was_asked_is_there(store: Store, ask: Ask, clock: Callable[[], Any]) -> None:
    new = ask(
        labels={"order": "7"},
        origin={"token": "t"},
        trace_id="ab" * 16,
        timeout_seconds=60.5,
        priority="high",
        job_input={"prompt": "ein Fuchs \x00 \ud800 🦊", "parameters": {"seed": 2**63}},
    )
    request = store.submit(new).request
    assert store.get(request.key) == request == store.find("acme", "order-1")
    assert (request.tenant, request.user, request.state) == ("acme", "ann", "queued")
    assert (request.run, request.attempt, request.version) == (1, 0, 1)
    assert request.created_at == request.queued_at == clock()
    assert (request.labels, request.origin, request.notify) == (new.labels, new.origin, new.notify)
    assert (request.trace_id, request.timeout_seconds, request.priority) == ("ab" * 16, 60.5, "high")
    assert store.job_input(request.key) == new.job_input
    assert request.workflow_id == f"{request.key}-1"


def test_the_same_again_is_the_same_request(store: Store, ask: Ask) -> None:
    first, second = store.submit(ask()), store.submit(ask(origin={"token": "another"}))
    assert (first.is_new, second.is_new) == (True, False)
    assert second.request == first.request
    end(store, first.request.key)
    assert store.submit(ask()).request.state == "succeeded"


def test_the_same_key_of_another_tenant_is_another_request(store: Store, ask: Ask) -> None:
    assert store.submit(ask()).request.key != store.submit(ask(tenant="other")).request.key


def test_other_content_under_the_same_key_is_refused(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    with pytest.raises(IdempotencyKeyReused) as refused:
        store.submit(ask(job_input={"prompt": "an owl"}))
    assert refused.value.key == key
    assert store.counts() == {"queued": 1}


def test_the_workflow_is_made_in_the_same_transaction(open_store: Open, ask: Ask) -> None:
    seen: list[Request] = []

    def enqueue(connection: sa.Connection, request: Request) -> None:
        assert connection.in_transaction()
        seen.append(request)
        if request.idempotency_key == "bad":
            raise RuntimeError("the engine refuses")

    store = open_store(enqueue=enqueue)
    request = store.submit(ask("good")).request
    store.submit(ask("good"))
    assert seen == [request]
    with pytest.raises(RuntimeError):
        store.submit(ask("bad"))
    assert store.find("acme", "bad") is None
    assert store.counts() == {"queued": 1}
    end(store, request.key, "failed")
    assert seen[-1] != store.replay(request.key) or seen[-1].run == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": ""},
        {"user": "a\x00b"},
        {"user": "a\ud800"},
        {"user": "a" * 201},
        {"idempotency_key": "line\nbreak"},
        {"idempotency_key": "a" * 301},
        {"trace_id": "\x1b[31m"},
        {"priority": "urgent"},
        {"timeout_seconds": -1.0},
        {"timeout_seconds": float("nan")},
        {"job_input": {"prompt": float("inf")}},
        {"job_input": {"prompt": {1, 2}}},
        {"job_input": {"prompt": "x" * (8 * 2**20)}},
        {"labels": {str(number): "" for number in range(65)}},
        {"labels": {"a": "x" * 40_000}},
        {"origin": {"a": "x" * 70_000}},
        {"notify": (Notification("webhook", {"a": "x" * 70_000}),)},
    ],
)
def test_what_cannot_be_kept_is_refused(store: Store, ask: Ask, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        store.submit(ask(**({"idempotency_key": "k"} | fields)))
    assert store.counts() == {}


def test_a_large_input_is_kept_whole(store: Store, ask: Ask) -> None:
    job_input = {"files": [{"name": "a.png", "data": "A" * (7 * 2**20)}]}
    key = store.submit(ask(job_input=job_input)).request.key
    assert store.job_input(key) == job_input


def test_a_callers_key_is_gone_when_the_request_has_ended(store: Store, ask: Ask, open_store: Open) -> None:
    key = store.submit(ask(job_input={"prompt": "x", "comfy_org_api_key": "paid"})).request.key
    assert store.job_input(key) == {"prompt": "x", "comfy_org_api_key": "paid"}
    end(store, key, "failed")
    assert store.job_input(key) == {"prompt": "x"}


@pytest.mark.parametrize("hostile", ["\x00", "\ud800", "' OR 1=1 --", "a" * 100_000])
def test_who_looks_for_nonsense_finds_nothing(store: Store, hostile: str) -> None:
    with pytest.raises(RequestNotFound):
        store.get(hostile)
    with pytest.raises(RequestNotFound):
        store.job_input(hostile)
    assert store.find(hostile, hostile) is None
    assert store.position(hostile) is None
    assert store.preview(hostile) is None
    assert store.signals([hostile]) == {}
    assert store.list(tenant=hostile, before=hostile, labels={hostile: hostile}) == []


@pytest.mark.parametrize("limit", [-1, 0, 10**9])
def test_a_list_is_of_bounded_length(store: Store, ask: Ask, limit: int) -> None:
    store.submit(ask())
    assert len(store.list(limit=limit)) == 1


def test_a_list_has_the_newest_first_and_goes_on_from_there(store: Store, ask: Ask, clock: Any) -> None:
    keys = []
    for number in range(5):
        clock.pass_by(seconds=1)
        keys.append(store.submit(ask(str(number), labels={"odd": str(number % 2), "🦊": '"'})).request.key)
    store.submit(ask(tenant="other"))
    first = store.list(tenant="acme", limit=2)
    second = store.list(tenant="acme", limit=9, before=first[-1].key)
    assert [request.key for request in [*first, *second]] == keys[::-1]
    odd = store.list(tenant="acme", labels={"odd": "1", "🦊": '"'})
    assert [request.key for request in odd] == [keys[3], keys[1]]
    assert store.list(labels={"odd": "1", "🦊": "'"}) == []
    end(store, keys[0])
    assert [request.key for request in store.list(states=["succeeded"])] == [keys[0]]
    assert store.list(states=[]) == []


def test_a_backlog_delays_nobody_by_more_than_a_turn(store: Store, ask: Ask) -> None:
    backlog = [store.submit(ask(f"ann {number}")).request.key for number in range(20)]
    for key in backlog[:3]:
        start(store, key)
    single = store.submit(ask("ben", user="ben")).request.key
    assert store.position(single) == 0
    assert taken_in_order(store)[:3] == ["ben", "ann 3", "ann 4"]


def test_users_of_all_tenants_take_turns(store: Store, ask: Ask) -> None:
    for number in range(3):
        store.submit(ask(f"ann {number}"))
    for number in range(2):
        store.submit(ask(f"cat {number}", tenant="other", user="ann"))  # the same name, another person
    assert taken_in_order(store) == ["ann 0", "cat 0", "ann 1", "cat 1", "ann 2"]


def test_a_tenant_of_more_weight_gets_more_turns(store: Store, ask: Ask) -> None:
    store.set_quota("acme", Quota(weight=2))
    for number in range(4):
        store.submit(ask(f"a{number}"))
    for number in range(2):
        store.submit(ask(f"b{number}", tenant="other"))
    assert taken_in_order(store) == ["a0", "a1", "b0", "a2", "a3", "b1"]


def test_a_class_goes_before_the_next(store: Store, ask: Ask) -> None:
    for priority in ("low", "normal", "high"):
        store.submit(ask(priority, priority=priority))
    assert taken_in_order(store) == ["high", "normal", "low"]


def test_numbers_begin_anew_when_nobody_waits(store: Store, ask: Ask) -> None:
    turns = []
    for number in range(5):
        request = store.submit(ask(str(number))).request
        turns.append(request.turn)
        start(store, request.key)
    assert len(set(turns)) == 1


def test_positions_are_those_of_the_turns(store: Store, ask: Ask, clock: Any) -> None:
    keys = []
    for name in ("ann 0", "ann 1", "ben 0"):
        clock.pass_by(seconds=1)
        keys.append(store.submit(ask(name, user=name[:3])).request.key)
    assert [store.position(key) for key in keys] == [0, 2, 1]
    store.cancel(keys[0])
    assert [store.position(key) for key in keys] == [None, 1, 0]
    assert store.oldest_queued_at() == store.get(keys[1]).created_at


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (Quota(at_once=2), "2 requests at once"),
        (Quota(user_at_once=2), "2 requests of one user at once"),
    ],
)
def test_so_many_at_once_and_no_more(store: Store, ask: Ask, quota: Quota, words: str) -> None:
    store.set_quota("acme", quota)
    first = store.submit(ask("1")).request.key
    store.submit(ask("2"))
    with pytest.raises(QuotaExceeded, match=words):
        store.submit(ask("3"))
    assert not store.submit(ask("1")).is_new, "what is there already is no more"
    store.submit(ask("3", tenant="other"))
    end(store, first)
    assert store.submit(ask("3")).is_new


def test_another_user_has_a_quota_of_his_own(store: Store, ask: Ask) -> None:
    store.set_quota("acme", Quota(user_at_once=1))
    store.submit(ask("1"))
    assert store.submit(ask("2", user="ben")).is_new


@pytest.mark.parametrize(
    ("quota", "span", "words"),
    [(Quota(per_minute=2), 60, "a minute"), (Quota(per_day=2), 86_400, "a day")],
)
def test_so_many_in_a_span_and_no_more(
    store: Store, ask: Ask, clock: Any, *, quota: Quota, span: float, words: str
) -> None:
    store.set_quota("acme", quota)
    for number in range(2):
        end(store, store.submit(ask(str(number))).request.key)
        clock.pass_by(seconds=10)
    with pytest.raises(QuotaExceeded, match=words) as refused:
        store.submit(ask("2"))
    assert refused.value.retry_after_seconds == pytest.approx(span - 20, abs=0.1)
    clock.pass_by(seconds=refused.value.retry_after_seconds)
    assert store.submit(ask("2")).is_new


def test_so_many_wait_and_no_more(open_store: Open, ask: Ask) -> None:
    store = open_store(maximum_queued=2)
    first = store.submit(ask("1")).request.key
    store.submit(ask("2", tenant="other"))
    with pytest.raises(QueueFull):
        store.submit(ask("3"))
    assert store.find("acme", "3") is None
    start(store, first)
    assert store.submit(ask("3")).is_new


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_did_not_succeed_is_replayed_under_its_key(store: Store, ask: Ask, clock: Any, state: Any) -> None:
    request = store.submit(ask()).request
    key = request.key
    start(store, key)
    store.submitted(key, 1, "job-1")
    store.progressed(key, 1, "running", {"value": 0.9}, "worker-1")
    end(store, key, state)
    store.quarantine(request.workflow_hash, "It failed everywhere.")
    clock.pass_by(seconds=5)
    again = store.replay(key)
    assert (again.state, again.run, again.workflow_id) == ("queued", 2, f"{key}-2")
    assert (again.progress, again.error, again.job_id, again.started_at, again.ended_at) == (None,) * 5
    assert again.queued_at == clock() != again.created_at
    assert store.quarantined(request.workflow_hash) is None
    assert store.position(key) == 0
    assert not store.finish(key, 1, Outcome(state="failed")), "the first run is over"
    assert store.begin_attempt(key, 1, "main") is None
    assert store.begin_attempt(key, 2, "main") == 2


def test_what_succeeded_or_is_under_way_is_not_replayed(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    for _ in range(2):
        with pytest.raises(NotReplayable):
            store.replay(key)
        store.finish(key, 1, Outcome(state="succeeded"))
    with pytest.raises(RequestNotFound):
        store.replay("0" * 32)
    assert store.get(key).run == 1
