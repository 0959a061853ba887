"""The interface as a page to read: what the OpenAPI document says, without scripts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;"
    "background:#fdfdfd}code{font-size:.95em}dt{margin-top:.8rem}dd{margin-left:1.5rem}.codes{color:#555}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#181818}.codes{color:#aaa}a{color:#8cf}}"
)


def openapi_page(document: Mapping[str, Any]) -> str:
    """HTML with every operation, by its tag."""
    information = document["info"]
    sections = "".join(_section(tag["name"], tag["description"], document["paths"]) for tag in document["tags"])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(information['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(information['title'])}</h1><p>{escape(information['description'])}</p>"
        '<p><a href="/api/v2/openapi.json">The OpenAPI document</a></p>'
        f"{sections}</html>"
    )


def _section(tag: str, description: str, paths: Mapping[str, Any]) -> str:
    operations = "".join(_operations(tag, paths))
    return f"<h2>{escape(tag)}</h2><p>{escape(description)}</p><dl>{operations}</dl>"


def _operations(tag: str, paths: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                codes = ", ".join(operation["responses"])
                yield (
                    f"<dt><code>{method.upper()} {escape(path)}</code></dt><dd>{escape(operation['summary'])} "
                    f'<span class="codes">({codes})</span></dd>'
                )
