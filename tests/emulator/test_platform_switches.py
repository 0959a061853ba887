"""Switches and rate limits as an operator sets them."""

from __future__ import annotations

import pytest

from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.rates import RateLimit, RateLimits, RateMeter, TooManyRequests
from comfypod.emulator.platform.switches import Switches


def test_switches_are_set_by_name_and_the_others_keep_their_defaults() -> None:
    switches = Switches.parse(["late_progress=overwrites", "purged_jobs=CANCELLED", "purged_jobs=gone"])
    assert (switches.late_progress, switches.purged_jobs) == ("overwrites", "gone")
    assert Switches.parse([]) == Switches()
    for name, values in Switches.choices().items():
        assert getattr(Switches(), name) == values[0], "the default is named first"
        for value in values:
            assert getattr(Switches.parse([f"{name}={value}"]), name) == value
        assert Switches.meanings()[name]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("late_progress", "NAME=VALUE"),
        ("late=1", "there are execution_timeout, late_progress"),
        ("late_progress=maybe", "ignored or overwrites"),
        ("refused_retry=200", "400 or 404 or 409"),
    ],
)
def test_wrong_switch_is_refused_with_those_there_are(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Switches.parse([setting])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.fact("A9-rate-limits")
def test_requests_beyond_the_limit_of_a_window_are_refused_until_it_has_moved_on() -> None:
    clock = Clock()
    meter = RateMeter(RateLimits(by_operation={"cancel": RateLimit(2), "run": RateLimit(1)}), clock)
    for moment in (0.0, 4.0):
        clock.now = moment
        with meter.admit("cancel"):
            pass
    for moment, is_refused in ((4.0, True), (9.9, True), (10.0, False), (13.9, True), (14.0, False)):
        clock.now = moment
        try:
            with meter.admit("cancel"):
                assert not is_refused, moment
        except TooManyRequests as error:
            assert is_refused, moment
            assert "2 requests to /cancel within 10 s" in str(error)
    with meter.admit("run"), meter.admit("health"):
        pass


@pytest.mark.fact("A9-rate-limits")
def test_requests_at_the_same_time_are_limited_until_one_is_answered() -> None:
    meter = RateMeter(RateLimits(by_operation={"runsync": RateLimit(100, concurrent=1)}), Clock())
    with meter.admit("runsync"), pytest.raises(TooManyRequests, match="are being answered"), meter.admit("runsync"):
        pass
    with pytest.raises(ZeroDivisionError), meter.admit("runsync"):
        _ = 1 / 0
    with meter.admit("runsync"):
        pass


@pytest.mark.fact("A9-rate-limits")
def test_limits_are_runpods_unless_told_otherwise() -> None:
    limits = PlatformOptions().rate_limits
    assert limits is not None
    assert limits.window_seconds == 10
    assert {name: (limit.requests, limit.concurrent) for name, limit in limits.by_operation.items()} == {
        "runsync": (2000, 400),
        "run": (1000, 200),
        "status": (2000, 400),
        "stream": (2000, 400),
        "cancel": (100, 20),
        "purge-queue": (2, None),
        "requests": (10, 2),
    }
