"""The queue's order, what its owner is told and when, and the pages of the history."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from comfypod.emulator.engine.queue import MAXIMUM_HISTORY_ENTRIES, History, PromptQueue, QueuedPrompt


def prompt(prompt_id: str, number: float = 0) -> QueuedPrompt:
    return QueuedPrompt(number, prompt_id, {}, {}, ())


def nothing() -> None:
    pass


class Watched:
    """A queue that notes how long it was at every change."""

    def __init__(self) -> None:
        self.history = History()
        self.lengths: list[int] = []
        self.queue = PromptQueue(self.history, lambda: self.lengths.append(self.queue.remaining()))

    def take_all(self) -> list[str]:
        taken = []
        while self.queue.remaining():
            running = self.queue.take(nothing)
            assert running is not None
            taken.append(running.prompt_id)
            self.queue.finish(running, {})
        return taken


def test_the_smallest_number_runs_first() -> None:
    watched = Watched()
    for prompt_id, number in (("b", 1), ("front", -2), ("d", 3), ("given", -5.0), ("half", 0.5)):
        watched.queue.put(prompt(prompt_id, number))
    assert watched.take_all() == ["given", "front", "half", "b", "d"]


def test_equal_number_and_id_do_not_break_the_queue() -> None:
    watched = Watched()
    for _ in range(3):
        watched.queue.put(QueuedPrompt(1, "same", {"1": {}}, {"a": {}}, ()))
    assert watched.take_all() == ["same"] * 3


def test_every_change_is_told_with_the_running_prompt_counted() -> None:
    watched = Watched()
    watched.queue.put(prompt("a"))
    watched.queue.put(prompt("b", 1))
    running = watched.queue.take(nothing)
    watched.queue.delete(["b", "unknown"])
    watched.queue.clear()
    assert running is not None
    watched.queue.finish(running, {})
    assert watched.lengths == [1, 2, 2, 1, 1, 0]


def test_history_is_written_before_the_queue_says_that_it_is_empty() -> None:
    history = History()
    found: list[dict[str, Any]] = []
    queue = PromptQueue(history, lambda: found.append(history.get("a")))
    queue.put(prompt("a"))
    running = queue.take(nothing)
    assert running is not None
    queue.finish(running, {"status": 1})
    assert found == [{}, {}, {"a": {"status": 1}}]


def test_a_prompt_that_runs_is_neither_deleted_nor_cleared() -> None:
    watched = Watched()
    watched.queue.put(prompt("a"))
    watched.queue.take(nothing)
    watched.queue.delete(["a"])
    watched.queue.clear()
    assert [running.prompt_id for running in watched.queue.snapshot()[0]] == ["a"]


def test_only_the_running_prompt_is_acted_on() -> None:
    watched = Watched()
    watched.queue.put(prompt("a"))
    watched.queue.put(prompt("b", 1))
    watched.queue.take(nothing)
    hits: list[str] = []
    for prompt_id in ("a", "b", "c"):
        watched.queue.if_running(prompt_id, lambda prompt_id=prompt_id: hits.append(prompt_id))  # type: ignore[misc]
    assert hits == ["a"]


def test_closing_wakes_who_waits() -> None:
    watched = Watched()
    taken: list[QueuedPrompt | None] = []
    waiting = threading.Thread(target=lambda: taken.append(watched.queue.take(nothing)))
    waiting.start()
    watched.queue.close()
    waiting.join(5)
    assert taken == [None]


@pytest.mark.parametrize(
    ("max_items", "offset", "expected"),
    [
        (None, -1, "abcde"),
        (2, -1, "de"),
        (0, -1, ""),
        (-1, -1, ""),
        (2, 1, "bc"),
        (None, 3, "de"),
        (99, -1, "abcde"),
        (0, 1, "b"),
        (2, 9, ""),
    ],
)
def test_pages_of_the_history(max_items: int | None, offset: int, expected: str) -> None:
    history = History()
    for prompt_id in "abcde":
        history.add(prompt_id, {})
    assert "".join(history.page(max_items, offset)) == expected


def test_a_rerun_overwrites_its_entry_and_the_oldest_entries_are_forgotten() -> None:
    history = History()
    history.add("first", {"run": 1})
    for number in range(MAXIMUM_HISTORY_ENTRIES - 1):
        history.add(str(number), {})
    history.add("first", {"run": 2})
    assert history.get("first") == {"first": {"run": 2}}
    history.add("one more", {})
    assert history.get("first") == {}
    assert len(history.page()) == MAXIMUM_HISTORY_ENTRIES
