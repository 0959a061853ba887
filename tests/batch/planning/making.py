"""Small workloads, offers and queues for tests, and strategies that draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from comfypod.batch.documents import GIGABYTE, Asset, Offer, Share, Signature
from comfypod.batch.planning import Workload
from comfypod.batch.planning.ordering.queue import Queue, Task


def offer(**fields: Any) -> Offer:
    given: dict[str, Any] = {
        "provider": "fake",
        "gpu": "A4000",
        "price_class": "on_demand",
        "dollars_per_hour": 0.12,
        "memory_bytes": 24 * GIGABYTE,
        "megapixel_steps_per_second": 1.6,
        "download_bytes_per_second": 2e8,
        "setup_seconds": 120.0,
        "most_pods": 100,
    }
    return Offer(**(given | fields))


def asset(key: str, gigabytes: float) -> Asset:
    return Asset(key=key, size_bytes=round(gigabytes * GIGABYTE), entry={"when": "demand"})


def assets_of(sizes: Mapping[str, float]) -> dict[str, Asset]:
    return {key: asset(key, gigabytes) for key, gigabytes in sizes.items()}


def signature(bases: str, patches: Sequence[str] = ()) -> Signature:
    return Signature.of([f"checkpoints/{bases}", *(f"loras/{name}" for name in patches)])


def workload(*groups: tuple[Signature, int, float]) -> Workload:
    """Of signatures, items, and the work of one item."""
    return Workload("batch", tuple(Share(found, items, items * work) for found, items, work in groups))


@st.composite
def batches(draw: st.DrawFn, most_bases: int = 5) -> tuple[Workload, dict[str, Asset]]:
    """A workload of a few checkpoints with a few LoRAs, some of which and one VAE they share, and the files."""
    sizes = {"vae/shared": draw(st.floats(0.1, 0.5))}
    groups = []
    for number in range(draw(st.integers(1, most_bases))):
        base = f"checkpoints/{number}"
        sizes[base] = draw(st.floats(0.5, 20.0))
        work = draw(st.floats(1.0, 60.0))
        with_vae = ["vae/shared"] if draw(st.booleans()) else []
        loras = draw(st.lists(st.integers(0, 5), max_size=3, unique=True))
        for count in range(len(loras) + 1):
            patches = [f"loras/{lora}" for lora in loras[:count]]
            sizes |= {key: 0.05 + 0.3 * int(key[-1]) for key in patches}
            items = draw(st.integers(1, 400))
            groups.append((Signature.of([base, *with_vae, *patches]), items, work))
    return workload(*groups), assets_of(sizes)


@st.composite
def offer_lists(draw: st.DrawFn) -> list[Offer]:
    """One to three types; the last one has memory for everything."""
    found = [
        offer(
            gpu=f"type {number}",
            price_class=draw(st.sampled_from(["on_demand", "interruptible"])),
            dollars_per_hour=draw(st.floats(0.05, 1.0)),
            megapixel_steps_per_second=draw(st.floats(0.5, 10.0)),
            download_bytes_per_second=draw(st.floats(2e7, 4e8)),
            setup_seconds=draw(st.floats(10.0, 900.0)),
            interruptions_per_hour=draw(st.floats(0.0, 1.0)),
            memory_bytes=draw(st.sampled_from([16, 24])) * GIGABYTE,
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    return [*found[:-1], found[-1].model_copy(update={"memory_bytes": 48 * GIGABYTE})]


@st.composite
def queues(draw: st.DrawFn, most_files: int = 6, most_tasks: int = 8, most_patches: int = 2) -> Queue:
    """Tasks with one base each and some patches; all files are needed."""
    bases = draw(st.integers(1, 3))
    patches = list(range(bases, bases + draw(st.integers(0, most_files - bases))))
    tasks = []
    for number in range(draw(st.integers(bases, most_tasks))):
        chosen = draw(st.lists(st.sampled_from(patches), max_size=most_patches, unique=True)) if patches else []
        tasks.append(
            Task((number % bases,), tuple(sorted(chosen)), draw(st.integers(1, 20)), draw(st.floats(0.5, 30.0)))
        )
    needed = sorted({file for task in tasks for file in task.assets})
    places = {file: place for place, file in enumerate(needed)}
    renamed = [
        task._replace(
            bases=tuple(places[file] for file in task.bases), patches=tuple(places[file] for file in task.patches)
        )
        for task in tasks
    ]
    seconds = tuple(draw(st.floats(0.5, 200.0)) for _ in needed)
    return Queue(tuple(renamed), seconds, load_seconds=8.0, patch_seconds=0.7)
