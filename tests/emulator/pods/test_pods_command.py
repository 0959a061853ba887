"""``comfypod emulate pods``: what its options mean, and that it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from comfypod.cli.emulate_pods import PodsCommand, read_stock, serve_pods
from comfypod.errors import ConfigurationError


def test_a_type_is_read_with_its_figures() -> None:
    stock = read_stock("NVIDIA A40=3,0.35,0.2")
    assert (stock.gpu, stock.capacity, stock.on_demand_dollars, stock.minimum_bid_dollars) == (
        "NVIDIA A40",
        3,
        0.35,
        0.2,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"gpus": ["NVIDIA A40"]},
        {"gpus": ["NVIDIA A40=3,0.35"]},
        {"gpus": ["NVIDIA A40=x,0.35,0.2"]},
        {"switches": ["spot=maybe"]},
        {"faults": ["cut:route=nowhere"]},
        {"environment": ["GREETING"]},
        {"host": "0.0.0.0"},  # noqa: S104 (refused: the key is the one that everybody knows)
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    given = {"host": "127.0.0.1", "port": 0, "api_key": "local", **options}
    with pytest.raises(ConfigurationError):
        serve_pods(PodsCommand(**given))  # type: ignore[arg-type]


def test_it_serves_until_it_is_told_to_end_and_says_what_was_spent() -> None:
    command = [sys.executable, "-m", "comfypod", "emulate", "pods", "--port", "0", "--start-seconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("ready ").strip()
            document = json.dumps({"name": "x", "image": "i", "gpu": {"id": "NVIDIA A40"}}).encode()
            request = urllib.request.Request(f"{url}/v2/pods", document, {"Authorization": "Bearer local"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                assert response.status == 201
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "images are ignored" in told
    assert "Spent: " in told
