"""RunPod's pods: rented once whatever happens to the answer, bid for while that is offered, ended for good."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfypod.batch.documents import Pod
from comfypod.batch.providers.interface import BiddingProvider
from comfypod.batch.providers.runpod_pods import RunPodProvider
from comfypod.cloud.clock import SystemClock
from comfypod.cloud.pods.account import Account
from comfypod.cloud.pods.calling import Caller
from comfypod.cloud.pods.own_pod import end_own_pod
from comfypod.cloud.pods.renting import Rentals
from comfypod.errors import NoCapacity, ProviderRefused, ProviderUnavailable
from tests.batch.providers.pods_site import A40, A4000, PodsSite, offer, until, wish


class QuickClock(SystemClock):
    """Pauses are a tenth as long."""

    def sleep(self, seconds: float, woken_by: threading.Event | None = None) -> None:
        super().sleep(seconds / 10, woken_by)


@pytest.fixture
def hasty(site: PodsSite) -> Iterator[RunPodProvider]:
    """One that gives a call up at the first failure."""
    caller = Caller(site.account, clock=QuickClock(), patience_seconds=0.01)
    rentals = Rentals(site.account, lambda _: True, caller=caller)
    provider = RunPodProvider(site.account, [offer()], rentals=rentals)
    yield provider
    provider.close()


@pytest.mark.parametrize("fault", ["cut:route=create,when=after", "status:route=create,code=502,acted=true"])
def test_a_pod_whose_answer_was_lost_is_found_and_not_rented_again(
    site: PodsSite, runpod: RunPodProvider, tmp_path: Path, fault: str
) -> None:
    site.plan(fault)
    pod = runpod.create(wish(tmp_path / "disk", offer()))
    assert pod.name == "comfypod-b1-0-0"
    assert [item["id"] for item in site.pods()] == [pod.identifier]


def test_a_pod_that_is_listed_late_is_waited_for(site: PodsSite, runpod: RunPodProvider, tmp_path: Path) -> None:
    site.send("POST", "/emulator/switches", {"listing": "late"})
    site.plan("cut:route=create,when=after")
    pod = runpod.create(wish(tmp_path / "disk", offer()))
    assert [item["id"] for item in site.pods()] == [pod.identifier]


def test_a_pod_that_was_not_rented_is_no_guess(site: PodsSite, hasty: RunPodProvider, tmp_path: Path) -> None:
    """The list does not show it, which may be the list's fault: nothing is sent again in this call."""
    site.plan("cut:route=create,when=before")
    with pytest.raises(ProviderUnavailable, match="may have been rented"):
        hasty.create(wish(tmp_path / "disk", offer()))
    assert site.pods() == []
    assert hasty.create(wish(tmp_path / "disk", offer())).name == "comfypod-b1-0-0"
    assert len(site.pods()) == 1


def test_of_two_pods_of_one_name_the_younger_is_ended(site: PodsSite, runpod: RunPodProvider, tmp_path: Path) -> None:
    first = runpod.create(wish(tmp_path / "disk", offer()))
    body = {"name": first.name, "image": "i", "gpu": {"id": A40}}
    assert site.send("POST", "/v2/pods", body)[0] == 201
    assert [pod.identifier for pod in runpod.pods()] == [first.identifier]
    live = {item["id"]: item["status"] for item in site.pods()}
    until(lambda: {item["id"]: item["status"] for item in site.pods()}[first.identifier] == "RUNNING")
    assert len(live) == 2
    until(lambda: sorted(item["status"] for item in site.pods()) == ["RUNNING", "TERMINATED"])


@pytest.mark.parametrize(
    "fault", ["status:code=500,times=2", "status:code=429,times=2", "cut:times=2", "latency:seconds=0.1"]
)
def test_calls_that_may_be_repeated_are(site: PodsSite, runpod: RunPodProvider, tmp_path: Path, fault: str) -> None:
    pod = runpod.create(wish(tmp_path / "disk", offer()))
    site.plan(fault)
    assert len(runpod.pods()) == 1
    site.plan(fault)
    runpod.end(pod)
    assert runpod.pods() == []


def test_a_platform_that_is_away_is_told_as_that(site: PodsSite, hasty: RunPodProvider, tmp_path: Path) -> None:
    site.plan("status:code=503,times=0")
    for call in (hasty.offers, hasty.pods, lambda: hasty.create(wish(tmp_path / "disk", offer()))):
        with pytest.raises(ProviderUnavailable):
            call()


def test_a_wrong_key_is_told_and_not_shown(site: PodsSite) -> None:
    provider = RunPodProvider(Account(site.emulator.url, "wrong-key"))
    with pytest.raises(ProviderRefused) as refusal:
        provider.pods()
    provider.close()
    assert "RUNPOD_API_KEY" in str(refusal.value)
    assert "wrong-key" not in str(refusal.value)


def test_without_money_nothing_else_is_tried(site: PodsSite, runpod: RunPodProvider, tmp_path: Path) -> None:
    site.plan("status:route=create,code=402")
    with pytest.raises(ProviderRefused, match="402"):
        runpod.create(wish(tmp_path / "disk", offer()))


def test_offers_have_the_prices_of_the_moment(site: PodsSite, runpod: RunPodProvider) -> None:
    site.send("POST", "/emulator/market", {"gpu": A4000, "on_demand_dollars": 0.5})
    site.send("POST", "/emulator/market", {"gpu": A40, "capacity": 0})
    found = [(item.gpu, item.price_class, item.dollars_per_hour, item.memory_bytes) for item in runpod.offers()]
    assert (A4000, "on_demand", 0.5, 16 * 10**9) in found
    assert (A4000, "interruptible", 0.09, 16 * 10**9) in found
    assert not [item for item in found if item[:2] == (A40, "on_demand")]


def bid(runpod: RunPodProvider, folder: Path, dollars: float, **options: int) -> Pod:
    wanted = offer(price_class="interruptible", dollars=0.09)
    return runpod.create(wish(folder, wanted, bid_dollars_per_hour=dollars, **options))


def test_a_bid_below_the_least_gets_nothing(site: PodsSite, runpod: RunPodProvider, tmp_path: Path) -> None:
    with pytest.raises(NoCapacity, match="no longer any instances"):
        bid(runpod, tmp_path / "disk", 0.08)
    pod = bid(runpod, tmp_path / "disk", 0.10)
    assert (pod.price_class, pod.dollars_per_hour) == ("interruptible", 0.10)
    running = until(lambda: next((item for item in runpod.pods() if item.state == "running"), None))
    assert (running.price_class, running.dollars_per_hour) == ("interruptible", 0.10)
    until((tmp_path / "disk/begun").exists)
    assert repr('a "b"\n$c') in (tmp_path / "disk/environment").read_text()


@pytest.mark.parametrize("state", ["EXITED", "TERMINATED"])
def test_a_pod_that_is_outbid_ends_with_that_reason(
    site: PodsSite, runpod: RunPodProvider, tmp_path: Path, state: str
) -> None:
    site.send("POST", "/emulator/switches", {"outbid": state})
    for number in range(2):
        bid(runpod, tmp_path / f"disk{number}", 0.10 + number / 100, number=number)
        until((tmp_path / f"disk{number}/begun").exists)
    status, answer = site.send("POST", "/emulator/rivals", {"gpu": A4000, "bid": 0.105})
    assert status == 200
    until((tmp_path / "disk0/told").exists)  # the lowest bid, with notice
    if state == "EXITED":
        lost = until(lambda: next((pod for pod in runpod.pods() if pod.state == "ended"), None))
        assert (lost.identifier, lost.end_reason) == (answer["outbid"], "outbid")
    else:  # it is listed no more
        until(lambda: [pod.name for pod in runpod.pods()] == ["comfypod-b1-1-0"])


def test_an_outbid_pod_comes_back_for_more(site: PodsSite, runpod: RunPodProvider, tmp_path: Path) -> None:
    assert isinstance(runpod, BiddingProvider)
    pod = bid(runpod, tmp_path / "disk", 0.10)
    until((tmp_path / "disk/begun").exists)
    site.strike(pod.name, "outbid")
    until(lambda: runpod.pods()[0].state == "ended")
    (tmp_path / "disk/begun").unlink()
    assert runpod.raise_bid(pod, 0.12).dollars_per_hour == 0.12
    until((tmp_path / "disk/begun").exists)
    assert until(lambda: runpod.pods()[0].state == "running" and runpod.pods()[0]).dollars_per_hour == 0.12


def test_where_interruptible_pods_are_gone_they_are_not_offered(
    site: PodsSite, runpod: RunPodProvider, tmp_path: Path
) -> None:
    site.send("POST", "/emulator/switches", {"spot": "gone"})
    assert {item.price_class for item in runpod.offers()} == {"on_demand"}
    with pytest.raises(NoCapacity, match="does not rent out interruptible pods any more"):
        bid(runpod, tmp_path / "disk", 0.10)
    assert runpod.create(wish(tmp_path / "disk", offer())).price_class == "on_demand"


def test_without_graphql_pods_are_rented_and_ended_all_the_same(
    site: PodsSite, hasty: RunPodProvider, tmp_path: Path
) -> None:
    site.plan("status:route=graphql,code=404,times=0")
    assert [item.price_class for item in hasty.offers()] == ["on_demand"]
    pod = hasty.create(wish(tmp_path / "disk", offer()))
    until((tmp_path / "disk/begun").exists)
    site.strike(pod.name, "lose_machine")
    ended = until(lambda: next((item for item in hasty.pods() if item.state == "ended"), None))
    assert ended.end_reason == "exited"
    hasty.end(pod)
    assert hasty.pods() == []


def test_a_program_that_ends_is_started_again_until_the_pod_is_ended(
    site: PodsSite, runpod: RunPodProvider, tmp_path: Path
) -> None:
    pod = runpod.create(wish(tmp_path / "disk", offer(), kind="short"))
    until(lambda: site.pods()[0]["restarts"] >= 2)
    runpod.end(pod)
    until(lambda: site.pods()[0]["status"] == "TERMINATED")


@pytest.mark.parametrize(
    ("pod_key", "status"), [("terminates", "TERMINATED"), ("stops", "EXITED"), ("nothing", "RUNNING")]
)
def test_a_pod_ends_itself_as_far_as_its_key_goes(
    site: PodsSite, runpod: RunPodProvider, tmp_path: Path, pod_key: str, status: str
) -> None:
    site.send("POST", "/emulator/switches", {"pod_key": pod_key})
    runpod.create(wish(tmp_path / "disk", offer()))
    until((tmp_path / "disk/begun").exists)
    environment = eval((tmp_path / "disk/environment").read_text())  # noqa: S307 (what the test's own program wrote)
    assert end_own_pod(environment) is (pod_key != "nothing")
    until(lambda: site.pods()[0]["status"] == status)


def test_a_process_that_is_no_pod_ends_nothing() -> None:
    assert not end_own_pod({})
    assert not end_own_pod({"RUNPOD_POD_ID": "../x", "RUNPOD_API_KEY": "key"})
    assert not end_own_pod({"RUNPOD_POD_ID": "x", "RUNPOD_API_KEY": "key", "RUNPOD_API_BASE_URL": "ftp://x"})


def test_what_is_known_of_a_class_of_a_type_is_kept(site: PodsSite) -> None:
    known = [offer(), offer(price_class="interruptible", interruptions_per_hour=2.0), offer(A40)]
    provider = RunPodProvider(site.account, known)
    found = {(item.gpu, item.price_class): item.interruptions_per_hour for item in provider.offers()}
    provider.close()
    assert found[A4000, "on_demand"] == found[A40, "on_demand"] == 0.0
    assert found[A4000, "interruptible"] == 2.0
    assert found[A40, "interruptible"] > 0.0
