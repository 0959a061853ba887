"""The local RunPod as users of ``runpod.AsyncioEndpoint`` (runpod-python 1.12.0) meet it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign.clients import ClientError, ClientProcess, EndpointAddress, until
from tests.foreign.contract import ClientContract
from tests.foreign.receiver import WebhookReceiver
from tests.foreign.snippets import picture_of, snippet

SCRIPT = Path(__file__).with_name("asyncio_sdk_client.py")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientProcess]:
    with ClientProcess([sys.executable, str(SCRIPT)], tmp_path_factory.mktemp("home")) as client:
        yield client


class TestAsyncioEndpoint(ClientContract):
    def test_whatever_is_given_to_run_is_the_input(self, client: ClientProcess, receiver: WebhookReceiver) -> None:
        """So neither a webhook nor a policy can be sent with it."""
        body = {"input": {"text": "wrapped"}, "webhook": receiver.url}
        job = client.call("run_with_fields", body)
        until(lambda: client.status(job) == "COMPLETED")
        assert client.result(job) == {"echo": body}
        assert receiver.received(job) == []

    def test_output_without_a_timeout_does_not_wait(self, client: ClientProcess, tmp_path: Path) -> None:
        go = tmp_path / "go"
        job = client.run({"input": {"do": "report", "go": str(go)}})
        with pytest.raises(ClientError, match=r"TimeoutError: Job timed out\."):
            client.call("output", job)
        go.touch()
        until(lambda: client.status(job) == "COMPLETED")

    def test_a_failed_job_has_no_output_and_does_not_raise(self, client: ClientProcess) -> None:
        job = client.run({"input": {"do": "raise"}})
        until(lambda: client.status(job) == "FAILED")
        assert client.result(job) is None

    def test_a_wrong_key_shows_as_an_answer_of_another_shape(
        self, client: ClientProcess, endpoint: EndpointAddress
    ) -> None:
        """It does not look at the status of the answer."""
        client.use(endpoint._replace(api_key="rpa_wrong"))
        assert "workers" not in client.health()
        with pytest.raises(ClientError, match="KeyError: 'id'"):
            client.run({"input": {"text": "refused"}})

    def test_the_how_to_makes_a_picture(self, picture_endpoint: EndpointAddress, tmp_path: Path) -> None:
        command = [sys.executable, "-c", snippet("Python with asyncio")]
        assert picture_of(command, picture_endpoint, tmp_path) == (64, 64)
