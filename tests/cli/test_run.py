"""``comfypod run``: what is sent, what is saved, and what is said of it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from comfypod.cli.job_input import GivenJob, make_request
from tests.cli.conftest import HOLD, CommandLine, ScriptedEndpoint, artifact, failure, success, update

TEMPLATE = {"name": "portrait", "parameters": {}, "workflow": {"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}}
OWN = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 7, "noise_seed": ["4", 0]}},
    "4": {"class_type": "RandomNoise", "inputs": {"noise_seed": "random", "text": "x"}},
}
PAGE = {
    "nodes": [
        {"id": 3, "inputs": [{"name": "seed", "widget": {"name": "seed"}, "link": None}]},
        {"id": 5, "mode": 4, "inputs": [{"name": "seed", "widget": {"name": "seed"}, "link": None}]},
        {"id": 6, "inputs": [{"name": "noise_seed", "widget": {"name": "noise_seed"}, "link": 9}]},
    ],
    "links": [],
}


def write(folder: Path, name: str, document: Any) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return name


def sent(endpoint: ScriptedEndpoint) -> dict[str, Any]:
    """The input of the one job, without the key that every job has."""
    (job_input,) = endpoint.inputs
    assert job_input.pop("idempotency_key")
    return job_input


def test_a_person_gets_files_on_stdout_and_the_rest_on_stderr(
    comfypod: CommandLine, endpoint: ScriptedEndpoint
) -> None:
    endpoint.script = (
        update(0.42, "KSampler 8/20", eta_seconds=3.0),
        success(
            artifact(b"a picture"),
            texts=[{"node_id": "1", "key": "text", "value": "a caption\nof two lines"}],
            timings={"execute_ms": 1230, "total_ms": 1500},
            seeds={"3.seed": 77},
            warnings=["outputs.colour: unknown field, ignored"],
            worker={"engine": "emulator"},
        ),
    )
    ended = comfypod("run", "--prompt", "a fox")
    assert ended.code == 0, ended.stderr
    path, *text = ended.lines
    assert (comfypod.folder / path).read_bytes() == b"a picture"
    assert Path(path).parts[0] == "outputs"
    assert text == ["a caption", "of two lines"]
    assert sent(endpoint) == {"prompt": "a fox"}
    lines = ended.stderr.splitlines()
    assert any(line.split() == ["Running", "42%", "KSampler", "8/20", "3", "s", "left"] for line in lines)
    assert any(line.startswith("Done") for line in lines)
    for said in ("execute 1.23 s", "3.seed=77", "Warning: outputs.colour", "not a model", f"Job {Path(path).parts[1]}"):
        assert said in ended.stderr


def test_quiet_says_nothing_but_results(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.5, "half"), success(artifact(b"x"), texts=[{"value": "a text"}], warnings=["w"]))
    ended = comfypod("run", "--prompt", "a fox", "--quiet", "--output", "pictures")
    assert (ended.code, ended.stderr) == (0, "")
    path, text = ended.lines
    assert (comfypod.folder / path).is_relative_to(comfypod.folder / "pictures")
    assert text == "a text"


def test_json_tells_every_event_in_order(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (
        update(0.25, "step", preview={"node_id": "3", "content_type": "image/png", "data_base64": "AAAA"}),
        success(artifact(b"x"), texts=[{"value": "a text"}]),
    )
    ended = comfypod("run", "--prompt", "a fox", "--json")
    assert (ended.code, ended.stderr) == (0, "")
    names = [event["event"] for event in ended.events]
    assert [names[0], *names[-2:]] == ["submitted", "result", "saved"]
    assert set(names[1:-2]) == {"progress"}
    (job_id,) = {event["job_id"] for event in ended.events}
    submitted, *progress = ended.events[:-2]
    assert submitted == {"event": "submitted", "job_id": job_id, "status": "IN_QUEUE", "detached": False}
    (told,) = [event["progress"] for event in progress if event["progress"]]
    assert (told["value"], told["message"]) == (0.25, "step")
    assert "preview" not in told  # nobody asked for it
    result, saved = ended.events[-2:]
    (image,) = result["output"]["images"]
    assert "data" not in image
    assert result["output"]["texts"] == [{"value": "a text"}]
    assert saved["artifact"] == image
    assert (comfypod.folder / saved["path"]).read_bytes() == b"x"


def test_json_has_previews_if_they_are_wanted(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    preview = {"node_id": "3", "content_type": "image/png", "data_base64": "AAAA"}
    endpoint.script = (update(0.25, "step", preview=preview), success(artifact(b"x")))
    ended = comfypod("run", "--prompt", "a fox", "--json", "--previews")
    assert preview in [(event.get("progress") or {}).get("preview") for event in ended.events]
    assert sent(endpoint) == {"prompt": "a fox", "progress": {"previews": True}}


def test_every_option_goes_where_it_belongs(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    (comfypod.folder / "photo.png").write_bytes(b"photo")
    job = {"input": {"prompt": "old", "parameters": {"cfg": 5}, "outputs": {"metadata": False}, "files": []}}
    ended = comfypod(
        *("run", "portrait", "--input", write(comfypod.folder, "job.json", job), "--prompt", "new", "--seed", "5"),
        *("--set", "steps=30", "--set", "6.text=a fox", "--set", "x=NaN"),
        *("--file", "photo.png", "--file", "b.png=photo.png", "--file", "c.mp4=https://example.com/c?a=b"),
        *("--format", "webp", "--timeout", "90"),
    )
    assert ended.code == 0, ended.stderr
    photo = base64.b64encode(b"photo").decode()
    assert sent(endpoint) == {
        "workflow": "portrait",
        "prompt": "new",
        "parameters": {"cfg": 5, "seed": 5, "steps": 30, "6.text": "a fox", "x": "NaN"},
        "files": [
            {"name": "photo.png", "data": photo},
            {"name": "b.png", "data": photo},
            {"name": "c.mp4", "url": "https://example.com/c?a=b"},
        ],
        "outputs": {"metadata": False, "format": "webp"},
        "timeout_seconds": 90,
    }


def test_what_stands_beside_the_input_is_sent_too(tmp_path: Path) -> None:
    job = {
        "input": {"prompt": "x"},
        "webhook": "https://example.com/hook",
        "policy": {"executionTimeout": 5_000, "ttl": 60_000, "lowPriority": True},
        "s3Config": {"bucketName": "b"},
        "id": "local_test",
        "odd": 1,
    }
    write(tmp_path, "job.json", job)
    said: list[str] = []
    request = make_request(GivenJob(input_file=tmp_path / "job.json"), said.append)
    assert request.job_input == {"prompt": "x"}
    assert request.beside == {
        "webhook": "https://example.com/hook",
        "execution_timeout_seconds": 5,
        "ttl_seconds": 60,
        "low_priority": True,
        "s3_config": {"bucketName": "b"},
    }
    (sentence,) = said
    assert sentence.endswith("no such field: odd")


def test_runpods_own_timeout_comes_after_the_workers() -> None:
    request = make_request(GivenJob(prompt="x", timeout_seconds=900), print)
    assert request.job_input["timeout_seconds"] == 900
    assert request.beside == {"execution_timeout_seconds": 960}  # not RunPod's own default of 600


@pytest.mark.parametrize("document", [OWN, PAGE], ids=["api", "page"])
def test_seed_is_left_to_the_worker_who_knows_the_workflow(
    comfypod: CommandLine, endpoint: ScriptedEndpoint, document: Any
) -> None:
    ended = comfypod("run", "--workflow", write(comfypod.folder, "own.json", document), "--seed", "5")
    assert ended.code == 0, ended.stderr
    assert sent(endpoint) == {"workflow": document, "parameters": {"seed": 5}}


def test_a_template_is_sent_by_its_name(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    write(comfypod.folder, "workflows/portrait.json", TEMPLATE)
    assert comfypod("run", "workflows/portrait.json", "--seed", "5").code == 0
    assert sent(endpoint) == {"workflow": "portrait", "parameters": {"seed": 5}}


def test_a_template_that_is_not_here_is_sent_with_a_remark(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    write(comfypod.folder, "workflows/portrait.json", TEMPLATE)
    ended = comfypod("run", "portrat")
    assert ended.code == 0
    assert "did you mean 'portrait'" in ended.stderr
    assert sent(endpoint) == {"workflow": "portrat"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "configuration: Say what to run"),
        (("poses.json",), "did you mean pose.json"),
        (("portrat.json",), "did you mean portrait"),
        (("broken.json",), "cannot be read as JSON"),
        (("job.json",), "--input job.json"),
        (("job_input.json",), 'put {"input": …} around it'),
        (("./workflows",), "is a folder"),
        (('{"1": {"class_type": "LoadImage"}}' * 20,), "is no file; save the workflow to one"),
        (("a fox in the snow " * 30,), "--prompt TEXT"),
        (("--prompt", "x", "--file", "long" * 100), "cannot be read"),
        (("--input", "pose.json"), '{"input":'),
        (("pose.json", "--prompt", "a fox"), "--set NODE.text"),
        (("pose.json", "--workflow", "pose.json"), "once"),
        (("--prompt", "x", "--set", "steps"), "NAME=VALUE"),
        (("--prompt", "x", "--file", "missing.png"), "missing.png"),
        (("--prompt", "x", "--file", "a/pose.json", "--file", "pose.json"), "a/pose.json"),
        (("--prompt", "x", "--file", "pose.json", "--file", "pose.json"), "twice"),
        (("--prompt", "x", "--file", "https://example.com/a.png"), "NAME=ADDRESS"),
        (("--prompt", "x", "--format", "tiff"), "tiff"),
        (("--prompt", "x", "--json", "--quiet"), "--json and --quiet"),
        (("--prompt", "x", "--local", "--detach"), "--detach"),
        (("--prompt", "x", "--no-such-option"), "--no-such-option"),
        (("--prompt", "x", "--file", "large.bin"), "bytes"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_sent(
    comfypod: CommandLine, endpoint: ScriptedEndpoint, arguments: tuple[str, ...], says: str
) -> None:
    write(comfypod.folder, "pose.json", {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}})
    write(comfypod.folder, "job.json", {"input": {"prompt": "x"}})
    write(comfypod.folder, "job_input.json", {"workflow": {"1": {"class_type": "LoadImage", "inputs": {}}}})
    write(comfypod.folder, "workflows/portrait.json", TEMPLATE)
    (comfypod.folder / "broken.json").write_text("{", encoding="utf-8")
    (comfypod.folder / "large.bin").write_bytes(bytes(8_000_000))
    ended = comfypod("run", *arguments)
    assert ended.code == 2
    assert says in ended.stderr
    assert ended.stdout == ""
    assert endpoint.call("GET", "/health")["jobs"]["inQueue"] == 0
    assert endpoint.inputs == []


def test_json_tells_a_failure_too(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (failure("out_of_memory", "Node 3 ran out of memory", retryable=True),)
    ended = comfypod("run", "--prompt", "a fox", "--json")
    assert ended.code == 3
    error = ended.events[-1]
    assert (error["event"], error["code"], error["retryable"], error["exit_code"]) == (
        "error",
        "out_of_memory",
        True,
        3,
    )
    assert error["message"] == "Node 3 ran out of memory"
    assert error["job_id"] == ended.events[0]["job_id"]
    assert ended.stderr == "out_of_memory: Node 3 ran out of memory\n"


@pytest.mark.parametrize("options", [(), ("--json",), ("--quiet",)], ids=str)
def test_a_job_whose_id_cannot_be_printed_is_not_lost(
    comfypod: CommandLine, endpoint: ScriptedEndpoint, options: tuple[str, ...]
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        ended = comfypod(
            "run", "--prompt", "a fox", "--detach", *options, preexec=lambda: os.dup2(full.fileno(), 1) and None
        )
    assert ended.code == 1
    assert "saving_failed: " in ended.stderr
    (way,) = [line for line in ended.stderr.splitlines() if "comfypod wait " in line]
    assert comfypod(*way.rpartition("comfypod ")[2].split()).code == 0


def test_a_text_that_stdout_cannot_have_is_written_all_the_same(
    comfypod: CommandLine, endpoint: ScriptedEndpoint
) -> None:
    endpoint.script = (success(texts=[{"value": "half \ud83d of a face…"}, {"value": "the next"}]),)
    ended = comfypod("run", "--prompt", "a fox", "-q", PYTHONIOENCODING="latin-1")
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.lines == ["half \\ud83d of a face\\u2026", "the next"]


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_is_no_traceback_and_nothing_goes_elsewhere(nowhere: CommandLine, closed: int) -> None:
    ended = nowhere("run", "--json", preexec=lambda: os.close(closed))
    assert "Traceback" not in ended.stderr
    assert [event["code"] for event in ended.events] == ["configuration"] * (closed == 2)
    assert ended.code == 2, "what is wrong counts, not that it cannot be told"


def test_a_reader_that_leaves_does_not_end_in_a_traceback(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.1, "one"), update(0.2, "two"), HOLD)
    process = comfypod.start("run", "--prompt", "a fox", "--json")
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    stderr = process.stderr.read()
    assert process.wait(20) == 1
    assert "saving_failed: " in stderr
    assert "comfypod wait " in stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr, "Python tries once more to write what is buffered"
