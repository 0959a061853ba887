"""The local RunPod as users of curl meet it, with the commands of RunPod's documentation.

docs.runpod.io, "Operation reference" (serverless/endpoints/operation-reference.mdx): only the host is another, and the
input where a test needs its own. What is about the test and not about RunPod, such as a deadline, stands in a .curlrc.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.foreign.clients import EndpointAddress, own_environment, until
from tests.foreign.contract import ClientContract
from tests.foreign.snippets import picture_of, snippet

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")

DOCUMENTED_HOST = "https://api.runpod.ai/v2"
DOCUMENTED_JOB = "YOUR_JOB_ID"
DOCUMENTED_INPUT = {"prompt": "Hello, world!"}

RUN_SYNC = r"""
curl --request POST \
     --url https://api.runpod.ai/v2/$ENDPOINT_ID/runsync \
     -H "accept: application/json" \
     -H "authorization: $RUNPOD_API_KEY" \
     -H "content-type: application/json" \
     -d '{ "input": {  "prompt": "Hello, world!" }}'
"""
RUN = r"""
curl --request POST \
     --url https://api.runpod.ai/v2/$ENDPOINT_ID/run \
     -H "accept: application/json" \
     -H "authorization: $RUNPOD_API_KEY" \
     -H "content-type: application/json" \
    -d '{"input": {"prompt": "Hello, world!"}}'
"""
STATUS = r"""
curl --request GET \
     --url https://api.runpod.ai/v2/$ENDPOINT_ID/status/YOUR_JOB_ID \
     -H "authorization: $RUNPOD_API_KEY" \
"""
STREAM = r"""
curl --request GET \
     --url https://api.runpod.ai/v2/$ENDPOINT_ID/stream/YOUR_JOB_ID \
     -H "accept: application/json" \
     -H "authorization: $RUNPOD_API_KEY" \
"""
CANCEL = r"""
curl --request POST \
  --url https://api.runpod.ai/v2/$ENDPOINT_ID/cancel/YOUR_JOB_ID \
  -H "authorization: $RUNPOD_API_KEY" \
"""
RETRY = r"""
curl --request POST \
     --url https://api.runpod.ai/v2/$ENDPOINT_ID/retry/YOUR_JOB_ID \
     -H "authorization: $RUNPOD_API_KEY"
"""
PURGE_QUEUE = r"""
curl --request POST \
     --url https://api.runpod.ai/v2/$ENDPOINT_ID/purge-queue \
     -H "authorization: $RUNPOD_API_KEY"
"""
HEALTH = r"""
curl --request GET \
     --url https://api.runpod.ai/v2/$ENDPOINT_ID/health \
     -H "authorization: $RUNPOD_API_KEY"
"""
CURLRC = r"""
silent
show-error
max-time = 25
write-out = "\n%{http_code}"
"""
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}


class Curl:
    """The documented commands, run by a shell."""

    def __init__(self, folder: Path) -> None:
        (folder / ".curlrc").write_text(CURLRC, encoding="utf-8")
        self._folder = folder
        self._endpoint = EndpointAddress("", "", "")

    def use(self, endpoint: EndpointAddress) -> None:
        self._endpoint = endpoint

    def send(self, command: str, job_id: str = "") -> tuple[int, Any]:
        """The status and the document that a command brings."""
        environment = own_environment(
            CURL_HOME=str(self._folder),
            HOME=str(self._folder),
            ENDPOINT_ID=self._endpoint.endpoint_id,
            RUNPOD_API_KEY=self._endpoint.api_key,
        )
        command = command.replace(DOCUMENTED_HOST, self._endpoint.base_url)
        command = command.replace(DOCUMENTED_JOB, job_id)
        done = subprocess.run(
            ["/bin/sh", "-c", command], check=False, env=environment, capture_output=True, encoding="utf-8", timeout=30
        )
        assert done.returncode == 0, done.stderr
        document, status = done.stdout.rsplit("\n", 1)
        return int(status), json.loads(document)

    def document_of(self, command: str, job_id: str = "") -> Any:
        status, document = self.send(command, job_id)
        assert status == 200, document
        return document

    def run(self, body: dict[str, Any]) -> str:
        return str(self.document_of(with_body(RUN, body))["id"])

    def run_sync(self, body: dict[str, Any]) -> Any:
        return self.document_of(with_body(RUN_SYNC, body))["output"]

    def status(self, job_id: str) -> str:
        return str(self.document(job_id)["status"])

    def document(self, job_id: str) -> dict[str, Any]:
        return dict(self.document_of(STATUS, job_id))

    def result(self, job_id: str) -> Any:
        until(lambda: self.status(job_id) in ENDED)
        return self.document(job_id)["output"]

    def stream(self, job_id: str, go: Path) -> list[Any]:
        outputs: list[Any] = []
        while True:
            answer = self.document_of(STREAM, job_id)
            outputs += [chunk["output"] for chunk in answer["stream"]]
            if outputs:
                go.touch()
            if answer["status"] in ENDED and not answer["stream"]:
                return outputs

    def cancel(self, job_id: str) -> dict[str, Any]:
        return dict(self.document_of(CANCEL, job_id))

    def retry(self, job_id: str) -> dict[str, Any]:
        return dict(self.document_of(RETRY, job_id))

    def purge_queue(self) -> dict[str, Any]:
        return dict(self.document_of(PURGE_QUEUE))

    def health(self) -> dict[str, Any]:
        return dict(self.document_of(HEALTH))


def with_body(command: str, body: dict[str, Any]) -> str:
    """The command with another body than the documented one."""
    start = command.index("-d '") + len("-d '")
    return command[:start] + json.dumps(body) + command[command.rindex("'") :]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Curl:
    return Curl(tmp_path_factory.mktemp("curl"))


class TestCurl(ClientContract):
    def test_the_documented_commands_work_as_they_stand(self, client: Curl) -> None:
        answer = client.document_of(RUN_SYNC)
        assert (answer["status"], answer["output"]) == ("COMPLETED", {"echo": DOCUMENTED_INPUT})
        assert answer["id"].startswith("sync-")
        answer = client.document_of(RUN)
        assert answer == {"id": answer["id"], "status": "IN_QUEUE"}
        assert client.result(answer["id"]) == {"echo": DOCUMENTED_INPUT}

    def test_an_answer_of_runsync_is_not_held_longer_than_asked_for(self, client: Curl, held: list[str]) -> None:
        status, answer = client.send(RUN_SYNC.replace("/runsync", "/runsync?wait=1000"))
        assert (status, answer["status"]) == (200, "IN_QUEUE")
        client.cancel(answer["id"])

    def test_the_key_may_come_as_a_bearer(self, client: Curl) -> None:
        command = HEALTH.replace("$RUNPOD_API_KEY", "Bearer $RUNPOD_API_KEY")
        assert client.send(command)[0] == 200

    @pytest.mark.parametrize(
        ("command", "status"),
        [
            (HEALTH.replace("$RUNPOD_API_KEY", "rpa_wrong"), 401),
            (HEALTH.replace("$ENDPOINT_ID", "ep-none"), 404),
            (STATUS, 404),
            (RUN.replace('"input"', '"inputs"'), 400),
            (RUN.replace("Hello", '"'), 400),
        ],
        ids=["key", "endpoint", "job", "input", "JSON"],
    )
    def test_a_wrong_request_is_refused_with_a_sentence(self, client: Curl, command: str, status: int) -> None:
        refused, answer = client.send(command, "no-such-job")
        assert refused == status
        assert answer["error"].endswith((".", ")"))

    def test_a_time_to_live_given_to_status_ends_the_job(self, client: Curl) -> None:
        job = client.run({"input": DOCUMENTED_INPUT})
        client.result(job)
        assert client.send(STATUS, f"{job}?ttl=100")[0] == 200
        until(lambda: client.send(STATUS, job)[0] == 404)

    def test_the_how_to_makes_a_picture(self, picture_endpoint: EndpointAddress, tmp_path: Path) -> None:
        assert picture_of(["/bin/sh", "-e", "-c", snippet("curl")], picture_endpoint, tmp_path) == (64, 64)
