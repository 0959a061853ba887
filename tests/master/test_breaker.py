"""When an endpoint is asked, and when it is left alone."""

from __future__ import annotations

from comfypod.master.breaker import FAILURES, FIRST_OPEN_SECONDS, LONGEST_OPEN_SECONDS, Breaker
from comfypod.master.webhook_token import is_webhook_token, webhook_token, webhook_url


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    breaker.failed(now, at_once=True)
    return breaker


def test_it_opens_after_some_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
        assert breaker.take(0.0)
    breaker.failed(0.0)
    assert not breaker.take(FIRST_OPEN_SECONDS - 0.1)


def test_half_open_one_may_try_at_a_time() -> None:
    breaker = opened()
    assert breaker.take(FIRST_OPEN_SECONDS)
    assert not breaker.take(FIRST_OPEN_SECONDS)
    breaker.give_back()
    assert breaker.take(FIRST_OPEN_SECONDS)
    breaker.succeeded()
    assert breaker.state(FIRST_OPEN_SECONDS) == "closed"
    assert breaker.take(FIRST_OPEN_SECONDS)
    assert breaker.take(FIRST_OPEN_SECONDS)


def test_each_try_in_vain_makes_it_wait_longer() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(8):
        assert breaker.open_until is not None
        waits.append(breaker.open_until - now)
        now = breaker.open_until
        assert breaker.take(now)
        breaker.failed(now)
    assert waits[:3] == [FIRST_OPEN_SECONDS, 2 * FIRST_OPEN_SECONDS, 4 * FIRST_OPEN_SECONDS]
    assert waits[-1] == LONGEST_OPEN_SECONDS


def test_a_call_that_passed_before_it_opened_changes_nothing() -> None:
    breaker = opened()
    until = breaker.open_until
    breaker.failed(1.0)
    assert breaker.open_until == until


def test_only_its_own_token_belongs_to_a_key() -> None:
    secret = b"s" * 32
    token = webhook_token(secret, "a" * 32)
    assert is_webhook_token(secret, "a" * 32, token)
    assert not is_webhook_token(secret, "b" * 32, token)
    assert not is_webhook_token(b"t" * 32, "a" * 32, token)
    assert not is_webhook_token(secret, "a" * 32, "\udc80")
    assert webhook_url("https://x.test/", secret, "a" * 32) == f"https://x.test/hooks/runpod/{'a' * 32}/{token}"
