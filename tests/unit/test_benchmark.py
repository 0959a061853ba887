"""The arithmetic of the benchmark, its tables, who takes part, and the signature of its bare clients."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from PIL import Image

from benchmarks.contenders.signing import UNSIGNED, Bucket
from benchmarks.figures import Execution, Samples, idle_percent, overhead_ms, split_ms, table_of
from benchmarks.measures.flat import is_right, window_medians
from benchmarks.nodes.benchmark_pictures.pictures import save_pictures
from benchmarks.rig.contenders import read_contenders
from benchmarks.rig.journal import executions


def test_idle_is_what_no_prompt_fills_between_the_first_begin_and_the_last_end() -> None:
    assert idle_percent([Execution(10.0, 11.0), Execution(13.0, 14.0)]) == pytest.approx(50)
    assert idle_percent([Execution(10.0, 11.0), Execution(11.0, 14.0)]) == pytest.approx(0)


def test_overhead_leaves_out_only_what_was_executed_while_the_worker_had_the_job() -> None:
    assert overhead_ms(10.0, 12.0, [Execution(10.25, 11.75)]) == pytest.approx(500)
    assert overhead_ms(10.0, 12.0, [Execution(9.0, 9.5), Execution(10.25, 12.5)]) == pytest.approx(250)


def test_the_parts_of_a_job_add_up_to_all_of_it() -> None:
    timings = {"prepare_ms": 20, "queue_ms": 30, "execute_ms": 999, "deliver_ms": 40, "total_ms": 999, "nodes": {}}
    parts = split_ms(10.0, 12.0, Execution(10.5, 11.5), timings)
    assert parts == pytest.approx(
        {"take": 450, "prepare": 20, "queue": 30, "deliver": 40, "execute": 1000, "answer": 460}
    )
    assert sum(parts.values()) == pytest.approx(2000)


def test_a_cell_tells_median_range_and_ratio_or_what_went_wrong() -> None:
    samples = Samples("ms", digits=1)
    for value in (10.0, 12.0, 11.0):
        samples.add("small", "floor", value)
        samples.add("small", "other", 2 * value)
    samples.fail("small", "broken", "it ended")
    samples.fail("small", "other", "one of four")
    (row,) = table_of("Title", samples, ["floor", "other", "broken", "absent"]).rows
    assert row == [
        "small",
        "11.0 ms (10.0-12.0)",
        "22.0 ms (20.0-24.0), x 2.00 FAILED: one of four",
        "FAILED: it ended",
        "",
    ]


def test_shares_have_no_ratio() -> None:
    samples = Samples("%", digits=1)
    samples.add("queue", "floor", 2.0)
    samples.add("queue", "other", 4.0)
    assert samples.cell("queue", "other") == "4.0 %"


def test_a_table_is_markdown_whatever_an_error_says() -> None:
    samples = Samples("s")
    samples.fail("case", "other", "a|b")
    lines = list(table_of("Title", samples, ["other"], "A note.").lines())
    assert lines == ["### Title", "", "A note.", "", "|  | other |", "| --- | --- |", "| case | FAILED: a/b |", ""]


def test_a_prompt_without_an_end_was_not_executed() -> None:
    stamps = [
        {"kind": "process", "at": 1.0},
        {"kind": "begin", "at": 2.0, "prompt": "a"},
        {"kind": "end", "at": 3.0, "prompt": "a"},
        {"kind": "end", "at": 3.5, "prompt": "of before"},
        {"kind": "begin", "at": 4.0, "prompt": "b"},
    ]
    assert executions(stamps) == [Execution(2.0, 3.0)]


def test_another_worker_takes_part_by_its_command_and_environment() -> None:
    contenders = read_contenders(
        "floor,comfypod@6,sdk-2",
        checkouts=["before=/somewhere"],
        workers=["other=python3 -u 'my handler.py'"],
        environment=["other:KEY=a=b", "comfypod@6:LOG_LEVEL=ERROR"],
        ports=["other=8188"],
    )
    floor, ours, sdk, before, other = contenders
    assert [item.name for item in contenders] == ["floor", "comfypod@6", "sdk-2", "before", "other"]
    assert [item.starts_comfyui for item in contenders] == [False, True, False, True, False]
    assert dict(ours.environment) == {"WORKER_CONCURRENCY": "6", "LOG_LEVEL": "ERROR"}
    assert dict(sdk.environment) == {"CONCURRENCY": "2"}
    assert (list(before.command), before.folder) == (list(ours.command), Path("/somewhere"))
    assert (list(other.command), dict(other.environment)) == (["python3", "-u", "my handler.py"], {"KEY": "a=b"})
    assert (floor.comfyui_port, other.comfyui_port) == (None, 8188)


@pytest.mark.parametrize(
    ("names", "options", "problem"),
    [
        ("comfypod@0", {}, "no contender 'comfypod@0'"),
        ("", {"workers": ["nothing"]}, "not in the form NAME=COMMAND"),
        ("floor", {"environment": ["flor:A=B"]}, "no contender 'flor'; there are floor"),
        ("floor", {"ports": ["floor=http"]}, "invalid literal"),
    ],
)
def test_a_command_line_that_cannot_be_read_says_why(names: str, options: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_contenders(names, **options)


def test_the_signature_is_the_one_that_amazons_own_library_makes() -> None:
    bucket = Bucket("http://127.0.0.1:9000", "outputs", "key", "secret")
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    mine = bucket.headers("a b/ü.png", moment)
    request = AWSRequest("PUT", bucket.address("a b/ü.png"), headers={"X-Amz-Content-SHA256": UNSIGNED})
    request.context["timestamp"] = mine["x-amz-date"]
    signer = S3SigV4Auth(Credentials("key", "secret"), "s3", "us-east-1")
    names = ("host", "x-amz-content-sha256", "x-amz-date")
    lines = [f"{name}:{mine[name]}" for name in names]
    canonical = "\n".join(["PUT", "/outputs/a%20b/%C3%BC.png", "", *lines, "", ";".join(names), UNSIGNED])
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert mine["Authorization"].endswith(f"Signature={signature}")


def test_a_picture_is_as_large_as_was_asked_for_and_tells_whose_it_is(tmp_path: Path) -> None:
    first, second = save_pictures(tmp_path, 0x010203, 2, 128, 50)
    content = (tmp_path / first).read_bytes()
    assert content == (tmp_path / second).read_bytes()
    assert 0.5 * 128 * 128 * 3 < len(content) < 0.55 * 128 * 128 * 3
    answer = {"output": {"images": [{"data": base64.b64encode(content).decode()}]}}
    assert is_right(answer, 0x010203)
    assert not is_right(answer, 0x010204)
    assert not is_right({"output": {"images": []}}, 0x010203)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (128, 128)


def test_memory_is_compared_between_the_second_and_the_last_fifth() -> None:
    assert window_medians([1.0, 1.0, 5.0, 7.0, 9.0, 9.0, 9.0, 9.0, 8.0, 8.0]) == (6.0, 8.0)
