"""What every provider must do: the same tests against processes of this machine, and RunPod's API, emulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfypod.batch.documents import Offer, Pod
from comfypod.batch.providers.interface import Provider
from comfypod.errors import NoCapacity, ProviderRefused
from tests.batch.providers.pods_site import until, wish


def rent(provider: Provider, folder: Path, wanted: Offer | None = None, **options: Any) -> Pod:
    return provider.create(wish(folder, wanted or provider.offers()[0], **options))


def one(provider: Provider, name: str) -> Pod | None:
    return next((pod for pod in provider.pods() if pod.name == name), None)


def is_alive(folder: Path) -> bool:
    pid = int((folder / "begun").read_text())
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_pod_runs_its_command_with_its_environment(provider: Provider, tmp_path: Path) -> None:
    pod = rent(provider, tmp_path / "disk")
    assert (pod.name, pod.gpu, pod.price_class) == ("comfypod-b1-0-0", provider.offers()[0].gpu, "on_demand")
    assert pod.dollars_per_hour == provider.offers()[0].dollars_per_hour
    assert pod.state in {"starting", "running"}
    until((tmp_path / "disk/begun").exists)
    environment = (tmp_path / "disk/environment").read_text()
    assert repr('a "b"\n$c') in environment
    running = until(lambda: (found := one(provider, pod.name)) and found.state == "running" and found)
    assert running.identifier == pod.identifier
    assert running.started_at is not None


def test_a_pod_is_told_to_end_and_is_ended(provider: Provider, tmp_path: Path) -> None:
    pod = rent(provider, tmp_path / "disk")
    until((tmp_path / "disk/begun").exists)
    provider.end(pod)
    until(lambda: not is_alive(tmp_path / "disk"))
    assert (tmp_path / "disk/told").exists()
    until(lambda: (found := one(provider, pod.name)) is None or found.state == "ended")


def test_a_pod_that_does_not_listen_is_killed(provider: Provider, tmp_path: Path) -> None:
    pod = rent(provider, tmp_path / "disk", kind="stubborn")
    until((tmp_path / "disk/begun").exists)
    provider.end(pod)
    until(lambda: not is_alive(tmp_path / "disk"))
    assert (tmp_path / "disk/told").exists()


def test_ending_a_pod_again_or_one_that_never_was_is_no_error(provider: Provider, tmp_path: Path) -> None:
    pod = rent(provider, tmp_path / "disk")
    provider.end(pod)
    provider.end(pod)
    provider.end(pod.model_copy(update={"identifier": "999999", "name": "comfypod-b1-9-9"}))


def test_the_same_name_is_never_rented_twice(provider: Provider, tmp_path: Path) -> None:
    pods = [rent(provider, tmp_path / "disk") for _ in range(2)]
    assert pods[0].identifier == pods[1].identifier
    assert len(provider.pods()) == 1


def test_when_all_are_rented_there_is_no_capacity_until_one_is_free(provider: Provider, tmp_path: Path) -> None:
    wanted = provider.offers()[0]
    pods = [rent(provider, tmp_path / f"disk{number}", wanted, number=number) for number in range(2)]
    with pytest.raises(NoCapacity) as refusal:
        rent(provider, tmp_path / "disk2", wanted, number=2)
    assert refusal.value.retryable
    provider.end(pods[0])
    until(lambda: _rented(provider, tmp_path / "disk2", wanted))


def _rented(provider: Provider, folder: Path, wanted: Offer) -> bool:
    try:
        rent(provider, folder, wanted, number=2)
    except NoCapacity:
        return False
    return True


def test_pods_are_listed_by_batch_and_only_ours(provider: Provider, tmp_path: Path) -> None:
    rent(provider, tmp_path / "disk")
    assert [pod.name for pod in provider.pods("b1")] == ["comfypod-b1-0-0"]
    assert provider.pods("b2") == []
    assert provider.pods("b") == []


@pytest.mark.parametrize("name", ["../../x", "comfypod-b2-0-0", "comfypod-b1-0", "comfypod-b1-0-0/.."])
def test_a_name_that_is_none_of_the_batch_is_refused(provider: Provider, tmp_path: Path, name: str) -> None:
    wanted = wish(tmp_path / "disk", provider.offers()[0]).model_copy(update={"name": name})
    with pytest.raises(ProviderRefused):
        provider.create(wanted)
    assert provider.pods() == []
