"""What every client of RunPod can do against the local one, with workers of the unmodified runpod-python behind it.

Each client's own file inherits `ClientContract`, and provides the fixture ``client``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign.clients import Client, EndpointAddress, until
from tests.foreign.receiver import WebhookReceiver

CONCURRENCY = 4
"""How many jobs the worker runs at a time, as worker.py has it."""


class ClientContract:
    """The tests that every client passes."""

    @pytest.fixture(autouse=True)
    def _on_the_shared_endpoint(self, client: Client, endpoint: EndpointAddress) -> None:
        client.use(endpoint)

    @pytest.fixture
    def held(self, client: Client, tmp_path: Path) -> Iterator[list[str]]:
        """Jobs that keep all of the worker's hands full; those that a test leaves are cancelled."""
        notes = [tmp_path / f"held-{number}" for number in range(CONCURRENCY)]
        jobs = [client.run({"input": {"do": "hold", "note": str(note)}}) for note in notes]
        until(lambda: all(is_holding(client, job) for job in jobs))
        yield jobs
        for job in jobs:
            client.cancel(job)
        until(lambda: all(note.exists() for note in notes))

    @pytest.mark.fact("A6-progress-is-output")
    @pytest.mark.fact("A4-status-fields")
    def test_a_job_is_followed_from_its_start_to_its_result(self, client: Client, tmp_path: Path) -> None:
        go = tmp_path / "go"
        job = client.run({"input": {"do": "report", "go": str(go)}})
        until(lambda: client.document(job).get("output") == {"step": 1})
        assert client.status(job) == "IN_PROGRESS"

        go.touch()
        assert client.result(job) == {"step": 2}
        assert client.status(job) == "COMPLETED"
        document = client.document(job)
        assert document["executionTime"] > 0
        assert document["workerId"]

    @pytest.mark.fact("A3-runsync-result")
    def test_a_job_is_run_synchronously(self, client: Client) -> None:
        job_input = {"text": "Straße"}
        assert client.run_sync({"input": job_input}) == {"echo": job_input}

    @pytest.mark.fact("A8-cancel")
    def test_a_cancelled_job_that_waits_never_runs(self, client: Client, held: list[str], tmp_path: Path) -> None:
        notes = [tmp_path / "first", tmp_path / "second"]
        first, second = [client.run({"input": {"do": "note", "note": str(note)}}) for note in notes]
        assert client.status(first) == "IN_QUEUE"
        assert client.cancel(first) == {"id": first, "status": "CANCELLED"}

        client.cancel(held[0])
        until(lambda: client.status(second) == "COMPLETED")
        assert [note.exists() for note in notes] == [False, True]
        assert client.status(first) == "CANCELLED"

    @pytest.mark.fact("A8-cancel")
    @pytest.mark.fact("B5-job-stop")
    def test_a_cancelled_job_that_runs_is_stopped_in_the_worker(self, client: Client, tmp_path: Path) -> None:
        note = tmp_path / "note"
        job = client.run({"input": {"do": "hold", "note": str(note)}})
        until(lambda: is_holding(client, job))
        assert client.cancel(job) == {"id": job, "status": "CANCELLED"}
        until(note.exists, 3)
        assert client.status(job) == "CANCELLED"
        assert client.run_sync({"input": {"text": "next"}}) == {"echo": {"text": "next"}}

    @pytest.mark.fact("A9-execution-timeout")
    def test_a_job_that_runs_too_long_is_stopped_in_the_worker(self, client: Client, tmp_path: Path) -> None:
        note = tmp_path / "note"
        job = client.run({"input": {"do": "hold", "note": str(note)}, "policy": {"executionTimeout": 1000}})
        until(lambda: client.status(job) == "TIMED_OUT")
        until(lambda: note.exists() and note.read_text(encoding="utf-8") == "stopped", 3)
        assert "output" not in client.document(job)

    @pytest.mark.fact("B3-exception")
    def test_a_handlers_exception_fails_the_job_and_says_why(self, client: Client) -> None:
        job = client.run({"input": {"do": "raise"}})
        until(lambda: client.status(job) == "FAILED")
        error = json.loads(client.document(job)["error"])
        assert (error["error_type"], error["error_message"]) == ("<class 'ValueError'>", "no such checkpoint")

    @pytest.mark.fact("A10-refused-result")
    def test_a_result_that_is_too_large_is_lost_without_a_word(self, client: Client, limit_bytes: int) -> None:
        job = client.run({"input": {"do": "return much", "size_bytes": limit_bytes}})
        until(lambda: client.status(job) == "COMPLETED")
        assert client.document(job).keys() & {"output", "error"} == set()

    @pytest.mark.fact("A7-stream-drains")
    @pytest.mark.fact("B8-stream")
    def test_a_generators_chunks_come_while_it_runs(
        self, client: Client, streaming_endpoint: EndpointAddress, tmp_path: Path
    ) -> None:
        client.use(streaming_endpoint)
        go = tmp_path / "go"
        job = client.run({"input": {"words": ["a", "red", "circle"], "go": str(go)}})
        assert client.stream(job, go) == ["a", "red", "circle"]
        assert client.status(job) == "COMPLETED"

    @pytest.mark.fact("A11-webhook-body")
    def test_a_webhook_brings_the_result(self, client: Client, receiver: WebhookReceiver) -> None:
        job_input = {"text": "to whom it may concern"}
        job = client.run({"input": job_input, "webhook": receiver.url})
        until(lambda: bool(receiver.received(job)))
        [delivered] = receiver.received(job)
        assert delivered["headers"]["content-type"] == "application/json"
        body = delivered["body"]
        assert {name: body[name] for name in ("status", "input", "output", "webhook")} == {
            "status": "COMPLETED",
            "input": job_input,
            "output": {"echo": job_input},
            "webhook": receiver.url,
        }

    @pytest.mark.fact("A8-retry-same-id")
    def test_a_failed_job_is_retried_under_its_id(self, client: Client, tmp_path: Path) -> None:
        job = client.run({"input": {"do": "raise once", "note": str(tmp_path / "note")}})
        until(lambda: client.status(job) == "FAILED")
        assert client.retry(job) == {"id": job, "status": "IN_QUEUE"}
        until(lambda: client.status(job) == "COMPLETED")
        document = client.document(job)
        assert (document["id"], document["output"]) == (job, "second time lucky")
        assert "error" not in document

    @pytest.mark.fact("A8-health")
    def test_health_counts_workers_and_jobs(self, client: Client, held: list[str]) -> None:
        waiting = client.run({"input": {"text": "patience"}})
        health = client.health()
        client.cancel(waiting)
        assert (health["jobs"]["inProgress"], health["jobs"]["inQueue"]) == (len(held), 1)
        assert (health["workers"]["running"], health["workers"]["idle"]) == (1, 0)

    @pytest.mark.fact("A8-purge-queue")
    def test_a_purged_queue_leaves_what_runs(self, client: Client, held: list[str], tmp_path: Path) -> None:
        notes = [tmp_path / "first", tmp_path / "second"]
        for note in notes:
            client.run({"input": {"do": "note", "note": str(note)}})
        assert client.purge_queue() == {"removed": 2, "status": "completed"}
        assert [client.status(job) for job in held] == ["IN_PROGRESS"] * len(held)
        assert client.health()["jobs"]["inQueue"] == 0

        client.cancel(held[0])
        assert client.run_sync({"input": {"text": "next"}}) == {"echo": {"text": "next"}}
        assert not any(note.exists() for note in notes)


def is_holding(client: Client, job: str) -> bool:
    """Whether the handler has begun: a stop that comes before that is ignored by the SDK."""
    return client.document(job).get("output") == "holding"
