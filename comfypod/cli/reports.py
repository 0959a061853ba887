"""What commands that look at things print: a table for people, or JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from comfypod.cli.printing import for_stdout, printable, write_line, writing_stdout

PIPED_WIDTH = 250
"""Columns where no terminal says how many it has."""


def print_json(document: Any) -> None:  # noqa: ANN401 (any JSON)
    """Print ``document`` on stdout, for programs: in ASCII, so that nothing in it can steer a terminal.

    Raises:
        SavingFailed: nobody reads stdout any more, or its disk is full.
    """
    write_line(json.dumps(document, indent=2))


def print_text(text: str) -> None:
    """Print lines on stdout; raises as `print_json`."""
    write_line(for_stdout(text))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout: of plain text, never markup or control characters; raises as `print_json`."""
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    with writing_stdout():
        Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def print_line(label: str, sentence: str, style: str = "") -> None:
    """Print ``label: sentence`` on stdout, on one line however long it is; ``style`` colours the label."""
    print_styled(Text.assemble((label, style), printable(f": {sentence}")))


def print_styled(line: Text) -> None:
    """Print one line on stdout, however long it is; raises as `print_json`."""
    with writing_stdout():
        Console(highlight=False).print(line, soft_wrap=True)
