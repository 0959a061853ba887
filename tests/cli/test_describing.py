"""``comfypod workflow parameters --endpoint``: what a worker says of a workflow."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import CommandLine, ScriptedEndpoint, failure

WORKFLOW = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "sampler_name": "euler", "steps": 20, "model": ["4", 0]}},
    "7": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
}


def described(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "default": None, "minimum": None, "maximum": None, "choices": None, "upload": None, **more}


NODES = {
    "3": {
        "class_type": "KSampler",
        "title": "KSampler",
        "is_known": True,
        "inputs": {
            "seed": described("INT", minimum=0, maximum=99, is_seed=True),
            "sampler_name": described("COMBO", choices=["euler", "ddim", "lms", "heun", "dpm_2"]),
            "steps": described("INT", minimum=1),
        },
    },
    "7": {
        "class_type": "LoadImage",
        "title": "LoadImage",
        "is_known": True,
        "inputs": {"image": described("COMBO", choices=[], upload="image")},
    },
}
DESCRIPTION = {"workflow": WORKFLOW, "parameters": {}, "nodes": NODES, "problems": ["node 3: something \x1b[2J"]}
SAID = {"output": {"status": "success", "description": DESCRIPTION, "images": [], "files": [], "warnings": []}}


def write(comfypod: CommandLine, document: Any = WORKFLOW) -> str:
    (comfypod.folder / "own.json").write_text(json.dumps(document), encoding="utf-8")
    return "own.json"


def test_an_endpoint_tells_what_each_input_takes(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [SAID]
    ended = comfypod("workflow", "parameters", write(comfypod), "--endpoint", "local")
    assert ended.code == 0, ended.stderr
    row = {
        name: next(line for line in ended.lines if name in line) for name in ("3.seed", "3.sampler", "3.steps", "7.")
    }
    assert "INT 0 to 99" in row["3.seed"]
    assert "one of euler, ddim, lms, heun and 1 more" in row["3.sampler"]
    assert "INT 1 or more" in row["3.steps"]
    assert "a file with image" in row["7."]
    assert "input file: photo.png (7.image)" in ended.stdout
    assert "problem: node 3: something" in ended.stdout
    assert "\x1b" not in ended.stdout
    assert endpoint.inputs[0]["describe"] is True
    as_json = json.loads(comfypod("workflow", "parameters", "own.json", "--endpoint", "local", "--json").stdout)
    assert (as_json["nodes"], as_json["problems"]) == (NODES, DESCRIPTION["problems"])
    assert as_json["files"] == [{"target": "7.image", "name": "photo.png"}]


def test_an_endpoint_in_the_environment_alone_is_not_asked(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    ended = comfypod("workflow", "parameters", write(comfypod), "--json")
    assert ended.code == 0, ended.stderr
    assert "nodes" not in json.loads(ended.stdout)
    assert endpoint.inputs == []


def test_a_worker_that_cannot_describe_it_is_heard(comfypod: CommandLine, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = [failure("invalid_workflow", "node 1 (Unheard) cannot be converted")]
    ended = comfypod("workflow", "parameters", write(comfypod, {"nodes": [], "links": []}), "--endpoint", "local")
    assert ended.code == 3
    assert "invalid_workflow: node 1 (Unheard) cannot be converted" in ended.stderr
