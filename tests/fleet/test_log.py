"""Logs of requests: one's own, RunPod's job documents, the master's store; and those that are not fit to read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from comfypod.errors import ConfigurationError, StoreUnavailable
from comfypod.fleet.log import LoggedRequest, RequestLog, make_log, read_log
from comfypod.fleet.store_log import read_store
from comfypod.master.store import Store
from comfypod.master.store.schema import REQUESTS

_NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_json_lines_and_csv_say_the_same(tmp_path: Path) -> None:
    lines = _write(
        tmp_path,
        "log.jsonl",
        '{"arrived_at": 20, "execution_seconds": 5}\n\n'
        '{"arrived_at": 10.5, "execution_seconds": 4, "delay_seconds": 2}\n',
    )
    table = _write(tmp_path, "log.csv", "arrived_at,execution_seconds,delay_seconds\n20,5,\n10.5,4,2\n")

    expected = RequestLog((LoggedRequest(10.5, 4.0, 2.0), LoggedRequest(20.0, 5.0)))
    assert read_log(lines) == expected
    assert read_log(table) == expected
    assert list(expected.trace().arrivals) == [0.0, 9.5]
    assert expected.requests[0].latency_seconds == 6.0


def test_runpods_job_documents_are_read_with_their_time(tmp_path: Path) -> None:
    times = {"delayTime": 31618, "executionTime": 1437, "createdAt": "2026-10-01T12:00:00Z"}
    jobs = [{"id": "a-u1", "status": "COMPLETED", "output": {}, **times}, {"id": "b", "status": "IN_PROGRESS", **times}]
    log = read_log(_write(tmp_path, "jobs.json", json.dumps(jobs)))

    assert log == RequestLog((LoggedRequest(_NOON.timestamp(), 1.437, 31.618),), left_out=1)


def test_an_end_with_the_delay_says_when_a_request_came() -> None:
    log = make_log([{"ended_at": 100, "delay_seconds": 7, "execution_seconds": 3}], "It")

    assert log.requests[0].arrived_at == 90


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"execution_seconds": 3, "delayTime": 5}, "does not say when"),
        ({"arrived_at": "yesterday", "execution_seconds": 3}, "neither seconds nor a time"),
        ({"arrived_at": 1, "execution_seconds": "long"}, "no number"),
        ({"arrived_at": 1, "execution_seconds": True}, "no number"),
        ({"arrived_at": 1, "execution_seconds": float("nan")}, "no number"),
        ({"arrived_at": 1, "execution_seconds": -3}, "negative"),
        ({"arrived_at": 1, "execution_seconds": [3]}, "no number"),
        ({"arrived_at": 1, "execution_seconds": 10**400}, "no number"),
        ({"arrived_at": 1, "execution_seconds": 1e300}, "longer than a month"),
        ({"arrived_at": 1790812800000, "execution_seconds": 3}, "not in milliseconds"),
        ({"arrived_at": 1}, "no request that ran"),
    ],
)
def test_rows_that_are_wrong_are_named(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_log([row], "It")

    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["{", "3\n", "", "[" * 100_000, '{"a": "' + "x" * 1_000_001 + '"}'])
def test_files_that_are_no_logs_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_log(_write(tmp_path, "log.jsonl", text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.csv cannot be read"):
        read_log(tmp_path / "none.csv")


def _request(key: str, created_at: datetime, seconds: float, run_ms: int | None) -> dict[str, Any]:
    plain = {"tenant": "t", "user": "u", "content_hash": "c", "workflow_hash": "w", "priority": "normal"}
    numbers = {"turn": 1, "run": 1, "attempt": 1, "version": 1, "is_hinted": False}
    documents: dict[str, Any] = {"labels": {}, "origin": {}, "notify": {}, "timings": {"run_ms": run_ms}}
    return {
        "key": key,
        "idempotency_key": key,
        "state": "SUCCEEDED",
        "created_at": created_at,
        "queued_at": created_at,
        "ended_at": created_at + timedelta(seconds=seconds),
        **plain,
        **numbers,
        **documents,
    }


def test_the_masters_store_is_a_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'requests.sqlite'}"
    Store.migrate(url)
    store = Store.open(url)
    rows = [
        _request("a" * 32, _NOON, 30.0, 10_000),
        _request("b" * 32, _NOON + timedelta(seconds=60), 5.0, None),  # it never ran
        _request("c" * 32, _NOON - timedelta(days=3), 30.0, 10_000),
    ]
    with store.engine.begin() as connection:
        connection.execute(sa.insert(REQUESTS), rows)
    store.close()

    log = read_store(url, 24, now=_NOON + timedelta(hours=1))

    assert log == RequestLog((LoggedRequest(_NOON.timestamp(), 10.0, 20.0),), left_out=1)


def test_a_database_without_our_tables_is_told(tmp_path: Path) -> None:
    with pytest.raises((StoreUnavailable, ConfigurationError)):
        read_store(f"sqlite:///{tmp_path / 'empty.sqlite'}", 24)
