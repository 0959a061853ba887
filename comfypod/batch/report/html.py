"""Pages that need nothing from elsewhere and run nothing: their frame, sections and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from comfypod.batch.report.style import STYLE
from comfypod.batch.report.svg import element, plain

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Whatever a name might smuggle in, nothing is run or fetched."""


def html_page(title: str, content: Iterable[str], style: str = "") -> str:
    """A whole page; ``content`` is markup, ``style`` is added to the common one."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{plain(title)}</title><style>{STYLE}{style}</style></head>"
        f"<body><main>{''.join(content)}</main></body></html>\n"
    )


def section(title: str, *content: str) -> str:
    """A part of a page under a heading; ``content`` is markup."""
    return element("section", element("h2", plain(title)) + "".join(content))


def chart(drawn: str) -> str:
    """A picture in its frame, which scrolls where it is too narrow: by keys as well."""
    return element("div", drawn, class_="chart", tabindex="0")


def note(words: str) -> str:
    """A sentence in small letters."""
    return element("p", plain(words), class_="note")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], class_: str = "") -> str:
    """A table of words; the first cell of a row is its heading. A column without a name has no heading."""
    head = element("thead", element("tr", "".join(map(_heading, columns))))
    body = element("tbody", "".join(_row(row) for row in rows))
    return element("div", element("table", head + body, class_=class_), class_="scroll", tabindex="0")


def _heading(name: str) -> str:
    return element("th", plain(name), scope="col") if name else element("td")


def _row(cells: Sequence[str]) -> str:
    first = element("th", plain(cells[0]), scope="row")
    return element("tr", first + "".join(element("td", plain(cell)) for cell in cells[1:]))
