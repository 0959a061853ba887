"""What happens to a request, whatever comes late, twice, or of an earlier life."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from comfypod.errors import InvalidRequest, RequestNotFound
from comfypod.master.documents import NewRequest, Notification, Outcome, Preview, Signal
from comfypod.master.states import ENDED, State, followers
from comfypod.master.store import Store

Ask = Callable[..., NewRequest]
Open = Callable[..., Store]
DONE = Outcome(state="succeeded", output={"images": []}, worker_id="worker-1", timings={"run_ms": 5})


def test_a_request_lives_and_ends(store: Store, ask: Ask, clock: Any) -> None:
    key = store.submit(ask()).request.key
    clock.pass_by(seconds=2)
    attempt = store.begin_attempt(key, 1, "main")
    assert attempt == 1
    request = store.get(key)
    assert (request.state, request.endpoint, request.job_id) == ("submitting", "main", None)
    assert store.submitted(key, attempt, "job-1")
    assert (store.get(key).state, store.get(key).job_id) == ("submitted", "job-1")
    clock.pass_by(seconds=3)
    assert store.progressed(key, attempt, "running", {"value": 0.5, "preview": {"data_base64": "…"}}, "worker-1")
    request = store.get(key)
    assert (request.state, request.progress, request.worker_id) == ("running", {"value": 0.5}, "worker-1")
    assert request.started_at == clock()
    clock.pass_by(seconds=4)
    assert store.progressed(key, attempt, "running")
    assert store.finish(key, 1, DONE)
    request = store.get(key)
    assert (request.state, request.output, request.error, request.timings) == (
        "succeeded",
        DONE.output,
        None,
        {"run_ms": 5},
    )
    assert (request.ended_at, request.started_at) == (clock(), clock.now - (clock() - request.started_at))
    assert request.is_ended
    assert request.version == 6


def test_every_change_is_seen_by_its_version(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    seen = [store.versions([key])[key]]
    changes: list[Callable[[], Any]] = [
        lambda: store.begin_attempt(key, 1, "main"),
        lambda: store.submitted(key, 1, "job-1"),
        lambda: store.progressed(key, 1, "running", {"value": 0.1}),
        lambda: store.save_preview(key, "image/png", b"1"),
        lambda: store.waits(key, 1, {"code": "job_lost"}),
        lambda: store.cancel(key),
        lambda: store.finish(key, 1, DONE),
    ]
    for change in changes:
        change()
        seen.append(store.versions([key])[key])
    assert seen == list(range(1, len(changes) + 2))
    assert store.versions(["0" * 32]) == {}


def test_the_value_of_progress_never_falls(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    store.begin_attempt(key, 1, "main")
    store.progressed(key, 1, "running", {"value": 0.6, "step": 5})
    store.waits(key, 1, {"code": "job_lost"})
    store.begin_attempt(key, 1, "main")
    store.progressed(key, 2, "running", {"value": 0.1, "step": 1})
    assert store.get(key).progress == {"value": 0.6, "step": 1}
    store.progressed(key, 2, "running", {"value": "odd", "number": float("nan")})
    assert store.get(key).progress == {"value": "odd", "number": None}
    store.progressed(key, 2, "running", {"value": 0.7})
    assert store.get(key).progress == {"value": 0.7}


def test_another_attempt_follows(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    store.begin_attempt(key, 1, "main")
    store.submitted(key, 1, "job-1")
    assert store.waits(key, 1, {"code": "job_lost", "number": float("inf")})
    assert (store.get(key).state, store.get(key).error) == ("waiting", {"code": "job_lost", "number": None})
    assert store.begin_attempt(key, 1, "other") == 2
    request = store.get(key)
    assert (request.state, request.endpoint, request.job_id, request.attempt) == ("submitting", "other", None, 2)


def test_what_an_earlier_attempt_says_changes_nothing(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    for _ in range(2):
        store.begin_attempt(key, 1, "main")
    before = store.get(key)
    assert not store.submitted(key, 1, "job-1")
    assert not store.progressed(key, 1, "running", {"value": 0.5}, "worker-1")
    assert not store.waits(key, 1, {"code": "job_lost"})
    assert store.get(key) == before


def test_it_ends_once(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    store.begin_attempt(key, 1, "main")
    assert store.finish(key, 1, DONE)
    ended = store.get(key)
    assert not store.finish(key, 1, Outcome(state="failed", error={"code": "late"}))
    assert not store.submitted(key, 1, "job-1")
    assert not store.progressed(key, 1, "running", {"value": 0.5})
    assert not store.waits(key, 1, {})
    assert not store.hinted(key)
    assert not store.save_preview(key, "image/png", b"late")
    assert store.begin_attempt(key, 1, "main") is None
    assert store.cancel(key) == ended == store.get(key)
    assert len(store.outbox(key)) == 1


def test_everybody_is_to_be_told_when_it_ends(store: Store, ask: Ask) -> None:
    notify = (Notification("webhook", {"url": "u"}), Notification("discord", {"channel": 2**60}))
    key = store.submit(ask(notify=notify)).request.key
    assert store.outbox(key) == []
    store.finish(key, 1, Outcome(state="failed", error={"code": "x"}))
    told = [(item.kind, item.target, item.event, item.tenant) for item in store.outbox(key)]
    assert told == [(item.kind, item.target, "request.failed", "acme") for item in notify]


def test_what_waits_with_us_is_cancelled_at_once(store: Store, ask: Ask, clock: Any) -> None:
    key = store.submit(ask()).request.key
    request = store.cancel(key)
    assert (request.state, request.ended_at) == ("cancelled", clock())
    assert [item.event for item in store.outbox(key)] == ["request.cancelled"]
    assert store.begin_attempt(key, 1, "main") is None, "its workflow comes to its turn later, and finds it ended"
    assert store.cancel(key) == request


def test_what_is_under_way_is_cancelled_by_its_master(store: Store, ask: Ask, clock: Any) -> None:
    key = store.submit(ask()).request.key
    store.begin_attempt(key, 1, "main")
    assert not store.signals([key])[key].is_cancelled
    first = store.cancel(key)
    assert (first.state, first.cancel_requested_at) == ("submitting", clock())
    clock.pass_by(seconds=1)
    assert store.cancel(key) == first, "a second time changes nothing"
    assert store.signals([key])[key].is_cancelled
    assert store.begin_attempt(key, 1, "main") is None, "nothing is posted for it any more"
    assert store.finish(key, 1, Outcome(state="cancelled"))
    with pytest.raises(RequestNotFound):
        store.cancel("0" * 32)


def test_a_hint_is_taken_once(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    assert not store.take_hint(key)
    assert store.hinted(key)
    assert store.signals([key, "0" * 32]) == {key: Signal(1, is_cancelled=False, is_hinted=True)}
    assert store.take_hint(key)
    assert not store.take_hint(key)
    assert not store.hinted("0" * 32)


def test_many_are_watched_in_one_look(store: Store, ask: Ask) -> None:
    keys = [store.submit(ask(str(number))).request.key for number in range(30)]
    assert set(store.signals(keys + ["0" * 32] * 2000)) == set(keys)


def test_the_newest_preview_is_kept_until_it_ends(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    assert store.preview(key) is None
    for number in (1, 2):
        assert store.save_preview(key, "image/jpeg", bytes([0, 255, number]))
    assert not store.save_preview(key, "image/jpeg", bytes(2**20 + 1))
    assert store.preview(key) == Preview("image/jpeg", bytes([0, 255, 2]), 2)
    store.finish(key, 1, DONE)
    assert store.preview(key) is None
    assert not store.save_preview("0" * 32, "image/jpeg", b"")


def test_a_front_end_keeps_what_it_wants(store: Store, ask: Ask) -> None:
    key = store.submit(ask(origin={"token": "a"})).request.key
    store.finish(key, 1, DONE)
    store.set_origin(key, {"message": 2**60})
    assert store.get(key).origin == {"message": 2**60}
    with pytest.raises(InvalidRequest):
        store.set_origin(key, {"message": "x" * 70_000})
    with pytest.raises(RequestNotFound):
        store.set_origin("0" * 32, {})


def test_what_a_worker_says_cannot_keep_a_request_from_ending(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    store.begin_attempt(key, 1, "main")
    assert store.submitted(key, 1, "job\x00\ud800" + "x" * 1000)
    assert store.progressed(key, 1, "running", {"value": float("nan"), "message": "\x00\ud800"}, "w\x00" * 500)
    assert store.finish(key, 1, Outcome(state="failed", output={"a": float("-inf")}, error={"message": "\x00\ud800"}))
    assert (store.get(key).output, store.get(key).error) == ({"a": None}, {"message": "\x00\ud800"})


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_in_whatever_order_only_what_may_follow_does(store: Store, ask: Ask, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    key = store.submit(ask()).request.key
    told = 0
    for _ in range(120):
        before = store.get(key)
        run, attempt = chance.choice([before.run, before.run, 1]), chance.choice([before.attempt, before.attempt, 1])
        state: State = chance.choice(["submitted", "running"])
        ended: State = chance.choice(ENDED[1:])
        changes: list[Callable[[], Any]] = [
            lambda run=run: store.begin_attempt(key, run, "main"),
            lambda attempt=attempt: store.submitted(key, attempt, "job-1"),
            lambda attempt=attempt, state=state: store.progressed(key, attempt, state, {"value": 0.5}),
            lambda attempt=attempt: store.waits(key, attempt, {"code": "job_lost"}),
        ]
        rarely: list[Callable[[], Any]] = [
            lambda: store.cancel(key),
            lambda run=run, ended=ended: store.finish(key, run, Outcome(state=ended)),
        ]
        chance.choice(changes if chance.random() < 0.8 else rarely)()
        after = store.get(key)
        assert after.state == before.state or after.state in followers(before.state)
        assert (after.version == before.version) is (after == before)
        if after.is_ended and not before.is_ended:
            told += 1
            store.replay(key)
        assert len(store.outbox(key)) == told
