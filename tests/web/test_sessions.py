"""Who is who, and how much each may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfypod.errors import ConfigurationError, TooMany, WrongToken
from comfypod.web.site.sessions import SIGNED_IN_SECONDS, Session, Sessions, load_key
from comfypod.web.site.visitors import Pace, Places, VisitorPace, network_of

KEY = b"k" * 32
TOKEN = "0123456789abcdef"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.moment = 1_000_000.0

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_cookie_brings_the_same_visitor_back(clock: Clock) -> None:
    sessions = Sessions(KEY, TOKEN, clock)
    visitor = sessions.new_visitor()
    assert visitor != sessions.new_visitor()
    assert sessions.of_browser(sessions.cookie(visitor)) == visitor
    assert not sessions.is_in(visitor)
    signed_in = sessions.sign_in(visitor, TOKEN)
    assert signed_in.visitor_id == visitor.visitor_id
    assert sessions.is_in(sessions.of_browser(sessions.cookie(signed_in)))
    assert not sessions.is_in(None)


def test_a_sign_in_lasts_a_month_after_the_last_visit(clock: Clock) -> None:
    sessions = Sessions(KEY, TOKEN, clock)
    session = sessions.sign_in(sessions.new_visitor(), TOKEN)
    clock.moment += SIGNED_IN_SECONDS - 1
    assert sessions.is_in(session)
    renewed = sessions.renewed(session)
    clock.moment += 2
    assert not sessions.is_in(session)
    assert sessions.is_in(renewed)
    assert not sessions.is_in(sessions.renewed(session)), "who is out does not come in by being seen"


@pytest.mark.parametrize("place", range(4))
def test_a_cookie_that_was_changed_is_nobodys(place: int) -> None:
    sessions = Sessions(KEY, TOKEN)
    parts = sessions.cookie(sessions.sign_in(sessions.new_visitor(), TOKEN)).split(".")
    parts[place] = ("1" if parts[place][0] == "0" else "0") + parts[place][1:]
    assert sessions.of_browser(".".join(parts)) is None


@pytest.mark.parametrize("cookie", ["", ".", "a.b.c.d", "../../etc/passwd", "\udcff", "0" * 500])
def test_no_other_text_is_a_cookie(cookie: str) -> None:
    assert Sessions(KEY, None).of_browser(cookie) is None


def test_cookies_of_another_server_are_nobodys() -> None:
    cookie = Sessions(b"x" * 32, TOKEN).cookie(Session("0" * 32, 9_999_999_999))
    assert Sessions(KEY, TOKEN).of_browser(cookie) is None


def test_another_token_signs_everybody_out_and_visitors_stay_themselves() -> None:
    before, after = Sessions(KEY, TOKEN), Sessions(KEY, f"{TOKEN}-new")
    session = before.sign_in(before.new_visitor(), TOKEN)
    again = after.of_browser(before.cookie(session))
    assert again == Session(session.visitor_id)
    assert not after.is_in(again)
    assert Sessions(KEY, None).is_in(again), "where there is no token, everybody is in"


@pytest.mark.parametrize("given", ["", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "\udcff"])
def test_another_token_is_refused(given: str) -> None:
    sessions = Sessions(KEY, TOKEN)
    with pytest.raises(WrongToken):
        sessions.sign_in(sessions.new_visitor(), given)
    with pytest.raises(WrongToken):
        sessions.of_program(f"Bearer {given}")
    with pytest.raises(WrongToken):
        Sessions(KEY, None).sign_in(sessions.new_visitor(), given)


def test_programs_bring_the_token_and_are_one_visitor() -> None:
    sessions = Sessions(KEY, TOKEN)
    program = sessions.of_program(f"bearer {TOKEN}")
    assert sessions.is_in(program)
    assert program is not None
    assert program.visitor_id == sessions.programs.visitor_id == Sessions(KEY, None).programs.visitor_id
    assert program.visitor_id != Sessions(b"x" * 32, TOKEN).programs.visitor_id
    assert sessions.of_program("Basic YTpi") is None, "a proxy's own password"


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    key = load_key(tmp_path)
    assert len(key) == 32
    assert load_key(tmp_path) == key
    file = tmp_path / "cookies.key"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(key[:-1])
    with pytest.raises(ConfigurationError, match=r"cookies\.key is damaged"):
        load_key(tmp_path)
    with pytest.raises(ConfigurationError, match="--data"):
        load_key(tmp_path / "missing")


def test_a_pace_allows_a_burst_and_then_one_at_a_time(clock: Clock) -> None:
    pace = Pace("runs", 3, 60.0, clock)
    for _ in range(3):
        pace.take("a")
    with pytest.raises(TooMany) as refusal:
        pace.take("a")
    assert refusal.value.retry_after_seconds == pytest.approx(20.0)
    pace.take("b")
    clock.moment += 20
    pace.take("a")
    with pytest.raises(TooMany):
        pace.check("a")
    clock.moment += 60
    for _ in range(3):
        pace.take("a")


def test_an_address_with_several_visitors_has_a_limit_of_its_own(clock: Clock) -> None:
    pace = VisitorPace("runs", 2, clock)
    for number in range(8):
        pace.take(f"visitor {number}", "10.0.0.1")
    with pytest.raises(TooMany, match="your address"):
        pace.take("visitor 9", "10.0.0.1")
    pace.take("visitor 9", "10.0.0.2")
    pace.take("visitor 9", "10.0.0.2")
    with pytest.raises(TooMany):
        pace.take("visitor 9", "10.0.0.3")


def test_paces_do_not_remember_everybody_for_ever(clock: Clock) -> None:
    pace = Pace("runs", 1, 60.0, clock)
    for number in range(25_000):
        pace.take(str(number))
    assert len(pace._free_at) <= 10_000
    with pytest.raises(TooMany):
        pace.take("24999")


def test_places_are_given_back_whatever_happens() -> None:
    places = Places("streams", 1)

    def fail() -> None:
        with places.one("a"), places.one("b"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with places.one("a"), pytest.raises(TooMany, match="streams"), places.one("a"):
        pytest.fail("there is no second place")
    with places.one("a"):
        pass


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
