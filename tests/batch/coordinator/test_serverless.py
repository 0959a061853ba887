"""A batch as jobs of an endpoint: leases, files, records and money as with pods."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from comfypod.batch.coordinator.serverless import ServerlessOptions, ServerlessRun
from comfypod.batch.coordinator.serverless_plan import serverless_plan
from comfypod.batch.documents import File, Signature
from comfypod.batch.store import BatchStore
from comfypod.cloud.job import Job
from comfypod.cloud.jobs import JobState, JobStatus
from comfypod.cloud.many import Outcome
from comfypod.cloud.result import Result
from comfypod.errors import CloudUnavailable, ComfyPodError, InvalidWorkflow, PlanImpossible
from tests.batch.coordinator.making import CHECKPOINTS, asset, items, new_batch, offer

SERVERLESS = offer(gpu="RTX 4090", price_class="serverless", dollars_per_hour=3.6, megapixel_steps_per_second=10.0)


class Wanted:
    """What is asked of a manifest."""

    def __init__(self, count: int) -> None:
        self.identifier, self.count = "batch1", count
        self.assets = {key: asset(key) for key in CHECKPOINTS}

    def signatures(self) -> dict[Signature, tuple[int, float]]:
        half = self.count // 2
        return {Signature(bases=(key,)): (half, 20.0 * half) for key in CHECKPOINTS}


class Endpoint:
    """Runs each job at once, in 2 s of a worker's time; ``answer`` may say otherwise."""

    def __init__(self, answer: Callable[[int, str], Any] = lambda run, key: None) -> None:
        self.inputs: list[Mapping[str, Any]] = []
        self._answer = answer

    def run_many(self, items: Iterable[Mapping[str, Any]], concurrency: int) -> Generator[Outcome, None, None]:
        for index, item in enumerate(items):
            self.inputs.append(item)
            key = item["idempotency_key"]
            made = self._answer(len(self.inputs), key) or {
                "status": "success",
                "images": [picture("a.png"), picture("a.png")],
            }
            status = JobStatus(f"job{index}", JobState.COMPLETED, execution_ms=2000)
            job = Job(None, status, key)  # type: ignore[arg-type]
            if isinstance(made, ComfyPodError):
                yield Outcome(index, job, error=made)
            else:
                yield Outcome(index, job, Result(made))


def picture(name: str) -> dict[str, str]:
    return {
        "type": "base64",
        "filename": name,
        "data": base64.b64encode(b"picture").decode(),
        "content_type": "image/png",
    }


class Scene:
    def __init__(self, url: str, count: int = 8, **fields: Any) -> None:
        self.store = BatchStore.open(url)
        planned = serverless_plan(Wanted(count), [SERVERLESS], 4, None)
        self.batch = self.store.begin(new_batch(planned, provider="serverless", **fields))
        self.store.fill(self.batch.number, items(count))
        self.saved: dict[str, bytes] = {}

    def run(self, endpoint: Endpoint, *, is_once: bool = False) -> None:
        options = ServerlessOptions(offer=SERVERLESS, at_once=4, is_once=is_once, pulse_seconds=0.05)
        ServerlessRun(self.store, self.batch.number, endpoint, self.save, options).run(threading.Event())

    def save(self, path: Path, file: File) -> File:
        self.saved[file.name] = path.read_bytes()
        return file


@pytest.fixture
def make(sqlite_url: str) -> Callable[..., Scene]:
    return lambda **fields: Scene(sqlite_url, **fields)


def test_every_item_is_a_job_and_its_files_go_where_results_go(make: Callable[..., Scene]) -> None:
    scene, endpoint = make(), Endpoint()
    scene.run(endpoint, is_once=True)
    assert sorted(item["idempotency_key"] for item in endpoint.inputs) == [f"{row:032x}" for row in range(8)]
    assert endpoint.inputs[0]["job_input"] == {"prompt": "picture 0", "once": True}
    assert sorted(scene.saved) == sorted(f"{row:032x}/{name}" for row in range(8) for name in ("a.png", "a (2).png"))
    account = scene.store.account(scene.batch.number)
    assert (account.state, account.items["succeeded"], account.files) == ("over", 8, 16)
    (pod,) = account.pods
    assert pod.price_class == "serverless"
    assert pod.ended_at is not None
    assert account.speeds[0].gpu_seconds == 8.0
    live = scene.store.pods(scene.batch.number, live_only=True)
    assert live == []


def test_what_fails_for_itself_has_failed_and_what_says_nothing_of_it_is_run_again(make: Callable[..., Scene]) -> None:
    def answer(run: int, key: str) -> Any:
        if int(key, 16) == 3:
            return InvalidWorkflow("no such node")
        return CloudUnavailable("endpoint", "away") if run == 1 else None

    scene, endpoint = make(lease_seconds=0.3), Endpoint(answer)
    scene.run(endpoint)
    account = scene.store.account(scene.batch.number)
    assert (account.items["succeeded"], account.items["failed"], len(endpoint.inputs)) == (7, 1, 9)
    assert [failure.code for failure in account.failures] == ["invalid_workflow"]


def test_no_job_is_begun_that_the_money_does_not_suffice_for(make: Callable[..., Scene]) -> None:
    scene, endpoint = make(count=100, budget_dollars=0.05), Endpoint()  # a job costs $0.002
    scene.run(endpoint)
    batch = scene.store.of(scene.batch.number)
    assert (batch.state, batch.note) == ("paused", "the budget of $0.05 is spent")
    assert 15 <= len(endpoint.inputs) <= 25


def test_a_cancelled_batch_ends_the_run(make: Callable[..., Scene]) -> None:
    scene = make(count=100)

    def answer(run: int, key: str) -> Any:
        if run == 5:
            scene.store.change_state(scene.batch.number, "cancelled")
        return None

    endpoint = Endpoint(answer)
    scene.run(endpoint)
    assert len(endpoint.inputs) <= 9
    assert scene.store.counts(scene.batch.number)["cancelled"] >= 91


def test_a_plan_for_an_endpoint_takes_the_cheapest_and_refuses_what_the_budget_does_not_allow() -> None:
    dear = offer(gpu="H100", price_class="serverless", dollars_per_hour=10.0, megapixel_steps_per_second=11.0)
    planned = serverless_plan(Wanted(8), [dear, SERVERLESS], 4, None)
    assert planned.pods[0].offer.gpu == "RTX 4090"
    assert planned.dollars == pytest.approx((160 / 10 + 2 * 8) / 3600 * 3.6)
    with pytest.raises(PlanImpossible, match=r"about \$0.0320"):
        serverless_plan(Wanted(8), [SERVERLESS], 4, 0.03)
    with pytest.raises(PlanImpossible, match="serverless"):
        serverless_plan(Wanted(8), [], 4, None)
