"""``comfypod web`` as a process: what it refuses to start with, how it ends, and who sees its secrets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from comfypod.cli.exit_codes import ExitCode
from tests.cli.conftest import SECONDS, CommandLine, ScriptedEndpoint, until

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef-token"


def ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready http://"), process.communicate(timeout=SECONDS)
    return line.removeprefix("ready ").strip()


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as answer:  # noqa: S310
        return bytes(answer.read())


def test_it_serves_until_it_is_told_to_end(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = ("hold",)
    process = comfypod.start("web", "--port", "0")
    url = ready_url(process)
    assert b"<html" in get(url)
    run = urllib.request.Request(  # noqa: S310
        f"{url}api/runs",
        b'{"workflow": {"1": {"class_type": "A", "inputs": {}}}}',
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(run, timeout=SECONDS) as answer:  # noqa: S310
        run_id = json.load(answer)["id"]
    stream = urllib.request.urlopen(f"{url}api/events", timeout=SECONDS)  # noqa: S310
    until(lambda: bool(endpoint.inputs), "the job to be run")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ended = comfypod.end(process)
    assert time.monotonic() - began < 5
    stream.close()
    assert ended.code == ExitCode.SUCCESS, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    again = comfypod.start("web", "--port", "0")
    assert json.loads(get(f"{ready_url(again)}api/runs/{run_id}"))["state"] in {"queued", "running"}
    again.send_signal(signal.SIGINT)
    assert comfypod.end(again).code == ExitCode.SUCCESS


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--host", "0.0.0.0"], {}, "COMFYPOD_WEB_TOKEN"),  # noqa: S104
        (["--trust-proxy"], {}, "COMFYPOD_WEB_TOKEN"),
        (["--allow-host", "a.example"], {"COMFYPOD_WEB_TOKEN": "short"}, "too short"),
        (["--allow-host", "http://a.example"], {"COMFYPOD_WEB_TOKEN": TOKEN}, "--allow-host"),
        (["--base-path", "/a b"], {}, "base path"),
        (["--host", "203.0.113.1"], {"COMFYPOD_WEB_TOKEN": TOKEN}, "--host and --port"),
        (["--data", "/proc/none"], {}, "--data"),
        ([], {"RUNPOD_API_KEY": ""}, "RUNPOD_API_KEY"),
        ([], {"RUNPOD_ENDPOINT_ID": ""}, "--endpoint"),
    ],
)
def test_it_says_why_it_does_not_start(
    comfypod: CommandLine, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    ended = comfypod("web", "--port", "0", *arguments, **environment)
    assert ended.code == ExitCode.USAGE, ended.stderr
    assert ended.stdout == ""
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("configuration: ")
    assert words in last
    assert "Traceback" not in ended.stderr
    assert "s3cret-key" not in ended.stderr
    assert TOKEN not in ended.stderr


def test_a_port_that_is_taken_is_named(comfypod: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = comfypod("web", "--port", str(port))
    assert ended.code == ExitCode.USAGE
    assert f"127.0.0.1:{port}" in ended.stderr.splitlines()[-1]


def test_one_server_at_a_time_uses_a_folder(comfypod: CommandLine) -> None:
    process = comfypod.start("web", "--port", "0", "--data", "data")
    ready_url(process)
    folder = comfypod.folder / "data"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "cookies.key").stat().st_mode & 0o777 == 0o600
    ended = comfypod("web", "--port", "0", "--data", "data")
    assert ended.code == ExitCode.USAGE
    assert "Another server" in ended.stderr.splitlines()[-1]


def test_the_page_lies_where_it_is_told(comfypod: CommandLine) -> None:
    url = ready_url(comfypod.start("web", "--port", "0", "--base-path", "pictures", COMFYPOD_WEB_TOKEN=TOKEN))
    assert url.endswith("/pictures/")
    assert b"<html" in get(url)
    session = json.loads(get(f"{url}api/session", Authorization=f"Bearer {TOKEN}"))
    assert session["is_signed_in"] is True


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes' environments are read from /proc")
def test_no_process_shows_the_secrets_to_other_users(comfypod: CommandLine) -> None:
    for name in ("rp_handler.py", "models.toml", "workflows"):
        (comfypod.folder / name).symlink_to(ROOT / name)
    process = comfypod.start("web", "--local", "--port", "0", COMFYPOD_WEB_TOKEN=TOKEN)
    ready_url(process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) > 1
    for member in family:
        arguments = " ".join(member.cmdline())
        assert "key" not in arguments.lower(), arguments
        assert TOKEN not in arguments
        if member.pid != process.pid:
            assert TOKEN not in " ".join(member.environ().values()), arguments
    process.send_signal(signal.SIGTERM)
    assert comfypod.end(process).code == ExitCode.SUCCESS
    until(lambda: not any(member.is_running() for member in family), "all of them to end")


def test_without_what_it_needs_it_says_what_to_install(comfypod: CommandLine) -> None:
    script = (
        "import sys\n"
        "sys.modules['aiohttp'] = None\n"
        "sys.argv = ['comfypod', 'web']\n"
        "from comfypod.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={**comfypod.full_environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=comfypod.folder,
        timeout=SECONDS,
    )
    assert done.returncode == ExitCode.USAGE
    assert "pip install 'comfypod[web]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_option_is_documented(nowhere: CommandLine) -> None:
    page = (ROOT / "docs" / "reference" / "web.md").read_text(encoding="utf-8")
    shown = nowhere("web", "--help", COLUMNS="200").stdout
    options = {word.strip("│,") for word in shown.split() if word.startswith("--")} - {"--help"}
    assert len(options) > 12
    for option in options:
        assert f"`{option}" in page, option
    assert "--api-key" not in shown
