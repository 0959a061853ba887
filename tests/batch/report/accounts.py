"""Accounts of batches that never were."""

from __future__ import annotations

from comfypod.batch.account import Account, Failure, PodAccount, Progress, Sample, Speed
from comfypod.batch.documents import GIGABYTE, Asset, Offer, Plan, PodPlan, PriceClass, Share, Signature

START = 1_790_000_000.0
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\n"


def offer(gpu: str = "NVIDIA RTX A4000", price: float = 0.17, speed: float = 2.0, **more: object) -> Offer:
    fields = {
        "provider": "runpod",
        "price_class": "on_demand",
        "memory_bytes": 16 * GIGABYTE,
        "download_bytes_per_second": 200e6,
        "disk_dollars_per_gigabyte_hour": 0.0,
        **more,
    }
    return Offer.model_validate({"gpu": gpu, "dollars_per_hour": price, "megapixel_steps_per_second": speed, **fields})


def pod_plan(number: int, items: int, seconds: float, rented: Offer) -> PodPlan:
    signature = Signature(bases=(f"checkpoints/{number}.safetensors",))
    return PodPlan(
        number=number,
        offer=rented,
        shares=(Share(signature=signature, items=items, work=20.0 * items),),
        downloads=signature.assets,
        disk_bytes=20 * GIGABYTE,
        seconds=seconds,
        first_item_seconds=200,
        idle_seconds=0,
        dollars=seconds / 3600 * rented.dollars_per_hour,
    )


def plan(*pods: PodPlan) -> Plan:
    dollars = sum(pod.dollars for pod in pods)
    items = sum(share.items for pod in pods for share in pod.shares)
    return Plan(
        batch="0123456789abcdef",
        objective="balanced",
        pods=pods,
        items=items,
        work=20.0 * items,
        dollars=dollars,
        seconds=max(pod.seconds for pod in pods),
        bound_dollars=dollars * 0.96,
        payload_cap_bytes=120 * GIGABYTE,
        assets=tuple(Asset(key=key, size_bytes=2 * GIGABYTE) for pod in pods for key in pod.downloads),
    )


def pod(
    name: str,
    begin: float,
    end: float | None,
    *,
    reason: str | None = None,
    gpu: str = "NVIDIA RTX A4000",
    price_class: PriceClass = "on_demand",
    dollars_per_hour: float = 0.17,
    items: int = 0,
    now: float = 7000.0,
    idle_from: float = 1e9,
) -> PodAccount:
    """One that said hello after 100 s, had its first files 80 s later, and then was busy but for ``idle_from`` on."""
    samples = []
    until = now if end is None else end
    for moment in range(int(begin) + 110, int(until), 60):
        since = max(0.0, moment - begin - 180)
        idle = max(0.0, moment - idle_from)
        samples.append(
            Sample(at=START + moment, busy_seconds=since - idle, idle_seconds=idle, downloaded_bytes=int(4e9))
        )
    return PodAccount(
        name=name,
        number=int(name.split("-")[-2]),
        provider="runpod",
        gpu=gpu,
        price_class=price_class,
        dollars_per_hour=dollars_per_hour,
        rented_at=START + begin,
        hello_at=START + begin + 100,
        ended_at=None if end is None else START + end,
        end_reason=reason,
        items=items,
        samples=tuple(samples),
    )


def finished_account() -> Account:
    """Three hundred items on two pods, one outbid and one killed, each with one in its place."""
    rented = offer(price_class="interruptible", price=0.10)
    wanted = plan(pod_plan(0, 160, 3600, rented), pod_plan(1, 140, 3300, offer("NVIDIA A40", 0.35, 3.4)))
    pods = (
        pod("comfypod-0123-0-1", 0, 1500, reason="outbid", price_class="interruptible", dollars_per_hour=0.1, items=60),
        pod("comfypod-0123-1-1", 0, 2000, reason="killed", gpu="NVIDIA A40", dollars_per_hour=0.35, items=90),
        pod("comfypod-0123-0-2", 1560, 4000, reason="over", items=97, idle_from=3700),
        pod("comfypod-0123-1-2", 2060, 3950, reason="over", gpu="NVIDIA A40", dollars_per_hour=0.35, items=50),
    )
    made = 297
    progress = [
        Progress(at=START + moment, succeeded=min(made, int(moment / 13.4)), failed=moment // 1400)
        for moment in range(0, 4001, 50)
    ]
    return Account(
        batch=wanted.batch,
        state="over",
        plan=wanted,
        at=START + 4000,
        started_at=START,
        ended_at=START + 4000,
        items={"succeeded": made, "failed": 3},
        progress=tuple(progress),
        pods=pods,
        failures=(
            Failure(code="out_of_memory", message="The GPU has too little memory for this workflow.", items=2),
            Failure(code="invalid_workflow", message=HOSTILE, items=1),
        ),
        speeds=(
            Speed(gpu="NVIDIA RTX A4000", items=157, work=3140, gpu_seconds=1750, load_seconds=60),
            Speed(gpu="NVIDIA A40", items=140, work=2800, gpu_seconds=900, load_seconds=50),
        ),
        wasted_runs=4,
        wasted_gpu_seconds=44,
        files=297,
        file_bytes=297 * 1_400_000,
        offers=(
            offer(),
            rented,
            offer("NVIDIA A40", 0.35, 3.4),
            offer("NVIDIA GeForce RTX 4090", 0.34, 6.5),
            offer("NVIDIA H100 80GB HBM3", 1.99, 11.0),
        ),
    )
