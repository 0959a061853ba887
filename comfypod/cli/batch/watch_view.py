"""What ``comfypod batch watch`` shows: one picture of a batch, made from what its database has. No I/O.

Names and causes come from manifests, providers and pods: control characters and markup are not passed on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from comfypod.batch.account import Account
from comfypod.batch.documents import Pulse
from comfypod.batch.figures import Figures, figures
from comfypod.batch.store.batches import SILENT_SECONDS
from comfypod.batch.store.records import Batch, BatchEvent, BatchPod
from comfypod.batch.wording import against, in_dollars, in_percent, in_time, on_one_line
from comfypod.storage.models.progress import format_bytes

_STATE_STYLES = {"running": "green", "paused": "yellow", "cancelled": "magenta", "over": "bold"}
_POD_STYLES = {"running": "green", "starting": "yellow", "ending": "blue", "ended": "dim"}
_NAMED_STATES = frozenset({"succeeded", "leased"})
_BAR_WIDTH = 40
_COLUMNS = dict(
    zip(
        ("pod", "state", "GPU", "$/h", "made", "busy", "hand", "files", "unsent", "heard", "age"),
        (3, 8, 5, 5, 4, 5, 4, 5, 6, 5, 8),
        strict=True,
    )
)
"""With how many characters of each are seen at least, however narrow the terminal."""
_FIXED_LINES = 14
_FEWEST_PODS = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch at one moment."""

    batch: Batch
    account: Account
    pods: tuple[BatchPod, ...]
    events: tuple[BatchEvent, ...]

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.batch.state in {"over", "cancelled"} and all(pod.state == "ended" for pod in self.pods)


def picture(seen: Seen, *, lines: int | None = None, problem: str | None = None) -> RenderableType:
    """The picture of a batch, about ``lines`` high at most; ``problem`` says why it is not up to date."""
    found = figures(seen.account)
    parts: list[RenderableType] = [_title(seen), _items(seen.account), _money(seen, found)]
    if problem is not None:
        parts.append(Text(on_one_line(problem), style="bold red"))
    pods = sorted(
        seen.pods, key=lambda pod: (pod.state == "ended", pod.asked_at if pod.state != "ended" else -pod.asked_at)
    )
    most = len(pods) if lines is None else max(_FEWEST_PODS, lines - _FIXED_LINES - len(seen.events))
    parts.append(_pods(pods[:most], seen.account.at))
    if len(pods) > most:
        parts.append(Text(f"and {len(pods) - most} pods more", style="dim"))
    parts += [_event(entry) for entry in seen.events]
    return Group(*parts)


def _title(seen: Seen) -> Text:
    batch = seen.batch
    title = Text.assemble(("batch ", ""), (batch.identifier, "bold"), f"  {on_one_line(batch.label, 60)}  ")
    title.append(batch.state, style=_STATE_STYLES.get(batch.state, ""))
    if batch.note:
        title.append(f"  {on_one_line(batch.note)}", style="yellow")
    is_silent = batch.owner is None or seen.account.at - (batch.beat_at or 0) > SILENT_SECONDS
    if batch.state in {"running", "paused"} and is_silent:
        title.append("  nobody coordinates it: `comfypod batch run` goes on with it", style="bold red")
    return title


def _items(account: Account) -> RenderableType:
    counts, total = account.items, max(1, account.plan.items)
    ended = counts.get("succeeded", 0) + counts.get("failed", 0) + counts.get("cancelled", 0)
    grid = Table.grid(padding=(0, 1))
    words = [f"{counts.get('succeeded', 0):,} made", f"{counts.get('leased', 0):,} in hand"]
    words += [f"{count:,} {state}" for state, count in counts.items() if count and state not in _NAMED_STATES]
    grid.add_row(ProgressBar(total=total, completed=ended, width=_BAR_WIDTH), f"{ended / total:.0%}", ", ".join(words))
    return grid


def _money(seen: Seen, found: Figures) -> Text:
    account, batch = seen.account, seen.batch
    words = [f"{in_dollars(found.dollars)} spent of {in_dollars(account.plan.dollars)} planned"]
    if batch.budget_dollars is not None:
        words.append(f"budget {in_dollars(batch.budget_dollars)}")
    if found.dollars_per_item is not None:
        words.append(f"{in_dollars(found.dollars_per_item)} an item")
    if found.dollars_at_finish is not None and account.ended_at is None:
        distance = against(found.dollars_at_finish, account.plan.dollars)
        words.append(f"about {in_dollars(found.dollars_at_finish)} in the end{f' ({distance})' if distance else ''}")
    if found.finish_at is not None and account.ended_at is None:
        late = found.finish_after_plan_seconds or 0.0
        words.append(f"ready in {in_time(found.finish_at - account.at)}, {_lateness(late)}")
    elif account.ended_at is not None:
        words.append(f"took {in_time(found.elapsed_seconds)}")
    if batch.deadline_at is not None and account.ended_at is None:
        words.append(f"deadline in {in_time(batch.deadline_at - account.at)}")
    words.append(f"{in_percent(found.idle_share)} idle")
    return Text("  ".join(words))


def _lateness(seconds: float) -> str:
    if abs(seconds) < 60:
        return "as planned"
    return f"{in_time(abs(seconds))} {'later' if seconds > 0 else 'earlier'} than planned"


def _pods(pods: list[BatchPod], now: float) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, width in _COLUMNS.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=width)
    for pod in pods:
        table.add_row(*_pod_row(pod, now))
    return table if pods else Text("no pods yet", style="dim")


def _pod_row(pod: BatchPod, now: float) -> list[Text]:
    """One pod; what only a living one has is left out for others."""
    pulse = pod.pulse or Pulse(in_hand=(), present=())
    has_ended = pod.state == "ended"
    living = ["", "", "", ""]
    if not has_ended:
        unsent = f"{pulse.spool_items}" if pulse.spool_items else ""
        heard = "" if pod.pulsed_at is None else in_time(now - pod.pulsed_at)
        living = [str(len(pulse.in_hand)), _downloads(pulse), unsent, heard]
    price = f"{pod.dollars_per_hour:.3g}{' bid' if pod.offer.price_class == 'interruptible' else ''}"
    cells = [
        f"{pod.number}.{pod.generation}",
        _state(pod),
        pod.offer.gpu.removeprefix("NVIDIA "),
        price,
        f"{pod.items:,}",
        _busy(pulse),
        *living,
        in_time((pod.ended_at or now) - (pod.rented_at or pod.asked_at)),
    ]
    texts = [Text(on_one_line(cell, 48), style="dim" if has_ended else "") for cell in cells]
    texts[1].stylize(_POD_STYLES.get(pod.state, ""))
    return texts


def _state(pod: BatchPod) -> str:
    if pod.state == "ended":
        return pod.end_reason or "ended"
    return "draining" if pod.state == "running" and pod.drain_reason is not None else pod.state


def _busy(pulse: Pulse) -> str:
    whole = pulse.busy_seconds + pulse.idle_seconds
    return in_percent(pulse.busy_seconds / whole) if pulse.busy_seconds else ""


def _downloads(pulse: Pulse) -> str:
    """How many files are there, and what is coming."""
    coming = f" +{format_bytes(sum(pulse.downloading.values()))}" if pulse.downloading else ""
    return f"{len(pulse.present)}{coming}"


def _event(entry: BatchEvent) -> Text:
    moment = in_clock(entry.at)
    pod = f" {entry.pod.removeprefix('comfypod-')}" if entry.pod else ""
    return Text(on_one_line(f"{moment} {entry.kind}{pod}{f': {entry.cause}' if entry.cause else ''}"), style="dim")


def in_clock(moment: float) -> str:
    """``14:05:09``, where this program runs."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
