"""A plan as tables and a chart. Names come from elsewhere: control characters and markup are not passed on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from comfypod.batch.documents import GIGABYTE, Plan, PodPlan
from comfypod.batch.planning.what_if import Alternative, Question
from comfypod.batch.wording import in_dollars, in_percent, in_time
from comfypod.cli.printing import printable
from comfypod.cli.reports import PIPED_WIDTH, print_styled, print_table, print_text
from comfypod.schema.wire import listed

MOST_PODS: Final = 30
"""Rows of the table and of the chart; the dearest pods are shown."""
_NARROWEST, _WIDEST = 20, 100
_PARTS: Final = (("set-up", "░", "yellow"), ("first files", "▒", "cyan"), ("work", "█", "green"))
_PRICES: Final = {"on_demand": "on demand", "interruptible": "interruptible", "serverless": "serverless"}
_HEADINGS: Final[dict[Question, str]] = {"deadline": "deadline", "gpu": "only this type", "price": "price"}


def show_plan(plan: Plan) -> None:
    """The pods, when they do what, and what the whole of it comes to."""
    shown = plan.pods[:MOST_PODS]
    print_table(
        ["pod", "GPU", "price", "$/h", "items", "models", "files", "disk", "first item", "idle", "time", "dollars"],
        [_row(pod) for pod in shown],
    )
    if len(plan.pods) > len(shown):
        rest = plan.pods[len(shown) :]
        print_text(f"and {len(rest):,} more pods, which cost {in_dollars(sum(pod.dollars for pod in rest))}.")
    for line in _chart(shown):
        print_styled(line)
    for sentence in _sentences(plan):
        print_text(sentence)


def show_alternatives(question: Question, alternatives: Sequence[Alternative]) -> None:
    """One row for each condition; the cheapest is marked."""
    dollars = [item.plan.dollars for item in alternatives if item.plan is not None]
    cheapest = min(dollars, default=0.0)
    print_table(
        [_HEADINGS[question], "pods", "GPUs", "dollars", "more than the cheapest", "time", "above the bound"],
        [_alternative_row(item, cheapest) for item in alternatives],
    )


def _row(pod: PodPlan) -> Sequence[str]:
    bases = {key for share in pod.shares for key in share.signature.bases if key.startswith(_MODEL_FOLDERS)}
    return (
        str(pod.number),
        pod.offer.gpu,
        _PRICES[pod.offer.price_class],
        _price(pod),
        f"{sum(share.items for share in pod.shares):,}",
        listed(sorted(key.partition("/")[2] for key in bases), 3),
        f"{len(pod.downloads):,}",
        f"{pod.disk_bytes / GIGABYTE:.0f} GB",
        in_time(pod.first_item_seconds),
        in_time(pod.idle_seconds),
        in_time(pod.seconds),
        in_dollars(pod.dollars),
    )


_MODEL_FOLDERS: Final = ("checkpoints/", "diffusion_models/", "unet/")


def _price(pod: PodPlan) -> str:
    price = f"{pod.offer.dollars_per_hour:.3f}"
    ceiling = pod.bid_ceiling_dollars_per_hour
    return price if ceiling is None else f"{price}, up to {ceiling:.3f}"


def _chart(pods: Sequence[PodPlan]) -> Iterator[Text]:
    """A bar for each pod: set up, waiting for the first files, at work."""
    longest = max((pod.seconds for pod in pods), default=0.0)
    if not longest:
        return
    width = max(_NARROWEST, min(_WIDEST, Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).width - 30))
    for pod in pods:
        setup = pod.offer.setup_seconds
        parts = (setup, max(0.0, pod.first_item_seconds - setup), max(0.0, pod.seconds - pod.first_item_seconds))
        line = Text(f"{pod.number:>4} ")
        done = 0.0
        for seconds, (_, mark, style) in zip(parts, _PARTS, strict=True):
            begin, done = done, done + seconds
            line.append(mark * (round(width * done / longest) - round(width * begin / longest)), style)
        yield line.append(f" {in_time(pod.seconds)}")
    yield Text("     ").append_text(
        Text("  ").join(Text(mark, style).append(f" {name}", "default") for name, mark, style in _PARTS)
    )


def _sentences(plan: Plan) -> Iterator[str]:
    above = plan.dollars / plan.bound_dollars - 1 if plan.bound_dollars else None
    distance = "" if above is None else f", {in_percent(above)} above the bound of {in_dollars(plan.bound_dollars)}"
    yield (
        f"{plan.items:,} items on {_count(len(plan.pods), 'pod')}: {in_dollars(plan.dollars)}{distance}; "
        f"{in_dollars(plan.dollars / max(1, plan.items))} an item."
    )
    limit = "" if plan.deadline_seconds is None else f" of {in_time(plan.deadline_seconds)} allowed"
    paid = sum(pod.seconds for pod in plan.pods)
    yield f"The last pod ends after {in_time(plan.seconds)}{limit}; {in_time(paid)} are paid for in all."
    first = min(pod.first_item_seconds for pod in plan.pods)
    payload = sum(asset.size_bytes for asset in plan.assets if not asset.comes_with_image)
    sizes = {asset.key: asset.size_bytes for asset in plan.assets}
    fetched = sum(sizes[key] for pod in plan.pods for key in pod.downloads)
    yield (
        f"The first item is there after {in_time(first)}. The model files are {payload / GIGABYTE:.1f} GB; "
        f"{fetched / GIGABYTE:.1f} GB are downloaded by all pods together."
    )


def _alternative_row(item: Alternative, cheapest: float) -> Sequence[str]:
    plan = item.plan
    if plan is None:
        return (item.condition, "-", printable(item.reason), "-", "-", "-", "-")
    gpus = Counter(pod.offer.gpu for pod in plan.pods)
    more = plan.dollars / cheapest - 1 if cheapest else 0.0
    return (
        item.condition,
        f"{len(plan.pods):,}",
        ", ".join(f"{count} x {gpu}" for gpu, count in gpus.most_common()),
        in_dollars(plan.dollars),
        "cheapest" if plan.dollars == cheapest else in_percent(more),
        in_time(plan.seconds),
        in_percent(plan.dollars / plan.bound_dollars - 1) if plan.bound_dollars else "-",
    )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
