"""Where a server listens, and what it is called by a program beside it."""

from __future__ import annotations

import socket

import pytest
from aiohttp import ClientSession, web

from comfypod.errors import ConfigurationError
from comfypod.listening import is_loopback, listen, url_from_here


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("localhost", "http://localhost:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 (not listened at)
        ("", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("fd00::7", "http://[fd00::7]:80"),
    ],
)
def test_a_program_beside_it_finds_a_server(host: str, url: str) -> None:
    assert url_from_here(host, 80) == url


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "localhost.example.com"])  # noqa: S104
def test_what_others_may_reach(host: str) -> None:
    assert not is_loopback(host)


async def test_any_free_port_is_told() -> None:
    runner = web.AppRunner(web.Application())
    port = await listen(runner, "127.0.0.1", 0, clause="It cannot listen", options="--port")
    async with ClientSession() as session, session.get(url_from_here("127.0.0.1", port)) as answer:
        assert answer.status == 404
    await runner.cleanup()


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
async def test_an_address_that_cannot_be_had_is_told_with_the_option_to_change(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runner = web.AppRunner(web.Application())
        with pytest.raises(ConfigurationError, match=rf"^It cannot listen at {host}:{port} \(.+\); see --port\.$"):
            await listen(runner, host, port, clause="It cannot listen", options="--port")
        assert runner.server is None, "nothing of it is left"
