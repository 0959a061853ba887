"""A scripted platform, and a client of it that waits for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfypod import Client
from tests.cloud.scripted_runpod import API_KEY, ENDPOINT_ID, FakeClock, ScriptedRunPod


@pytest.fixture
def platform() -> Iterator[ScriptedRunPod]:
    with ScriptedRunPod() as platform:
        yield platform


@pytest.fixture
def clock(platform: ScriptedRunPod) -> FakeClock:
    return FakeClock(platform.after_attempt)


@pytest.fixture
def client(platform: ScriptedRunPod, clock: FakeClock) -> Iterator[Client]:
    with Client(ENDPOINT_ID, API_KEY, platform.base_url, clock=clock) as client:
        yield client
