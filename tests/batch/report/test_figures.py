"""What follows from an account: dollars, seconds, the end in sight, and what another GPU would have cost."""

from __future__ import annotations

import itertools
import json

import pytest

from comfypod.batch.account import Account, PodAccount, Progress, Sample, Speed
from comfypod.batch.documents import GIGABYTE, Pulse
from comfypod.batch.figures import figures, hourly_dollars, pod_dollars, pod_seconds, pod_spans
from tests.batch.report.accounts import START, finished_account, offer, plan, pod, pod_plan


def a_pod(*samples: Sample, begin: float = 0, hello: float | None = 100, end: float | None = 1000) -> PodAccount:
    return pod("comfypod-b-0-1", begin, end).model_copy(
        update={"samples": samples, "hello_at": None if hello is None else START + hello}
    )


def sample(at: float, busy: float = 0, idle: float = 0) -> Sample:
    return Sample(at=START + at, busy_seconds=busy, idle_seconds=idle)


def test_every_paid_second_has_one_purpose() -> None:
    ours = a_pod(sample(110), sample(200), sample(300, busy=80), sample(900, busy=600, idle=50))
    seconds = pod_seconds(ours, START + 5000)
    assert seconds == {"setup": 100, "download": 120, "generate": 600, "idle": 50, "other": 130}
    assert sum(seconds.values()) == 1000


def test_a_pod_that_never_said_hello_was_set_up_all_the_time() -> None:
    assert pod_seconds(a_pod(hello=None, end=400), START)["setup"] == 400
    assert pod_spans(a_pod(hello=None, end=400), START)[0][2] == "setup"


def test_a_pod_that_is_still_there_is_paid_until_now() -> None:
    ours = a_pod(sample(110), end=None)
    assert sum(pod_seconds(ours, START + 700).values()) == 700
    assert pod_dollars(ours, START + 3600) == pytest.approx(0.17)
    assert pod_dollars(ours, START - 10) == 0


def test_the_disk_is_paid_too() -> None:
    assert hourly_dollars(a_pod().model_copy(update={"disk_dollars_per_hour": 0.01})) == pytest.approx(0.18)


def test_a_runner_that_begins_anew_counts_from_zero_and_no_second_is_lost_or_paid_twice() -> None:
    ours = a_pod(sample(200, busy=100), sample(500, busy=400), sample(600, busy=60), sample(900, busy=350))
    seconds = pod_seconds(ours, START)
    assert seconds["generate"] == 100 + 300 + 60 + 290
    assert sum(seconds.values()) == 1000


def test_a_clock_that_jumps_makes_no_negative_seconds() -> None:
    ours = a_pod(sample(200, busy=5000), sample(300, busy=5000, idle=9000))
    assert all(value >= 0 for value in pod_seconds(ours, START).values())
    assert sum(pod_seconds(ours, START).values()) == 1000


def test_spans_follow_one_another_and_neighbours_of_one_purpose_are_one() -> None:
    spans = pod_spans(finished_account().pods[2], START + 4000)
    assert [span.purpose for span in spans] == ["setup", "download", "generate", "idle", "other"]
    assert all(before.end == after.begin for before, after in itertools.pairwise(spans))


def test_dollars_by_purpose_are_the_pods_dollars() -> None:
    account = finished_account()
    found = figures(account)
    assert found.dollars == pytest.approx(sum(pod_dollars(pod, account.at) for pod in account.pods))
    assert found.dollars == pytest.approx(sum(found.dollars_by_purpose.values()))
    assert found.dollars_per_item == pytest.approx(found.dollars / 297)
    assert found.finish_after_plan_seconds == 400
    assert found.wasted_share == pytest.approx(44 / (1750 + 900 + 44))


def running(succeeded: int, now: float, progress: tuple[Progress, ...]) -> Account:
    return Account(
        batch="b",
        state="running",
        plan=plan(pod_plan(0, 100, 1000, offer())),
        at=START + now,
        started_at=START,
        items={"waiting": 90 - succeeded, "leased": 10, "succeeded": succeeded},
        progress=progress,
        pods=(pod("comfypod-b-0-1", 0, None),),
    )


def test_the_end_in_sight_follows_the_latter_half_of_what_was_made() -> None:
    # The first half was slow, and is over.
    progress = tuple(Progress(at=START + at, succeeded=made) for at, made in ((0, 0), (100, 1), (300, 10), (500, 50)))
    found = figures(running(50, 500, progress))
    assert found.finish_at == pytest.approx(START + 500 + 50 * 200 / 40)
    assert found.dollars_at_finish == pytest.approx((500 + 250) / 3600 * 0.17)
    assert found.planned_finish_at == START + 1000


def test_before_the_first_item_nobody_knows_the_end() -> None:
    found = figures(running(0, 120, (Progress(at=START + 100, succeeded=0),)))
    assert (found.finish_at, found.dollars_per_item, found.dollars_at_finish, found.alternatives) == (None,) * 3 + ((),)


def test_nothing_has_happened_yet() -> None:
    found = figures(running(0, 0, ()).model_copy(update={"pods": ()}))
    assert (found.dollars, found.idle_share, found.share("idle"), found.items_per_hour) == (0, 0, 0, None)


def test_another_gpu_is_as_fast_as_measured_or_else_as_promised_as_far_as_promises_were_kept() -> None:
    account = finished_account().model_copy(
        update={
            "plan": plan(pod_plan(0, 300, 3600, offer(speed=2.0))),
            "speeds": (Speed(gpu="NVIDIA RTX A4000", items=300, work=3600, gpu_seconds=3700, load_seconds=100),),
            "pods": (pod("comfypod-b-0-1", 0, 4000, items=300).model_copy(update={"samples": ()}),),
            "offers": (offer(setup_seconds=0), offer("twice", 1.0, 4.0, setup_seconds=0)),
            "items": {"succeeded": 300},
        }
    )
    twice, same = sorted(figures(account).alternatives, key=lambda item: item.hours)
    assert same.hours == pytest.approx(3700 / 3600)  # 1 megapixel-step a second, not the promised 2
    assert twice.hours == pytest.approx((1800 + 100) / 3600)
    assert twice.dollars_per_item == pytest.approx(twice.dollars / 300)


def test_disk_and_interruptions_are_in_the_price_of_another_gpu() -> None:
    account = finished_account().model_copy(update={"offers": (offer(), offer(disk_dollars_per_gigabyte_hour=0.01))})
    cheap, dear = figures(account).alternatives
    assert dear.dollars / dear.hours == pytest.approx(cheap.dollars / cheap.hours + 0.01 * 20)
    account = account.model_copy(update={"offers": (offer(), offer(interruptions_per_hour=6, setup_seconds=600))})
    steady, interrupted = figures(account).alternatives
    assert interrupted.hours > 1.9 * steady.hours


def test_an_account_survives_its_json() -> None:
    account = finished_account()
    assert Account.model_validate_json(account.model_dump_json()) == account
    assert json.loads(figures(account).model_dump_json())["dollars"] > 0
    assert GIGABYTE == 10**9
    assert Pulse(in_hand=(), present=()).idle_seconds == 0
