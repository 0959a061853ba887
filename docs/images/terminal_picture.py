"""Makes a picture of a terminal: runs a command in a pseudo-terminal and draws what a person would see, as SVG.

For example, from the root of the repository:

    python docs/images/terminal_picture.py docs/images/run.svg -- comfypod run --local --prompt "a fox"
    python docs/images/terminal_picture.py docs/images/ctrl-c.svg --interrupt-at KSampler -- comfypod run --local …

The picture shows the screen when the command has ended, or with ``--until TEXT`` when TEXT is first seen.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pyte
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style
from rich.terminal_theme import MONOKAI

# What asks a terminal for its kind (APC); pyte would show it.
QUESTION = re.compile(rb"\x1b_.*?\x1b\\")
# Rich's own template loads a font from the internet; this one takes what the viewer has.
TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: 18px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def main() -> None:
    arguments = parse()
    screen = pyte.HistoryScreen(arguments.columns, arguments.rows, history=2000)
    show(arguments, screen)
    arguments.picture.write_text(draw(screen, arguments.title or shlex.join(arguments.command)), encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--title", help="Default: the command.")
    parser.add_argument("--until", metavar="TEXT", help="Draw the screen when this is first seen, and end the command.")
    parser.add_argument("--interrupt-at", metavar="TEXT", help="Press Ctrl-C when this is first seen.")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def show(arguments: argparse.Namespace, screen: pyte.Screen) -> None:
    """Run the command on the screen until it ends, or until there is to be seen what is to be drawn."""
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.execvp(arguments.command[0], arguments.command)  # noqa: S606 (what the person asked for)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", arguments.rows, arguments.columns, 0, 0))
    interrupt_at, end = arguments.interrupt_at, time.monotonic() + arguments.timeout
    while (block := read(terminal, end)) is not None:
        stream.feed(QUESTION.sub(b"", block))
        text = "\n".join(screen.display)
        if interrupt_at and interrupt_at in text:
            os.write(terminal, b"\x03")
            interrupt_at = None
        if arguments.until and arguments.until in text and not is_writing(terminal):
            os.kill(pid, signal.SIGINT)
            break
    while read(terminal, end) is not None:
        pass  # what it says at its end is not drawn any more
    os.waitpid(pid, 0)


def is_writing(terminal: int) -> bool:
    """Whether more of the same picture is on its way."""
    return bool(select.select([terminal], [], [], 0.05)[0])


def read(terminal: int, end: float) -> bytes | None:
    """What the command writes next; None when it has ended."""
    ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
    if not ready:
        sys.exit("The command did not end in time.")
    try:
        return os.read(terminal, 65536) or None
    except OSError:  # how Linux tells that nobody has the other side open
        return None


def draw(screen: pyte.Screen, title: str) -> str:
    lines = [[screen.buffer[row][column] for column in range(screen.columns)] for row in range(screen.lines)]
    while lines and all(not character.data.strip() for character in lines[-1]):
        lines.pop()
    console = Console(width=screen.columns, record=True, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    for line in lines:
        pieces = [
            Segment("".join(character.data for character in characters), drawn_as)
            for drawn_as, characters in itertools.groupby(line, style)
        ]
        console.print(Segments([*pieces, Segment.line()]))
    return console.export_svg(title=title, theme=MONOKAI, code_format=TEMPLATE)


def style(character: pyte.screens.Char) -> Style:
    return Style(
        color=colour(character.fg), bgcolor=colour(character.bg), bold=character.bold, reverse=character.reverse
    )


def colour(name: str) -> str | None:
    if name == "default":
        return None
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    return {"brown": "yellow"}.get(name, name.replace("bright", "bright_"))


if __name__ == "__main__":
    main()
