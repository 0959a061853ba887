"""``comfypod top``: what it shows of a local RunPod, of the real one, and of whoever answers with nonsense."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from typing import Any

import pyte
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from comfypod.cli.top import Observer, observed_connection
from comfypod.cli.top_view import picture
from comfypod.cloud.configuration import Connection
from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.platform.requests import JobRequest
from comfypod.emulator.runpod import RunPodEmulator
from comfypod.errors import AuthenticationFailed, CloudUnavailable, ConfigurationError, EndpointNotFound

STATE: dict[str, Any] = {
    "emulated": True,
    "endpoint_id": "local",
    "uptime_seconds": 75.0,
    "queue": {"waiting": 8, "low_priority": 1, "longest_wait_seconds": 4.2},
    "jobs": {"completed": 3, "failed": 1, "retried": 0, "cancelled": 0, "inProgress": 1, "inQueue": 8},
    "workers": [
        {
            "id": "local-0123456789abcdef",
            "state": "running",
            "pid": 123,
            "job_ids": ["job-1"],
            "age_seconds": 12.34,
            "billed_seconds": 13,
            "dollars": 0.00403,
        }
    ],
    "spend": {"billed_seconds": 14, "dollars": 0.00434, "price_per_second": 0.00031},
    "scaling": {"scaler": "QUEUE_DELAY", "value": 4, "min": 0, "max": 3, "wanted": 2},
    "recent_jobs": [
        {
            "id": "job-1",
            "status": "IN_PROGRESS",
            "workerId": "local-0123456789abcdef",
            "delayTime": 1500,
            "executionTime": 90_500,
            "retries": 1,
            "age_seconds": 3.0,
            "progress": {"value": 0.5, "message": "KSampler step 5 of 10", "stage": "execute"},
        }
    ],
}


def shown(document: Any, width: int = 140, **options: Any) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(picture(document, **options))
    console.file.close()
    return console.export_text()


def test_everything_that_matters_is_in_the_picture() -> None:
    text = shown(STATE)
    for words in (
        "endpoint local",
        "a local emulation of RunPod, not RunPod itself",
        "8 waiting, 1 of low priority, the longest 4.2 s",
        "1 running, 3 completed, 1 failed",
        "2 wanted, 0 to 3 allowed (QUEUE_DELAY, 4 s)",
        "$0.00434 for 14 s of workers at $0.00031 a second",
        "local-0123456789abcdef running 123 job-1",
        "12.3 s 13 s   $0.00403",
        "1 min 30 s",
        "KSampler step 5 of 10",
    ):
        assert " ".join(words.split()) in " ".join(text.split()), words
    assert "━" * 7 in text, "a bar"


@pytest.mark.parametrize("width", [20, 80, 300])
def test_it_fits_terminals_of_every_width(width: int) -> None:
    assert max(map(len, shown(STATE, width).splitlines())) <= width


def test_it_is_no_higher_than_the_terminal() -> None:
    many = {**STATE, "recent_jobs": STATE["recent_jobs"] * 50}
    assert len(shown(many, lines=30).splitlines()) <= 30


def test_words_from_elsewhere_neither_steer_the_terminal_nor_count_as_markup() -> None:
    [job] = STATE["recent_jobs"]
    hostile = "[red]\x1b[2J\x1b]0;title\x07[/red] [link=http://x]y"
    workers = [{**STATE["workers"][0], "id": hostile, "state": hostile, "job_ids": [hostile]}]
    jobs = [{**job, "id": hostile, "status": hostile, "progress": {"value": 0.1, "message": hostile}}]
    text = shown({**STATE, "endpoint_id": hostile, "workers": workers, "recent_jobs": jobs}, problem=hostile)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]" in text


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"emulated": True, "workers": "many", "recent_jobs": [1, None], "queue": [], "spend": None, "scaling": 5},
        {**STATE, "recent_jobs": [{"status": 5, "progress": {"value": "x"}, "delayTime": float("inf")}]},
        {**STATE, "spend": {"dollars": 10**400, "billed_seconds": float("nan")}},
        {"health": {"workers": [1], "jobs": {"completed": "many"}}},
    ],
)
def test_nonsense_is_shown_as_nothing(nonsense: dict[str, Any]) -> None:
    assert "comfypod top" in shown(nonsense)


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ((None, None, None), {}, ("http://127.0.0.1:8000/v2/local", "local")),
        ((None, None, None), {"COMFYPOD_LOCAL_API_KEY": "own"}, ("http://127.0.0.1:8000/v2/local", "own")),
        ((None, None, None), {"RUNPOD_API_KEY": "real"}, ("http://127.0.0.1:8000/v2/local", "real")),
        (("e1", None, None), {"RUNPOD_API_KEY": "real"}, ("https://api.runpod.ai/v2/e1", "real")),
        ((None, None, None), {"RUNPOD_ENDPOINT_ID": "e2", "RUNPOD_API_KEY": "k"}, ("https://api.runpod.ai/v2/e2", "k")),
        (
            ("e1", "given", "http://localhost:1/v2"),
            {"COMFYPOD_LOCAL_API_KEY": "own"},
            ("http://localhost:1/v2/e1", "given"),
        ),
        (
            ("e1", None, "https://elsewhere.example/v2"),
            {"COMFYPOD_LOCAL_API_KEY": "own", "RUNPOD_API_KEY": "real"},
            ("https://elsewhere.example/v2/e1", "real"),
        ),
    ],
)
def test_where_it_looks_and_with_which_key(
    given: tuple[str | None, str | None, str | None], environment: dict[str, str], expected: tuple[str, str]
) -> None:
    connection = observed_connection(*given, environment)
    assert (connection.url, connection.api_key) == expected


def test_the_local_key_is_never_sent_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="no API key"):
        observed_connection("e1", None, "https://elsewhere.example/v2", {"COMFYPOD_LOCAL_API_KEY": "own"})


def observed(connection: Connection) -> Any:
    with Observer(connection) as observer:
        observer.look()
        return observer.look()


@pytest.fixture
async def emulator() -> AsyncIterator[RunPodEmulator]:
    """A local RunPod with a job that waits and a worker that does not come up."""
    fleet = FleetOptions(command=["sleep", "600"], max_workers=1, stop_seconds=0.1)
    async with RunPodEmulator(fleet=fleet) as emulator:
        emulator.jobs.submit(JobRequest({"n": 1}, 60, 60))
        yield emulator


def connection_to(emulator: RunPodEmulator, key: str = "local") -> Connection:
    return Connection("local", key, emulator.base_url)


async def test_the_emulator_tells_everything(emulator: RunPodEmulator) -> None:
    async with asyncio.timeout(5):
        while not (state := await asyncio.to_thread(observed, connection_to(emulator)))["workers"]:
            await asyncio.sleep(0.02)
    assert state["emulated"] is True
    assert state["queue"]["waiting"] == 1
    assert [worker["state"] for worker in state["workers"]] == ["initializing"]


async def test_another_endpoint_than_the_emulators_is_not_shown_as_if_it_were_there(emulator: RunPodEmulator) -> None:
    with pytest.raises(EndpointNotFound, match="other"):
        await asyncio.to_thread(observed, Connection("other", "local", emulator.base_url))


async def test_a_wrong_key_is_told(emulator: RunPodEmulator) -> None:
    with pytest.raises(AuthenticationFailed):
        await asyncio.to_thread(observed, connection_to(emulator, "wrong"))


HEALTH = {"jobs": {"completed": 31, "failed": 0}, "workers": {"idle": 1, "throttled": 2}}


async def look_at(handler: Callable[[web.Request], Any]) -> Any:
    """What is seen of a server that answers every request so."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(application) as server:
        return await asyncio.to_thread(observed, Connection("e1", "key", str(server.make_url("/v2"))))


@pytest.mark.parametrize("other", [web.Response(status=404), web.Response(text="<html>"), web.json_response([])])
async def test_of_the_real_runpod_health_is_shown(other: web.Response) -> None:
    asked = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/v2/e1/health":
            return web.json_response(HEALTH)
        return web.Response(status=other.status, body=other.body, content_type="text/plain")

    document = await look_at(answer)
    assert document["health"] == HEALTH
    text = " ".join(shown(document).split())
    assert "31 completed, 0 failed" in text
    assert "1 idle, 2 throttled" in text
    assert "emulation" not in text
    assert asked == ["/emulator/state", "/v2/e1/health", "/v2/e1/health"], "it is not asked again for what it lacks"


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationFailed), (404, EndpointNotFound), (503, CloudUnavailable)]
)
async def test_refusals_are_told_as_what_they_are(status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        await look_at(lambda _: web.Response(status=status))


# The command, as a process.


def arguments(emulator: RunPodEmulator, *more: str) -> list[str]:
    return ["-m", "comfypod", "top", "--base-url", emulator.base_url, *more]


async def run(*command: str) -> tuple[int | None, str, str]:
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, **pipes)
    stdout, stderr = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, stdout.decode(), stderr.decode()


async def test_once_prints_one_picture_without_colours(emulator: RunPodEmulator) -> None:
    for more in (["--once"], []):  # without a terminal there is nothing that could be refreshed
        code, stdout, _ = await run(*arguments(emulator, *more))
        assert code == 0
        assert "\x1b" not in stdout
        assert "1 waiting" in stdout


async def test_json_prints_the_document(emulator: RunPodEmulator) -> None:
    code, stdout, _ = await run(*arguments(emulator, "--json"))
    document = json.loads(stdout)
    assert (code, document["endpoint_id"], document["job_count"]) == (0, "local", 1)


async def test_failures_end_in_one_sentence(emulator: RunPodEmulator) -> None:
    code, stdout, stderr = await run(*arguments(emulator, "--once", "--api-key", "wrong"))
    assert (code, stdout) == (2, "")
    assert stderr.startswith("authentication_failed: ")
    code, stdout, stderr = await run("-m", "comfypod", "top", "--base-url", "http://127.0.0.1:9/v2")
    assert (code, stdout) == (1, "")
    assert stderr.startswith("cloud_unavailable: http://127.0.0.1:9/emulator")
    assert stderr.count("\n") == 1


class Terminal:
    """A process at a terminal, and what is on its screen."""

    def __init__(self, columns: int = 100, lines: int = 30) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.set_blocking(self._master, False)
        self.process: asyncio.subprocess.Process

    async def start(self, *command: str) -> None:
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), self._slave)
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.process = await asyncio.create_subprocess_exec(sys.executable, *command, **ends, env=environment)
        os.close(self._slave)

    async def until(self, words: str) -> None:
        async with asyncio.timeout(20):
            while words not in " ".join(" ".join(self.screen.display).split()):
                self._read()
                await asyncio.sleep(0.02)

    def _read(self) -> None:
        try:
            self._stream.feed(os.read(self._master, 65536))
        except BlockingIOError:
            return

    async def end(self) -> int:
        """Ctrl-C; what is still written is read, or the process would wait."""
        self.process.send_signal(signal.SIGINT)
        waiting = asyncio.create_task(self.process.wait())
        try:
            async with asyncio.timeout(20):
                while not waiting.done():
                    try:
                        self._read()
                    except OSError:  # the other end is closed
                        break
                    await asyncio.sleep(0.02)
                return await waiting
        finally:
            if self.process.returncode is None:
                self.process.kill()
            os.close(self._master)


async def test_at_a_terminal_it_follows_the_endpoint_until_ctrl_c(emulator: RunPodEmulator) -> None:
    terminal = Terminal()
    await terminal.start(*arguments(emulator))
    await terminal.until("1 waiting")
    await terminal.until("initializing")
    emulator.jobs.submit(JobRequest({"n": 2}, 60, 60))
    await terminal.until("2 waiting")
    await emulator.stop()
    await terminal.until("Not up to date")
    await terminal.until("2 waiting")  # the last that is known
    assert await terminal.end() == 0
