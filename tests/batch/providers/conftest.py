from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfypod.batch.documents import Offer
from comfypod.batch.providers.interface import Provider
from comfypod.batch.providers.local import LocalProvider
from comfypod.batch.providers.runpod_pods import RunPodProvider
from tests.batch.providers.pods_site import A40, PodsSite, offer


@pytest.fixture
def site() -> Iterator[PodsSite]:
    with PodsSite(grace_seconds=0.3) as running:
        yield running


@pytest.fixture
def runpod(site: PodsSite) -> Iterator[RunPodProvider]:
    provider = RunPodProvider(site.account, [offer(), offer(A40, dollars=0.35)])
    yield provider
    provider.close()


@pytest.fixture(params=["local", "runpod"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provider]:
    """Each of them, with two pods of a type at most."""
    if request.param == "runpod":
        yield request.getfixturevalue("runpod")
        return
    local = LocalProvider(tmp_path / "pods", [local_offer()], grace_seconds=0.3)
    yield local
    for pod in local.pods():
        local.end(pod)


def local_offer() -> Offer:
    return offer(provider="local", most_pods=2)
