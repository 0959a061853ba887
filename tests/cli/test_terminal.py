"""What a person sees: the bar, the previews, and nothing that a worker could do to the terminal."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import HOLD, CommandLine, ScriptedEndpoint, artifact, failure, success, update
from tests.cli.terminal import Terminal, knows_kitty, knows_sixels

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m[bold red]red[/]\r\n\x9b5mblink\u202e"
FORBIDDEN = (b"\x1b]0;", b"\x1b[2J", b"owned\x07", "\x9b".encode(), "\u202e".encode())

Run = Callable[..., Terminal]


@pytest.fixture
def run(comfypod: CommandLine) -> Iterator[Run]:
    """Run a command on a terminal with 24-bit colour."""
    terminals: list[Terminal] = []

    def start(*arguments: str, options: dict[str, Any] | None = None, **environment: str) -> Terminal:
        whole = comfypod.full_environment(COLORTERM="truecolor", **environment)
        terminals.append(Terminal(*arguments, folder=comfypod.folder, environment=whole, **(options or {})))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def picture(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (64, 64)) -> dict[str, Any]:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "JPEG")
    return {
        "node_id": "3",
        "content_type": "image/jpeg",
        "data_base64": base64.b64encode(content.getvalue()).decode(),
    }


def test_a_bar_moves_and_ends_as_one_line(run: Run, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.42, "KSampler 8/20", eta_seconds=3.0), success(artifact(b"x")))
    terminal = run("run", "--prompt", "a fox")
    terminal.read_until(lambda: any("42%" in line for line in terminal.lines), "the bar")
    (bar,) = [line for line in terminal.lines if "42%" in line]
    for part in ("Running", "━", "KSampler 8/20", "3 s left"):
        assert part in bar
    assert terminal.end() == 0
    assert [line for line in terminal.lines if "%" in line] == [line for line in terminal.lines if "Done" in line]
    assert len([line for line in terminal.lines if "100%" in line]) == 1
    assert any(line.startswith("outputs/") for line in terminal.lines)


def test_ctrl_c_on_the_keyboard_cancels(run: Run, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.3, "KSampler 3/10"), HOLD)
    terminal = run("run", "--prompt", "a fox")
    terminal.read_until(lambda: any("30%" in line for line in terminal.lines), "the bar")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    (cancelled,) = [line for line in terminal.lines if "CANCELLED" in line]
    assert endpoint.state(cancelled.split()[1].rstrip(":")) == "CANCELLED"


@pytest.mark.parametrize(
    "environment", [{"TERM_HERE": "dumb"}, {"TERM_HERE": "dumb", "FORCE_COLOR": "1"}], ids=["dumb", "forced"]
)
def test_a_dumb_terminal_gets_plain_lines(run: Run, endpoint: ScriptedEndpoint, environment: dict[str, str]) -> None:
    endpoint.script = (update(0.42, "KSampler 8/20"), success(artifact(b"x")))
    terminal = run("run", "--prompt", "a fox", "--previews", **environment)
    assert terminal.end() == 0
    assert b"\x1b" not in terminal.written
    assert any("42%" in line for line in terminal.lines)


def test_a_pipe_gets_plain_lines_even_if_colour_is_forced(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.42, "KSampler 8/20", preview=picture()), success(artifact(b"x")))
    ended = comfypod("run", "--prompt", "a fox", "--previews", FORCE_COLOR="1", TTY_INTERACTIVE="1")
    assert ended.code == 0
    assert "\x1b[2K" not in ended.stderr
    assert "\x1b[1A" not in ended.stderr
    assert "▀" not in ended.stderr
    assert "no terminal that can show previews" in ended.stderr


def assert_harmless(terminal: Terminal) -> None:
    for sequence in FORBIDDEN:
        assert sequence not in terminal.written
    assert terminal.title == ""


def test_a_hostile_worker_cannot_steer_the_terminal(run: Run, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (
        update(0.42, HOSTILE, stage=HOSTILE, preview={"node_id": HOSTILE, "data_base64": HOSTILE}),
        success(
            artifact(b"x", filename=f"a{HOSTILE}.png"),
            texts=[{"value": f"{HOSTILE}\nsecond line"}],
            warnings=[HOSTILE],
            seeds={HOSTILE: 1},
            timings={"total_ms": HOSTILE},
        ),
    )
    terminal = run("run", "--prompt", "a fox")
    terminal.read_until(lambda: any("[bold red]red" in line for line in terminal.lines), "its words, as they are")
    assert terminal.end() == 0
    assert_harmless(terminal)
    assert "second line" in terminal.lines


def test_a_hostile_failure_cannot_steer_the_terminal(run: Run, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (failure(HOSTILE, HOSTILE),)
    terminal = run("run", "--prompt", "a fox")
    assert terminal.end() == 3
    assert_harmless(terminal)
    job_id = next(line.split()[1] for line in terminal.lines if line.startswith("Job "))
    status = run("status", job_id)
    assert status.end() == 0
    assert_harmless(status)


def test_a_text_goes_into_a_pipe_as_it_is(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (success(artifact(b"x"), texts=[{"value": HOSTILE}]),)
    ended = comfypod("run", "--prompt", "a fox", "--quiet")
    assert "\x1b[2J" in ended.stdout


def test_previews_in_half_blocks_are_replaced_and_then_gone(run: Run, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (
        update(0.2, "one", preview=picture((200, 30, 30))),
        update(0.3, "broken", preview={"content_type": "image/png", "data_base64": "AAAA"}),
        update(0.4, "two", preview=picture((30, 30, 200))),
        success(artifact(b"x")),
    )
    terminal = run("run", "--prompt", "a fox", "--previews")
    terminal.read_until(lambda: any(is_near(colour, (200, 30, 30)) for colour in terminal.colours("▀")), "red")
    assert len([line for line in terminal.lines if "▀" in line]) <= 20
    terminal.read_until(lambda: any(is_near(colour, (30, 30, 200)) for colour in terminal.colours("▀")), "blue")
    assert not any(is_near(colour, (200, 30, 30)) for colour in terminal.colours("▀"))
    assert terminal.end() == 0
    assert not any("▀" in line for line in terminal.lines)
    assert any("Done" in line for line in terminal.lines)


def is_near(colour: str, wanted: tuple[int, int, int]) -> bool:
    if len(colour) != 6 or not set(colour) <= set("0123456789abcdef"):
        return False
    return all(abs(found - part) < 30 for found, part in zip(bytes.fromhex(colour), wanted, strict=True))


def show_preview(run: Run, endpoint: ScriptedEndpoint, answer: Callable[[bytes], bytes], sign: bytes) -> Terminal:
    """A preview on a terminal that answers questions; ``sign`` is what it must be written.

    textual-image gives a terminal a tenth of a second to answer, which a busy machine may miss: then it is asked again.
    """
    for _ in range(5):
        endpoint.script = (update(0.2, "one", preview=picture()), success(artifact(b"x")))
        terminal = run("run", "--prompt", "a fox", "--previews", options={"answer": answer})
        assert terminal.end() == 0
        if sign in terminal.written:
            break
    assert sign in terminal.written
    return terminal


def test_previews_in_sixels(run: Run, endpoint: ScriptedEndpoint) -> None:
    terminal = show_preview(run, endpoint, knows_sixels, b"\x1bP")
    assert not any("▀" in line for line in terminal.lines)


def test_previews_by_kittys_protocol(run: Run, endpoint: ScriptedEndpoint) -> None:
    terminal = show_preview(run, endpoint, knows_kitty, b"U=1")  # placed where its placeholders stand
    assert "\U0010eeee".encode() in terminal.written
    assert not any("\U0010eeee" in line for line in terminal.lines)  # gone with the job
    assert [line.split()[0] for line in terminal.lines[:2]] == ["Job", "Done"]


def test_a_terminal_that_answers_nothing_gets_no_complaint(run: Run, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.2, "one", preview=picture()), success(artifact(b"x")))
    terminal = run("run", "--prompt", "a fox", "--previews", options={"tells_pixels": False})
    assert terminal.end() == 0
    assert "▀".encode() in terminal.written
    assert [line.split()[0] for line in terminal.lines[:2]] == ["Job", "Done"]
    assert b"textual" not in terminal.written
    assert b"Traceback" not in terminal.written


def test_previews_stay_out_of_stdout(run: Run, comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.2, "one", preview=picture()), success(artifact(b"x")))
    paths = comfypod.folder / "paths.txt"
    with paths.open("wb") as file:
        terminal = run("run", "--prompt", "a fox", "--previews", options={"stdout": file.fileno()})
        assert terminal.end() == 0
    assert "▀".encode() in terminal.written
    (line,) = paths.read_text(encoding="utf-8").splitlines()
    assert (comfypod.folder / line).is_file()


def test_a_preview_that_is_a_bomb_is_not_decoded(run: Run, endpoint: ScriptedEndpoint) -> None:
    bomb = io.BytesIO()
    Image.new("1", (5_000, 5_000)).save(bomb, "PNG")
    preview = {"content_type": "image/png", "data_base64": base64.b64encode(bomb.getvalue()).decode()}
    endpoint.script = (update(0.2, "one", preview=preview), success(artifact(b"x")))
    terminal = run("run", "--prompt", "a fox", "--previews")
    assert terminal.end() == 0
    assert "▀".encode() not in terminal.written


def test_without_the_extra_previews_say_what_to_install(run: Run, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "textual_image"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'textual_image'\", name='textual_image')", encoding="utf-8"
    )
    terminal = run("run", "--prompt", "a fox", "--previews", PYTHONPATH=os.pathsep.join([str(missing.parent)]))
    assert terminal.end() == 2
    assert any("pip install 'comfypod[previews]'" in line for line in terminal.lines)
    assert endpoint.inputs == []
