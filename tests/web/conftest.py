"""A platform that does as it is told, and a client of it that waits as clients do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfypod import Client
from tests.cloud.scripted_runpod import ScriptedRunPod
from tests.web.run_site import client_of


@pytest.fixture
def platform() -> Iterator[ScriptedRunPod]:
    with ScriptedRunPod() as platform:
        yield platform


@pytest.fixture
def client(platform: ScriptedRunPod) -> Iterator[Client]:
    with client_of(platform) as client:
        yield client
