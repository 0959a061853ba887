"""What JSON from outside may look like."""

from __future__ import annotations

import time
from typing import Any

import pytest

from comfypod.schema.limits import MAXIMUM_DEPTH, MAXIMUM_VALUES, find_excess


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            {"workflow": {"3": {"inputs": {"cfg": float("nan")}}}},
            "workflow.3.inputs.cfg: must be a finite number, not nan",
        ),
        ({"a": [1, float("inf")]}, "a[1]: must be a finite number, not inf"),
        ({"seed": 2**64}, "seed: must be a whole number of at most 64 bits"),
        (nested(MAXIMUM_DEPTH + 1), "is nested more than 100 deep"),
        (nested(100_000), "is nested more than 100 deep"),
        ([0] * MAXIMUM_VALUES, "input: holds more than 1,000,000 values"),
    ],
)
def test_what_no_part_can_take_is_named_with_its_path(document: Any, says: str) -> None:
    begun = time.process_time()
    (problem,) = find_excess(document)
    assert says in problem
    problem.encode()
    assert time.process_time() - begun < 5


def test_what_people_send_passes() -> None:
    assert list(find_excess({"a": [1.5, "ß 狐 🦊", None, True, {"seed": 2**64 - 1}], "b": nested(90)})) == []
