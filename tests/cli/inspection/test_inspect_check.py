"""`comfypod workflow check`: the worker's words, before anything is sent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from worker_jobs import job, make_handler

from comfypod.cli.workflow.check import Knowledge, Report, check_command, check_document
from comfypod.cli.workflow.document import read_document

Write = Callable[..., Path]
Inspect = Callable[..., subprocess.CompletedProcess[str]]
Json = dict[str, Any]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def engine() -> Knowledge:
    """What is known without any ComfyUI."""
    return Knowledge.here(None, ROOT)


def checked(path: Path, knowledge: Knowledge) -> Report:
    return check_document(read_document(str(path)), knowledge)


def save(**more: Any) -> Json:
    """A workflow that every ComfyUI runs, and what is put over it."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "checked"}},
        **more,
    }


def inputs(workflow: Json, node_id: str, **values: Any) -> Json:
    workflow[node_id]["inputs"] |= values
    return workflow


def without(workflow: Json, node_id: str, name: str) -> Json:
    del workflow[node_id]["inputs"][name]
    return workflow


REFUSED: dict[str, Json] = {
    "no nodes": {"workflow": {}},
    "a malformed node": {"workflow": {"1": {"class_type": "EmptyImage"}}},
    "an unknown class": {"workflow": save(**{"3": {"class_type": "SaveImagee", "inputs": {}}})},
    "a class of nobody": {"workflow": save(**{"3": {"class_type": "QqqQqq", "inputs": {}}})},
    "a value outside its list": {
        "workflow": save(
            **{
                "3": {
                    "class_type": "ImageScale",
                    "inputs": {
                        "image": ["1", 0],
                        "upscale_method": "arae",
                        "width": 8,
                        "height": 8,
                        "crop": "disabled",
                    },
                },
                "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}},
            }
        )
    },
    "a model that is not there": {
        "workflow": save(
            **{
                "3": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "none-such.safetensors"}},
                "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["3", 2]}},
                "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "b"}},
            }
        )
    },
    "a missing input": {"workflow": without(save(), "1", "width")},
    "a number too large": {"workflow": inputs(save(), "1", width=10**6)},
    "no number": {"workflow": inputs(save(), "1", width="wide")},
    "a link of the wrong type": {
        "workflow": save(
            **{
                "3": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0], "vae": ["1", 0]}},
                "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}},
            }
        )
    },
    "a link to no node": {"workflow": inputs(save(), "2", images=["7", 0])},
    "a file that is not sent": {
        "workflow": save(
            **{
                "3": {"class_type": "LoadImage", "inputs": {"image": "not-there.png"}},
                "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}},
            }
        )
    },
    "no output": {"workflow": {"1": save()["1"]}},
    "a prefix that leads out": {"workflow": inputs(save(), "2", filename_prefix="../../elsewhere")},
    "an unknown template": {"workflow": "text_to_imagee"},
    "an unknown parameter": {"prompt": "a fox", "parameters": {"step": 4}},
    "a parameter out of range": {"prompt": "a fox", "parameters": {"steps": 0}},
    "an input that is not there": {"workflow": save(), "parameters": {"2.name": "x"}},
    "an output of no node": {"workflow": save(), "outputs": {"nodes": ["99"]}},
    "nothing": {"parameters": {}},
    "only previews": {
        "workflow": {"1": save()["1"], "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    },
}


@pytest.mark.parametrize("name", REFUSED)
async def test_the_command_and_the_worker_say_the_same_of_a_job_that_is_refused(
    name: str, comfyui_url: str, write: Write
) -> None:
    knowledge = _asked(comfyui_url)
    report = checked(write({"input": REFUSED[name]}), knowledge)
    answer = await make_handler(comfyui_url)(job(**REFUSED[name]))
    assert report.refusal is not None
    assert (report.refusal.code, str(report.refusal)) == (answer["code"], answer["error"])
    assert report.problems


_known: dict[str, Knowledge] = {}


def _asked(comfyui_url: str) -> Knowledge:
    """Asked once: in a thread, as a test has an event loop of its own."""
    if comfyui_url not in _known:
        with ThreadPoolExecutor(1) as pool:
            _known[comfyui_url] = pool.submit(Knowledge.here, comfyui_url, ROOT).result(timeout=60)
    return _known[comfyui_url]


@pytest.mark.parametrize(
    "job_input",
    [
        {"workflow": save()},
        {"workflow": inputs(save(), "1", color=5), "parameters": {"1.width": 16}, "outputs": {"format": "webp"}},
        {"workflow": save(), "unheard_of": 1, "timeout_seconds": 60},
    ],
    ids=["plain", "with parameters", "with an unknown field"],
)
async def test_what_the_command_lets_pass_the_worker_runs_with_the_same_warnings(
    job_input: Json, comfyui_url: str, write: Write
) -> None:
    report = checked(write({"input": job_input}), _asked(comfyui_url))
    answer = await make_handler(comfyui_url)(job(**job_input))
    assert answer["status"] == "success"
    assert (report.refusal, report.problems, report.warnings) == (None, [], answer["warnings"])


def test_every_problem_is_told_at_once_and_those_behind_a_dead_link_too(
    picture: Json, write: Write, engine: Knowledge
) -> None:
    inputs(picture, "3", steps=0, sampler_name="eulr", positive=["66", 0], negative=["7", 5])
    without(picture, "3", "cfg")
    picture["20"] = {"class_type": "VHS_VideoCombine", "inputs": {"images": ["8", 0]}}
    report = checked(write(picture), engine)
    for part in (
        "no node class 'VHS_VideoCombine'",
        "sampler_name 'eulr' is not available here; did you mean 'euler'?",
        "positive is linked to node 66, which is not in the workflow",
        "negative is linked to output 5 of node 7, which has 1 output",
        "Value 0 smaller than min of 1: steps",
        "Required input is missing: cfg",
    ):
        assert sum(part in problem for problem in report.problems) == 1, (part, report.problems)
    assert len(report.problems) == 6


def test_what_models_toml_would_bring_is_no_problem_and_a_near_name_is_told(
    picture: Json, write: Write, engine: Knowledge
) -> None:
    good = checked(write(picture), engine)
    assert good.refusal is None
    assert good.fetches[0].startswith("checkpoints/sd_xl_base_1.0.safetensors is in models.toml")
    bad = checked(write(inputs(picture, "4", ckpt_name="sd_xl_bass_1.0.safetensors")), engine)
    assert "did you mean 'sd_xl_base_1.0.safetensors'?" in bad.problems[0]
    assert bad.fetches == []


def test_a_model_that_a_running_comfyui_lacks_is_fetched_if_models_toml_has_it(
    picture: Json, write: Write, tmp_path: Path, engine: Knowledge
) -> None:
    """The engine started without models.toml has no models."""
    (tmp_path / "empty").mkdir()
    bare = Knowledge.here(None, tmp_path / "empty")
    poor = Knowledge(bare.source, engine.packs, engine.manifest)
    # As a real ComfyUI: it pretends nothing.
    object.__setattr__(poor.source, "is_engine", False)
    report = checked(write(picture), poor)
    assert report.refusal is None
    assert "checkpoints/sd_xl_base_1.0.safetensors" in report.fetches[0]
    unlisted = checked(write(picture), bare)
    assert "'sd_xl_base_1.0.safetensors' is not installed here" in unlisted.problems[0]


def test_files_a_job_must_send_them_and_a_workflow_alone_is_told_that_it_needs_them(
    write: Write, engine: Knowledge
) -> None:
    workflow = save(
        **{
            "3": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
            "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}},
        }
    )
    alone = checked(write(workflow), engine)
    assert alone.refusal is None
    assert alone.warnings == ["node 3 (LoadImage): image 'photo.png' must be sent along (--file)"]
    other = {"name": "other.png", "data": "aGk="}
    lacking = checked(write({"input": {"workflow": workflow, "files": [other]}}), engine)
    assert lacking.problems == ["node 3 (LoadImage): image 'photo.png' is not among the job's files"]
    assert lacking.warnings == ["files: no node names 'other.png'"]
    sent = {"name": "photo.png", "data": "aGk="}
    whole = checked(write({"input": {"workflow": workflow, "files": [sent]}}), engine)
    assert (whole.problems, whole.warnings) == ([], [])


def test_a_custom_node_may_check_its_values_itself_so_that_is_a_warning(write: Write, engine: Knowledge) -> None:
    own = {
        "input": {"required": {"count": ["INT", {"max": 3}], "mode": [["a", "b"], {}], "shape": ["COMFY_AUTOGROW_V3"]}},
        "output": ["IMAGE"],
        "output_node": True,
        "python_module": "custom_nodes.own",
    }
    source = type(engine.source)(
        type(engine.source.catalogue)({**engine.source.catalogue.object_info, "Own": own}), "http://x", "9", False
    )
    knowledge = Knowledge(source, engine.packs, engine.manifest)
    workflow = {"1": {"class_type": "Own", "inputs": {"count": 9, "mode": "c"}}}
    report = checked(write(workflow), knowledge)
    assert report.refusal is None
    assert any("bigger than max of 3" in warning for warning in report.warnings)
    assert any("mode 'c' is not available here" in warning for warning in report.warnings)
    del workflow["1"]["inputs"]["count"]  # type: ignore[attr-defined]
    assert "Required input is missing: count" in checked(write(workflow), knowledge).problems[0]


def test_partly_valid_workflows_run_if_the_job_allows_it(write: Write, engine: Knowledge) -> None:
    spoilt = save(**{"3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "b"}}})
    strict = checked(write({"input": {"workflow": spoilt}}), engine)
    assert strict.refusal is not None
    assert strict.refusal.code == "prompt_rejected"
    lenient = checked(write({"input": {"workflow": spoilt, "allow_partial": True}}), engine)
    assert lenient.refusal is None
    assert any("Required input is missing: images" in warning for warning in lenient.warnings)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ("[" * 100_000, "is not JSON"),
        ('{"workflow": {"1": {}}, "prompt": "x"}', 'put it under "input"'),
        ('{"prompt": {"1": {"class_type": "X", "inputs": {}}}}', "body of POST /prompt"),
    ],
    ids=["broken", "a list", "too deep", "an input without its cover", "the body of a prompt"],
)
def test_what_is_no_workflow_is_told_in_a_sentence_and_ends_with_2(
    text: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert check_command(str(path), None, as_json=False) == 2
    assert part in capsys.readouterr().out


def test_a_template_is_checked_with_all_its_parameters(picture: Json, write: Write, engine: Knowledge) -> None:
    template = {
        "name": "mine",
        "parameters": {
            "steps": {"type": "integer", "targets": ["3.steps"], "default": "many"},
            "size": {"type": "integer", "targets": ["5.side"]},
        },
        "workflow": picture,
    }
    report = checked(write(template, "mine.json"), engine)
    assert any("parameters.steps.default: must be a whole number" in problem for problem in report.problems)
    assert any("parameters.size.targets: There is no input '5.side'" in problem for problem in report.problems)


def test_the_command_exits_with_0_for_the_templates_here_and_says_what_it_compared_with(inspect: Inspect) -> None:
    done = inspect("workflow", "check", "text_to_image")
    assert done.returncode == 0, done.stderr
    assert "checked against the built-in engine, which knows" in done.stdout
    assert "a real ComfyUI knows more" in done.stdout


def test_the_command_exits_with_2_and_json_has_every_problem(inspect: Inspect, write: Write, comfyui_url: str) -> None:
    path = write(save(**{"3": {"class_type": "\x1b[31mEvil", "inputs": {}}}))
    done = inspect("workflow", "check", path, "--comfyui", comfyui_url, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 2
    assert report["refusal"]["code"] == "invalid_workflow"
    assert comfyui_url in report["checked_against"]["name"]
    assert len(report["problems"]) == 1
    shown = inspect("workflow", "check", path, COMFYUI_URL=comfyui_url)
    assert shown.returncode == 2
    assert "\x1b" not in shown.stdout


def test_a_comfyui_that_does_not_answer_is_our_own_failure(inspect: Inspect, write: Write) -> None:
    done = inspect("workflow", "check", write(save()), "--comfyui", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("comfyui_unavailable: ")
