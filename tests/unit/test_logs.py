"""Where events are written to."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest

from comfypod import logs
from comfypod.settings import Settings


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    before = logs.log.handlers[:], logs.log.level, logs.log.propagate
    yield
    logs.log.handlers[:], logs.log.propagate = before[0], before[2]
    logs.log.setLevel(before[1])


def test_events_go_to_the_stderr_of_the_moment() -> None:
    first, second = io.StringIO(), io.StringIO()
    with redirect_stderr(first):
        logs.configure(Settings())
        logs.event("one", logging.WARNING)
    assert "one" in first.getvalue()
    first.close()  # as a runner of commands closes its own
    with redirect_stderr(second):
        logs.event("two", logging.WARNING, size=2)
    assert second.getvalue().endswith("WARNING two size=2\n")
