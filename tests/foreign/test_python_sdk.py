"""The local RunPod as users of ``runpod.Endpoint`` (runpod-python 1.12.0) meet it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign.clients import ClientError, ClientProcess, EndpointAddress, until
from tests.foreign.contract import ClientContract
from tests.foreign.snippets import picture_of, snippet

SCRIPT = Path(__file__).with_name("python_sdk_client.py")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientProcess]:
    with ClientProcess([sys.executable, str(SCRIPT)], tmp_path_factory.mktemp("home")) as client:
        yield client


class TestEndpoint(ClientContract):
    def test_progress_is_the_output_until_there_is_one(self, client: ClientProcess, tmp_path: Path) -> None:
        go = tmp_path / "go"
        job = client.run({"input": {"do": "report", "go": str(go)}})
        until(lambda: client.call("output", job) == {"step": 1})
        go.touch()
        until(lambda: client.call("output", job) == {"step": 2})

    def test_an_input_may_come_without_its_envelope(self, client: ClientProcess) -> None:
        assert client.run_sync({"text": "bare"}) == {"echo": {"text": "bare"}}

    def test_an_empty_input_is_wrapped_so_that_it_runs(self, client: ClientProcess) -> None:
        assert client.run_sync({"input": {}}) == {"echo": {"input": {}}}

    def test_a_failed_job_has_no_output_and_does_not_raise(self, client: ClientProcess) -> None:
        job = client.run({"input": {"do": "raise"}})
        until(lambda: client.status(job) == "FAILED")
        assert client.call("output", job) is None

    def test_a_wrong_key_is_named_as_such(self, client: ClientProcess, endpoint: EndpointAddress) -> None:
        client.use(endpoint._replace(api_key="rpa_wrong"))
        with pytest.raises(ClientError, match="RuntimeError: 401 Unauthorized"):
            client.health()

    def test_an_endpoint_that_does_not_exist_is_not_found(
        self, client: ClientProcess, endpoint: EndpointAddress
    ) -> None:
        client.use(endpoint._replace(endpoint_id="ep-none"))
        with pytest.raises(ClientError, match="HTTPError: 404"):
            client.health()

    def test_the_how_to_makes_a_picture(self, picture_endpoint: EndpointAddress, tmp_path: Path) -> None:
        command = [sys.executable, "-c", snippet("Python")]
        assert picture_of(command, picture_endpoint, tmp_path) == (64, 64)
