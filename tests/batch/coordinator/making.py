"""Small batches for tests: plans, items, pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from comfypod.batch.documents import (
    GIGABYTE,
    Asset,
    Condition,
    File,
    Item,
    Offer,
    Plan,
    Pod,
    PodPlan,
    PodWish,
    Record,
    Share,
    Signature,
)
from comfypod.batch.providers.names import PodName
from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import Batch, NewBatch

CONDITION = Condition(
    gpu="Emulated",
    gpu_memory_bytes=16 * GIGABYTE,
    free_disk_bytes=100 * GIGABYTE,
    disk_write_bytes_per_second=1e9,
    download_bytes_per_second=None,
)
CHECKPOINTS = ("checkpoints/a.safetensors", "checkpoints/b.safetensors")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def offer(**fields: Any) -> Offer:
    given: dict[str, Any] = {
        "provider": "fake",
        "gpu": "A4000",
        "price_class": "on_demand",
        "dollars_per_hour": 0.2,
        "memory_bytes": 16 * GIGABYTE,
        "megapixel_steps_per_second": 1.0,
        "download_bytes_per_second": 1e8,
    }
    return Offer(**(given | fields))


def asset(key: str, size_bytes: int = GIGABYTE) -> Asset:
    return Asset(key=key, size_bytes=size_bytes, entry={"url": f"https://models.test/{key}"})


def items(count: int, checkpoints: Sequence[str] = CHECKPOINTS, work: float = 20.0) -> Iterator[Item]:
    """Rows take turns with the checkpoints."""
    for row in range(count):
        yield Item(
            identifier=f"{row:032x}",
            row=row,
            job={"prompt": f"picture {row}"},
            assets=(checkpoints[row % len(checkpoints)],),
            work=work,
        )


def plan(count: int, pods: Sequence[Sequence[tuple[str, int]]], batch: str = "batch1", **fields: Any) -> Plan:
    """Each pod makes so many items of each checkpoint, in this order."""
    rented = fields.pop("offer", None) or offer()
    made = tuple(
        PodPlan(
            number=number,
            offer=rented,
            shares=tuple(
                Share(signature=Signature(bases=(key,)), items=share, work=20.0 * share) for key, share in shares
            ),
            downloads=tuple(key for key, _ in shares),
            disk_bytes=(12 + len(shares)) * GIGABYTE,
            seconds=600.0,
            first_item_seconds=60.0,
            idle_seconds=0.0,
            dollars=0.1,
        )
        for number, shares in enumerate(pods)
    )
    given: dict[str, Any] = {
        "objective": "cost",
        "items": count,
        "work": 20.0 * count,
        "dollars": 0.2,
        "seconds": 600.0,
        "bound_dollars": 0.1,
        "payload_cap_bytes": 120 * GIGABYTE,
        "assets": tuple(asset(key) for key in CHECKPOINTS),
    }
    return Plan(batch=batch, pods=made, **(given | fields))


def one_each(count: int, **fields: Any) -> Plan:
    """Two pods, one for each checkpoint."""
    first, second = CHECKPOINTS
    return plan(count, [[(first, (count + 1) // 2)], [(second, count // 2)]], **fields)


def new_batch(planned: Plan, **fields: Any) -> NewBatch:
    given: dict[str, Any] = {"label": "test.jsonl", "provider": "fake", "offers": (), "results": {"kind": "own"}}
    return NewBatch(plan=planned, **(given | fields))


def begin(store: BatchStore, planned: Plan, **fields: Any) -> Batch:
    """A batch with all of its items."""
    batch = store.begin(new_batch(planned, **fields))
    store.fill(batch.number, items(planned.items))
    return batch


def start_pod(store: BatchStore, batch: Batch, number: int, generation: int = 0) -> str:
    """A pod that is rented, and has said hello; its name."""
    name = str(PodName(batch.identifier, number, generation))
    rented = store.plan(batch.number).pods[number].offer
    wish = PodWish(
        batch=batch.identifier,
        number=number,
        name=name,
        offer=rented,
        image="image",
        command=("pod",),
        environment={},
        disk_bytes=20 * GIGABYTE,
    )
    store.add_pod(batch.number, wish, generation, store._clock() + 3600)
    pod = Pod(
        identifier=f"id-{name}",
        name=name,
        state="starting",
        dollars_per_hour=rented.dollars_per_hour,
        price_class=rented.price_class,
        gpu=rented.gpu,
    )
    store.rented(batch.number, pod)
    store.hello(batch.number, name, CONDITION)
    return name


def success(identifier: str, started_at: float = 1.0, **fields: Any) -> Record:
    file = File(name=f"{identifier}/image.png", sha256="0" * 64, size_bytes=1000, media_type="image/png")
    given: dict[str, Any] = {"files": (file,), "gpu_seconds": 10.0}
    return Record(identifier=identifier, status="succeeded", started_at=started_at, **(given | fields))


def failure(identifier: str, started_at: float = 1.0, *, retryable: bool = True) -> Record:
    error = {"code": "out_of_memory", "message": "no room", "retryable": retryable}
    return Record(identifier=identifier, status="failed", started_at=started_at, gpu_seconds=3.0, error=error)
