"""Which state may follow which."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from comfypod.master.states import ACTIVE, DIAGRAM, ENDED, State, followers, predecessors

STATES: tuple[State, ...] = get_args(State)


def test_every_state_is_active_or_ended() -> None:
    assert set(ACTIVE) | set(ENDED) == set(STATES)
    assert not set(ACTIVE) & set(ENDED)


@pytest.mark.parametrize("state", STATES)
def test_both_directions_say_the_same(state: State) -> None:
    assert all(state in predecessors(after) for after in followers(state))
    assert all(state in followers(before) for before in predecessors(state))


@pytest.mark.parametrize("state", ACTIVE)
def test_what_is_active_can_end_in_every_way(state: State) -> None:
    assert set(ENDED) <= set(followers(state))


def test_what_succeeded_stays() -> None:
    assert followers("succeeded") == ()


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_did_not_can_be_replayed_and_nothing_else(state: State) -> None:
    assert followers(state) == ("queued",)


def test_the_diagram_shows_every_transition() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+)", DIAGRAM, re.MULTILINE)) - {("submitting", "submitting")}
    of_active = {(before, after) for before, after in drawn if before == "active"}
    told = (drawn - of_active) | {(state, after) for state in ACTIVE for _, after in of_active}
    known = {(before, after) for before in STATES for after in followers(before)} - {("submitting", "submitting")}
    assert told == known
