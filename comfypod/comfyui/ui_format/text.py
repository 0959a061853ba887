"""Texts that the front end changes when it sends them: alternatives in prompts, and names in file names. Pure.

Sources: ComfyUI_frontend, packages/shared-frontend-utils/src/formatUtil.ts (processDynamicPrompt, formatDate) and
src/utils/searchAndReplace.ts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from comfypod.errors import InvalidWorkflow

Choose = Callable[[Sequence[str]], str]
"""Takes one of several alternatives."""

SAVING_CLASSES = frozenset(
    {
        "CLIPSave",
        "LoraSave",
        "ModelSave",
        "Save3DAdvanced",
        "SaveAnimatedPNG",
        "SaveAnimatedWEBP",
        "SaveAudio",
        "SaveAudioAdvanced",
        "SaveAudioMP3",
        "SaveAudioOpus",
        "SaveGLB",
        "SaveGaussianSplat",
        "SaveImage",
        "SaveImageAdvanced",
        "SaveLatent",
        "SavePointCloud",
        "SaveSVGNode",
        "SaveVideo",
        "SaveWEBM",
        "VAESave",
    }
)
"""The classes in whose ``filename_prefix`` names between percent signs are replaced."""

_MAXIMUM_NESTING = 100
_MAXIMUM_REPLACEMENT = 100_000
_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_PART = re.compile(r"\\.|\\$|[{}|]|[^\\{}|]+", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")
_NAME = re.compile(r"%([^%]+)%")
_UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')
_DATE_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyyy|yy")
_SERVER_VARIABLES = {"d": "%day%", "M": "%month%", "h": "%hour%", "m": "%minute%", "s": "%second%", "y": "%year%"}


def choose_alternatives(text: str, choose: Choose) -> str:
    """``text`` without comments, and with one of the alternatives of each ``{red|green|{dark |}blue}``.

    A backslash keeps the next character from having a meaning.

    Raises:
        InvalidWorkflow: alternatives are nested without end.
    """
    if not any(character in text for character in "{|}\\/"):
        return text
    parts = _PART.findall(_COMMENT.sub("", text))
    depth = 0
    for part in parts:
        depth += (part == "{") - (part == "}" and depth > 0)
        if depth > _MAXIMUM_NESTING:
            raise InvalidWorkflow(f"A prompt has alternatives inside each other, more than {_MAXIMUM_NESTING} deep")
    # A group that is never closed ends with the text.
    groups: list[tuple[str, list[str]]] = []
    current = ""
    for part in (*parts, *("}" * depth)):
        if part == "{":
            groups.append((current, []))
            current = ""
        elif groups and part == "|":
            groups[-1][1].append(current)
            current = ""
        elif groups and part == "}":
            before, alternatives = groups.pop()
            current = before + choose([*alternatives, current])
        else:
            current += part
    return _ESCAPED.sub(r"\1", current)


def replace_names(text: str, look_up: Callable[[str, str], object | None]) -> str:
    """``text`` with ``%NODE.WIDGET%`` replaced by values, and ``%date:yyyy-MM-dd%`` by variables of the server.

    ``look_up`` has the value of a node's widget, or None. ComfyUI fills its variables (``%year%``, ``%month%`` …) in
    when it saves, always with two digits; the front end would fill in its own time when it sends.

    Raises:
        InvalidWorkflow: the text would become longer by more than 100,000 characters.
    """
    added = 0

    def replacement(match: re.Match[str]) -> str:
        nonlocal added
        name = match.group(1)
        parts = name.split(".")
        if len(parts) == 2:
            value = _as_text(look_up(parts[0], parts[1]))
            if value is None:
                return match.group()
            shown = _UNSAFE.sub("_", value)
            added += len(shown)
            if added > _MAXIMUM_REPLACEMENT:
                raise InvalidWorkflow(f"A text names widgets whose values are too long: {text[:100]}")
            return shown
        if parts[0].startswith("date:"):
            return _DATE_PART.sub(lambda part: _SERVER_VARIABLES[part.group()[0]], parts[0].removeprefix("date:"))
        return match.group()

    return _NAME.sub(replacement, text)


def _as_text(value: object) -> str | None:
    """A value as JavaScript writes it: ``true``, and ``1`` for 1.0; None for what makes no sense in a file's name."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float) or not abs(value) < 2**63:
        return None
    return str(int(value) if value == int(value) else value)
