"""What is read of a plan that somebody wrote, or changed, is checked to its smallest parts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from comfypod.batch.documents import Share, Signature

SHARES = TypeAdapter(tuple[Share, ...])
WRITTEN: dict[str, Any] = {"signature": {"bases": ["checkpoints/a"], "patches": ["loras/b"]}, "items": 2, "work": 1.5}


def test_shares_are_read_as_they_were_written() -> None:
    shares = (Share(Signature(("checkpoints/a",), ("loras/b",)), 2, 1.5),)
    assert SHARES.dump_python(shares, mode="json") == [WRITTEN]
    assert SHARES.validate_json(SHARES.dump_json(shares)) == shares


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"items": 0}, "items"),
        ({"work": 0}, "work"),
        ({"more": 1}, "more"),
        ({"signature": {"bases": ["a"], "more": 1}}, "signature.more"),
        ({"signature": {"patches": []}}, "signature.bases"),
    ],
)
def test_a_share_that_cannot_be_is_named(change: dict[str, Any], names: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SHARES.validate_python([WRITTEN | change])
    assert [".".join(map(str, error["loc"][1:])) for error in caught.value.errors()] == [names]
