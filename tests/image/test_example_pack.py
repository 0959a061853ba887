"""The pack of our own: its nodes, called as ComfyUI calls them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from comfypod.comfyui.node_packs import NodePacks
from comfypod.image.node_classes import find_classes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "custom_nodes" / "comfypod_nodes"
LARGEST_SEED = 2**64 - 1


@pytest.fixture(scope="module")
def classes() -> dict[str, type]:
    """The pack's classes, imported by its path, as ComfyUI does (nodes.py, load_custom_node)."""
    name = str(FOLDER).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = set(sys.modules)
    spec.loader.exec_module(module)
    assert not {"torch", "numpy", "comfy"} & (set(sys.modules) - before)
    assert set(module.NODE_DISPLAY_NAME_MAPPINGS) == set(module.NODE_CLASS_MAPPINGS)
    found: dict[str, type] = module.NODE_CLASS_MAPPINGS
    return found


def call(classes: dict[str, type], class_type: str, /, **inputs: Any) -> Any:
    """Run a node with these inputs, which must be those that it declares."""
    node = classes[class_type]
    declared = node.INPUT_TYPES()  # type: ignore[attr-defined]
    assert set(declared["required"]) <= set(inputs) <= set(declared["required"]) | set(declared.get("optional", {}))
    return getattr(node(), node.FUNCTION)(**inputs)  # type: ignore[attr-defined]


def test_the_list_has_the_pack_with_its_classes(classes: dict[str, type]) -> None:
    entry = NodePacks.load(ROOT / "custom_nodes" / "nodes.toml").named("comfypod_nodes")
    assert entry.vendored
    assert entry.classes == sorted(classes) == find_classes(FOLDER)


def test_what_the_nodes_declare_is_json_and_fits_what_they_return(classes: dict[str, type]) -> None:
    for node in classes.values():
        json.dumps(node.INPUT_TYPES())  # type: ignore[attr-defined]
        assert len(getattr(node, "RETURN_NAMES", ())) == len(node.RETURN_TYPES)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("value", "text"), [("a fox", "a fox"), ("", "a hare"), (" \n", "a hare")])
def test_a_text_is_what_the_job_set_or_the_default(classes: dict[str, type], value: str, text: str) -> None:
    assert call(classes, "ComfypodText", name="animal", value=value, default="a hare") == (text,)


def test_a_number_comes_whole_and_as_it_is(classes: dict[str, type]) -> None:
    assert call(classes, "ComfypodNumber", name="steps", value=19.6) == (20, 19.6)
    assert isinstance(call(classes, "ComfypodNumber", name="steps", value=20)[1], float)


def test_a_seed_may_be_as_large_as_samplers_take(classes: dict[str, type]) -> None:
    assert call(classes, "ComfypodSeed", seed=LARGEST_SEED) == (LARGEST_SEED,)
    assert classes["ComfypodSeed"].INPUT_TYPES()["required"]["seed"][1]["max"] == LARGEST_SEED  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("prefix", "values", "name"),
    [
        ("fox_{a}", {"a": 77}, "fox_77"),
        ("job-1/cards/{b}_{a}", {"a": 0.5, "b": "Ein Füchslein, rot!"}, "job-1/cards/Ein_Füchslein_rot_0.5"),
        ("{a}", {"a": "../../etc/passwd"}, "etc_passwd"),
        ("{a}", {"a": "%year%\\x\n"}, "year_x"),
        ("{a}", {"a": ""}, "_"),
        ("{a}", {"a": "{b}", "b": "x"}, "b"),
        ("{x} {}", {}, "{x} {}"),
        ("job-1/x_{a}{b}{c}", dict.fromkeys("abc", "ä" * 1_000), "job-1/x_" + "ä" * 89),
    ],
)
def test_an_output_is_named_after_values_which_stay_within_its_folder(
    classes: dict[str, type], prefix: str, values: dict[str, Any], name: str
) -> None:
    assert call(classes, "ComfypodOutputName", filename_prefix=prefix, **values) == (name,)


def test_a_place_without_a_value_is_told(classes: dict[str, type]) -> None:
    with pytest.raises(ValueError, match=r"\{b\} stands in the name, but nothing is connected to b"):
        call(classes, "ComfypodOutputName", filename_prefix="{a}_{b}", a=1)


@pytest.mark.parametrize(
    ("value", "shown"), [("a caption", "a caption"), (77, 77), (0.5, 0.5), (True, True), (float("nan"), "nan")]
)
def test_a_value_stands_among_the_results_under_its_name(classes: dict[str, type], value: Any, shown: Any) -> None:
    assert call(classes, "ComfypodResult", name="score", value=value) == {"ui": {"score": [shown]}}


@pytest.mark.parametrize("name", ["", " ", "images", "animated", "a\nb"])
def test_a_value_needs_a_name_of_its_own(classes: dict[str, type], name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a value"):
        call(classes, "ComfypodResult", name=name, value=1)
