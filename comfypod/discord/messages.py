"""What a message says of a request: its place in the queue, how far it is, and how it ended. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfypod.discord.buttons import Action
from comfypod.discord.origin import Origin
from comfypod.master.documents import Request
from comfypod.master.states import CANCELLED, QUEUED, RUNNING, SUCCEEDED, WAITING
from comfypod.schema.wire import shortened

LONGEST_CONTENT = 2000
LONGEST_TEXT = 300
LONGEST_SENTENCE = 600
BAR_CELLS = 16
_MARKS = re.compile(r"([\\*_~`|>#\[\]()<:@-])")

_SENTENCES: Mapping[str, str] = {
    "out_of_memory": "The GPU ran out of memory. Ask for something smaller, or fewer pictures at once.",
    "deadline_exceeded": "It took too long and was stopped. Ask for fewer steps, or something smaller.",
    "prompt_stalled": "It got stuck on the GPU and was stopped. Press Repeat to try again.",
    "prompt_failed": "ComfyUI could not run this: {message}",
    "no_output": "Nothing came out of it.",
    "input_fetch_failed": "The attached file could not be used: {message}",
    "request_quarantined": "This failed too often on several machines and is paused until somebody has looked at it.",
    "cloud_unavailable": "The GPUs cannot be reached at the moment. Press Repeat to try again.",
}
"""By code, what somebody who is no operator can make use of; {message} is the error's own sentence."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a message is to look like, files apart."""

    content: str
    buttons: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A file that is too large to be attached."""

    name: str
    url: str
    size_bytes: int


def show_progress(request: Request, origin: Origin, position: int | None) -> Shown:
    """What a request that has not ended looks like; ``position`` is how many are before it."""
    return Shown(f"{_headline(origin)}\n{_status(request, position)}", ("cancel",))


def show_end(request: Request, origin: Origin, links: Sequence[Link], offered: Sequence[Action]) -> Shown:
    """What a request that has ended looks like; ``offered`` are the buttons that make sense."""
    if request.state == SUCCEEDED:
        lines = [f"{_headline(origin)} · <@{origin.user_id}>{_duration(request)}", *_texts(request), *_links(links)]
    elif request.state == CANCELLED:
        lines = [_headline(origin), "Cancelled."]
    else:
        lines = [_headline(origin), explain(request.error or {})]
    return Shown(_fitting(lines), tuple(offered))


def explain(error: Mapping[str, Any]) -> str:
    """What went wrong, to whom it may concern: a sentence without jargon where there is one."""
    message = shortened(str(error.get("message") or "It did not work, and nobody knows why."), LONGEST_SENTENCE)
    return _SENTENCES.get(str(error.get("code")), "It did not work: {message}").format(message=escaped(message))


def when_to_return(seconds: float) -> str:
    """``in 40 seconds``, as people say it."""
    if seconds < 90:
        return f"in {max(1, round(seconds))} seconds"
    return f"in {round(seconds / 60)} minutes" if seconds < 5400 else f"in {round(seconds / 3600)} hours"


def escaped(text: str) -> str:
    """The text as it was typed: nothing in it formats, links or mentions."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _headline(origin: Origin) -> str:
    return f"**{escaped(shortened(origin.text, LONGEST_TEXT))}**"


def _status(request: Request, position: int | None) -> str:
    if request.cancel_requested_at is not None:
        return "Being cancelled …"
    if request.state == QUEUED:
        if not position:
            return "Next in the queue." if position == 0 else "In the queue."
        return f"In the queue: {position} before you."
    if request.state == WAITING:
        return "It got lost on its way, and is tried again."
    if request.state == RUNNING and request.progress:
        return _progress(request.progress)
    return "A worker takes it." if request.state == RUNNING else "Waiting for a worker."


def _progress(progress: Mapping[str, Any]) -> str:
    value = min(1.0, max(0.0, float(progress.get("value") or 0)))
    done = round(value * BAR_CELLS)
    parts = [f"`{'█' * done}{'░' * (BAR_CELLS - done)}` {value:.0%}"]
    if message := progress.get("message"):
        parts.append(escaped(shortened(str(message), 80)))
    eta = progress.get("eta_seconds")
    if isinstance(eta, int | float) and eta >= 1:
        parts.append(f"about {eta:.0f} s left")
    return " · ".join(parts)


def _duration(request: Request) -> str:
    if request.started_at is None or request.ended_at is None:
        return ""
    return f" · {(request.ended_at - request.started_at).total_seconds():.0f} s"


def _texts(request: Request) -> list[str]:
    """What nodes said, such as a caption."""
    texts = (request.output or {}).get("texts") or []
    return [f"> {escaped(shortened(str(item.get('value')), LONGEST_SENTENCE))}" for item in texts]


def _links(links: Sequence[Link]) -> list[str]:
    lines = [f"[{escaped(link.name)}](<{link.url}>) ({link.size_bytes / 1e6:.1f} MB)" for link in links]
    return ["Too large to attach here; the links work for a while:", *lines] if lines else []


def _fitting(lines: Sequence[str]) -> str:
    """As many of the lines as a message holds, whole: half a link leads nowhere."""
    content, left_out = lines[0], 0
    for line in lines[1:]:
        if len(content) + len(line) + 30 > LONGEST_CONTENT:
            left_out += 1
        else:
            content += f"\n{line}"
    return f"{content}\n… and {left_out} more." if left_out else content


def offered_at_end(request: Request, *, has_seed: bool, can_upscale: bool) -> list[Action]:
    """Which buttons a request that has ended has."""
    actions: list[Action] = ["repeat"]
    if request.state != SUCCEEDED:
        return actions
    return actions + (["vary"] if has_seed else []) + (["upscale"] if can_upscale else [])
