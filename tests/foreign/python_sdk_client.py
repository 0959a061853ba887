"""``runpod.Endpoint`` and its jobs, to be told what to do (`clients.ClientProcess`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import runpod
from answering import answer_with, answer_with_error
from runpod.endpoint import Job


class PythonSdkClient:
    """The operations, each as a user of the SDK would write it."""

    endpoint: runpod.Endpoint

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def use(self, base_url: str, endpoint_id: str, api_key: str) -> None:
        runpod.endpoint_url_base = base_url
        runpod.api_key = api_key
        self.endpoint = runpod.Endpoint(endpoint_id)

    def run(self, body: dict[str, Any]) -> str:
        job = self.endpoint.run(body)
        self._jobs[job.job_id] = job
        return job.job_id

    def run_sync(self, body: dict[str, Any]) -> Any:
        return self.endpoint.run_sync(body, timeout=20)

    def status(self, job_id: str) -> str:
        return self._jobs[job_id].status()

    def document(self, job_id: str) -> Any:
        """The SDK shows neither a job's error nor its times; its HTTP client does."""
        return self.endpoint.rp_client.get(f"{self.endpoint.endpoint_id}/status/{job_id}")

    def output(self, job_id: str) -> Any:
        return self._jobs[job_id].output()

    def result(self, job_id: str) -> Any:
        return self._jobs[job_id].output(timeout=20)

    def stream(self, job_id: str, go: str) -> list[Any]:
        chunks = []
        for chunk in self._jobs[job_id].stream():
            chunks.append(chunk)
            Path(go).touch()
        return chunks

    def cancel(self, job_id: str) -> Any:
        return self._jobs[job_id].cancel()

    def retry(self, job_id: str) -> Any:
        """The SDK has no retry, and a `Job` keeps its first end: it takes a new one to follow the job again."""
        answer = self.endpoint.rp_client.post(f"{self.endpoint.endpoint_id}/retry/{job_id}", None)
        self._jobs[job_id] = Job(self.endpoint.endpoint_id, job_id, self.endpoint.rp_client)
        return answer

    def purge_queue(self) -> Any:
        return self.endpoint.purge_queue()

    def health(self) -> Any:
        return self.endpoint.health()


def main() -> None:
    client = PythonSdkClient()
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        try:
            answer_with(getattr(client, operation)(*arguments))
        except Exception as error:  # noqa: BLE001 (what the SDK raises is what the tests ask for)
            answer_with_error(error)


if __name__ == "__main__":
    main()
