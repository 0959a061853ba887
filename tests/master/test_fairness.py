"""Whose turn it is."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from comfypod.master.fairness import CLASS_SIZE, PRIORITIES, Priority, next_tag, tag_of, turn


@dataclass
class Queue:
    """One class, as the store keeps it: what waits, and the tag that was started last."""

    virtual_time: int = 0
    waiting: list[tuple[int, int, str]] = field(default_factory=list)  # tag, order of arrival, user
    arrived: int = 0

    def submit(self, user: str, weight: int = 1) -> int:
        last = max((tag for tag, _, owner in self.waiting if owner == user), default=None)
        self.arrived += 1
        self.waiting.append((next_tag(self.virtual_time, last, weight), self.arrived, user))
        return self.arrived

    def start(self) -> tuple[int, str]:
        first = min(self.waiting)
        self.waiting.remove(first)
        self.virtual_time = max(self.virtual_time, first[0])
        return first[1], first[2]


def test_a_backlog_delays_nobody_by_more_than_a_turn() -> None:
    queue = Queue()
    for _ in range(1000):
        queue.submit("ann")
    for _ in range(10):
        queue.start()
    single = queue.submit("ben")
    assert single in [queue.start()[0] for _ in range(2)]


@pytest.mark.parametrize("seed", range(30))
def test_who_comes_with_one_request_is_behind_at_most_one_of_each_other_user(seed: int) -> None:
    """Whoever waits, however many they have, and however many have been started before."""
    chance = random.Random(seed)  # noqa: S311
    queue = Queue()
    users = [f"user {number}" for number in range(chance.randint(1, 12))]
    for _ in range(chance.randint(0, 400)):
        if queue.waiting and chance.random() < 0.4:
            queue.start()
        else:
            queue.submit(chance.choice(users))
    single = queue.submit("newcomer")
    ahead: Counter[str] = Counter()
    while (started := queue.start())[0] != single:
        ahead[started[1]] += 1
        queue.submit(chance.choice(users))  # nor does it help to come with more afterwards
    assert not ahead or max(ahead.values()) == 1


@pytest.mark.parametrize("seed", range(10))
def test_all_get_alike_while_all_wait(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    queue = Queue()
    order = ["ann"] * 90 + ["ben"] * 30 + ["cat"] * 30
    chance.shuffle(order)
    for user in order:
        queue.submit(user)
    first = Counter(queue.start()[1] for _ in range(60))
    assert max(first.values()) - min(first.values()) <= 1


def test_a_users_own_requests_keep_their_order() -> None:
    chance = random.Random(5)  # noqa: S311
    queue = Queue()
    for _ in range(200):
        queue.submit(chance.choice("abc"))
    started = [queue.start() for _ in range(200)]
    for user in "abc":
        own = [number for number, owner in started if owner == user]
        assert own == sorted(own)


def test_a_heavier_user_gets_more_turns() -> None:
    queue = Queue()
    for _ in range(300):
        queue.submit("heavy", weight=4)
        queue.submit("light", weight=1)
    first = Counter(queue.start()[1] for _ in range(100))
    assert first["heavy"] == pytest.approx(80, abs=1)


@pytest.mark.parametrize("weight", [1, 3, 16, 1000])
def test_who_always_comes_with_one_does_not_keep_others_waiting(weight: int) -> None:
    queue = Queue()
    for _ in range(20):
        queue.submit("ann")
    started: list[str] = []
    while started.count("ann") < 20:
        if not any(user == "ben" for _, _, user in queue.waiting):
            queue.submit("ben", weight)
        started.append(queue.start()[1])
    assert len(started) < 20 * 40
    if weight == 1:
        assert started.count("ben") <= 22


def test_what_was_cancelled_takes_no_turn() -> None:
    queue = Queue()
    for _ in range(50):
        queue.submit("ann")
    queue.waiting.clear()  # all cancelled
    for user in ("ben", "ben", "ann"):
        queue.submit(user)
    assert [queue.start()[1] for _ in range(3)] == ["ben", "ann", "ben"]


@pytest.mark.parametrize("virtual_time", [0, 1, CLASS_SIZE - 2, CLASS_SIZE - 1, CLASS_SIZE * 5])
@pytest.mark.parametrize("priority", PRIORITIES)
def test_turns_fit_into_what_dbos_takes(virtual_time: int, priority: Priority) -> None:
    tag = next_tag(virtual_time, None)
    assert 1 <= turn(priority, tag) <= 2**31 - 1
    assert tag_of(turn(priority, tag)) == tag


def test_a_class_is_before_the_next() -> None:
    last_of_high, first_of_normal = turn("high", CLASS_SIZE - 1), turn("normal", 1)
    last_of_normal, first_of_low = turn("normal", CLASS_SIZE - 1), turn("low", 1)
    assert last_of_high < first_of_normal < last_of_normal < first_of_low
