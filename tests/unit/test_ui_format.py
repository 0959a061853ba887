"""UI exports become the API format: as ComfyUI's front end does it, and with a clear word where that is impossible.

``tests/transcripts/ui`` holds small documents with the answer of ComfyUI's front end 1.48.7 (on ComfyUI 0.33.0), and
the classes they need from ``/object_info``.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfypod.comfyui.ui_format.conversion import convert_ui_workflow, is_ui_format
from comfypod.errors import InvalidWorkflow
from comfypod.schema.workflow import EXPORT_HINT, Workflow

RECORDED = Path(__file__).parents[1] / "transcripts" / "ui"
NAMES = sorted(path.stem for path in RECORDED.glob("*.json") if path.stem != "object_info")
OBJECT_INFO: dict[str, Any] = json.loads((RECORDED / "object_info.json").read_text())

Json = dict[str, Any]


def recorded(name: str) -> Json:
    entry: Json = json.loads((RECORDED / f"{name}.json").read_text())
    return entry


def node(node_id: int, kind: str, inputs: list[Json] | None = None, **fields: Any) -> Json:
    return {"id": node_id, "type": kind, "inputs": inputs or [], **fields}


def slot(name: str, link: int | None, kind: str = "IMAGE") -> Json:
    return {"name": name, "type": kind, "link": link}


def document(nodes: list[Json], links: list[list[Any]] | None = None, subgraphs: list[Json] | None = None) -> Json:
    definitions = {"definitions": {"subgraphs": subgraphs}} if subgraphs else {}
    return {"version": 0.4, "nodes": nodes, "links": links or [], **definitions}


def picture_to(*more: Json, links: list[list[Any]]) -> Json:
    """A document that begins with EmptyImage, as node 1."""
    return document([node(1, "EmptyImage", widgets_values=[64, 64, 1, 0]), *more], links)


def convert(workflow: Json, **options: Any) -> dict[str, Json]:
    return convert_ui_workflow(workflow, OBJECT_INFO, **options)


def refusal(workflow: Json) -> InvalidWorkflow:
    with pytest.raises(InvalidWorkflow) as caught:
        convert(workflow)
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_a_document_becomes_what_the_front_end_makes_of_it(name: str) -> None:
    entry = recorded(name)
    assert convert(entry["workflow"], choose=lambda alternatives: alternatives[0]) == entry["api"]


def test_what_comes_out_is_a_workflow() -> None:
    workflow = Workflow.parse(convert(recorded("links_as_lists")["workflow"]))
    assert workflow.title("6") == "Positive"


def test_the_document_stays_as_it_was() -> None:
    for name in ("duplicate_ids", "proxy_primitive", "dynamic_combo"):
        workflow = recorded(name)["workflow"]
        before = copy.deepcopy(workflow)
        convert(workflow)
        assert workflow == before


def test_nodes_come_in_their_order_of_execution_with_a_subgraph_in_its_place() -> None:
    workflow = recorded("nested_value")["workflow"]
    workflow["nodes"].reverse()
    assert list(convert(workflow)) == ["1", "12:31:21", "12:31:22", "12:32", "9"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"nodes": []}, True), ({"3": {"class_type": "KSampler", "inputs": {}}}, False), ([], False), (None, False)],
)
def test_a_ui_export_is_told_from_the_api_format(value: Any, expected: bool) -> None:
    assert is_ui_format(value) is expected


def test_values_that_are_saved_by_name_go_to_their_inputs_also_where_only_the_node_knows_them() -> None:
    video = {
        "input": {"required": {"images": ["IMAGE"], "frame_rate": ["FLOAT", {"default": 8}], "format": [["a", "b"]]}},
        "output": [],
    }
    values = {"frame_rate": 24, "format": "b", "crf": 19, "videopreview": {"hidden": False}}
    workflow = picture_to(node(2, "Combine", [slot("images", 1)], widgets_values=values), links=[[1, 1, 0, 2, 0, "*"]])
    api = convert_ui_workflow(workflow, {**OBJECT_INFO, "Combine": video})
    assert api["2"]["inputs"] == {"frame_rate": 24, "format": "b", "crf": 19, "images": ["1", 0]}


def test_control_filter_box_fields_and_refresh_buttons_take_their_places_in_the_saved_values() -> None:
    inputs = {
        "name": [["a", "b"], {"control_after_generate": True}],
        "region": ["BOUNDING_BOX", {}],
        "file": ["COMBO", {"remote": {"route": "/internal/files", "refresh_button": True}}],
        "tags": ["COMBO", {"multi_select": True, "options": ["x", "y"]}],
        "last": ["STRING", {}],
    }
    box = {"x": 1, "y": 2, "width": 3, "height": 4}
    values = ["b", "fixed", "", box, 1, 2, 3, 4, "f.png", False, "refresh", ["x"], "end"]
    api = convert_ui_workflow(
        document([node(1, "Many", widgets_values=values)]), {"Many": {"input": {"required": inputs}, "output": []}}
    )
    expected = {"name": "b", "region": box, "file": "f.png", "tags": {"__value__": ["x"]}, "last": "end"}
    assert api["1"]["inputs"] == expected


def test_inputs_that_connect_without_a_widget_take_no_saved_value() -> None:
    inputs = {"count": ["INT", {"forceInput": True}], "text": ["STRING", {}], "size": ["FLOAT,INT", {}]}
    definition = {"input": {"required": inputs}, "input_order": {"required": ["size", "text", "count"]}, "output": []}
    api = convert_ui_workflow(document([node(1, "Few", widgets_values=["hello"])]), {"Few": definition})
    assert api["1"]["inputs"] == {"text": "hello"}


def test_get_nodes_stand_for_the_set_node_of_their_name_also_around_a_subgraph() -> None:
    inside = {
        "id": "sub",
        "nodes": [node(21, "GetNode", widgets_values=["picture"]), node(22, "PreviewImage", [slot("images", 5)])],
        "links": [{"id": 5, "origin_id": 21, "origin_slot": 0, "target_id": 22, "target_slot": 0}],
    }
    workflow = picture_to(
        node(2, "SetNode", [slot("IMAGE", 1)], widgets_values=["picture"]),
        node(3, "GetNode", widgets_values=["picture"]),
        node(4, "Reroute (rgthree)", [slot("", 2)]),
        node(5, "PreviewImage", [slot("images", 3)]),
        node(6, "sub"),
        links=[[1, 1, 0, 2, 0, "*"], [2, 3, 0, 4, 0, "*"], [3, 4, 0, 5, 0, "*"]],
    )
    workflow["definitions"] = {"subgraphs": [inside]}
    api = convert(workflow)
    assert set(api) == {"1", "5", "6:22"}
    assert api["5"]["inputs"] == api["6:22"]["inputs"] == {"images": ["1", 0]}


def test_one_of_the_alternatives_of_a_prompt_is_taken() -> None:
    workflow = document([node(1, "CLIPTextEncode", widgets_values=["a {red|{dark |}blue|\\{x\\}} hat // or cap"])])
    offered: list[list[str]] = []

    def last(alternatives: Any) -> str:
        offered.append(list(alternatives))
        return offered[-1][-1]

    assert convert(workflow, choose=last)["1"]["inputs"]["text"] == "a {x} hat "
    assert offered == [["dark ", ""], ["red", "blue", "\\{x\\}"]]


def test_dates_in_file_names_become_variables_of_the_server() -> None:
    saved = node(
        2, "SaveImage", [slot("images", 1)], widgets_values=["%date:yyyy-MM-dd%/%date:hh:mm:ss%_%EmptyImage.color%"]
    )
    api = convert(picture_to(saved, links=[[1, 1, 0, 2, 0, "*"]]))
    prefix = api["2"]["inputs"]["filename_prefix"]
    assert prefix == "%year%-%month%-%day%/%hour%:%minute%:%second%_%EmptyImage.color%"


def test_decoration_that_no_server_knows_is_left_out() -> None:
    workflow = picture_to(
        node(2, "PreviewImage", [slot("images", 1)]),
        node(3, "Label (rgthree)"),
        node(4, "Some Banner", [slot("nothing", None)]),
        links=[[1, 1, 0, 2, 0, "*"]],
    )
    assert set(convert(workflow)) == {"1", "2"}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Anything Everywhere", EXPORT_HINT),
        ("Load3D", "replace it by a node that loads a file"),
        ("workflow>My group", "open the workflow in a current ComfyUI"),
        ("Missing Sampler", "install the custom node that has it"),
    ],
)
def test_what_only_the_browser_can_do_is_refused_by_name_with_the_remedy(kind: str, says: str) -> None:
    workflow = picture_to(node(2, kind, [slot("in", 1)], title="Mine"), links=[[1, 1, 0, 2, 0, "*"]])
    error = refusal(workflow)
    assert error.node_id == "2"
    assert str(error).startswith(f"Node 2: {kind} (Mine) ")
    assert says in str(error)
    workflow["nodes"][1]["mode"] = 2
    assert set(convert(workflow)) == {"1"}


def test_values_that_only_a_custom_node_itself_can_read_are_not_lost_silently() -> None:
    definition = {"input": {"required": {"model": ["MODEL"]}}, "output": [], "python_module": "custom_nodes.loras"}
    values = [{}, {"on": True, "lora": "a.safetensors", "strength": 1}]
    with pytest.raises(InvalidWorkflow, match="only its own front-end code can read"):
        convert_ui_workflow(document([node(1, "Loras", widgets_values=values)]), {"Loras": definition})


def test_a_node_inside_a_subgraph_is_named_by_its_id_in_the_api_format() -> None:
    workflow = recorded("nested_value")["workflow"]
    workflow["definitions"]["subgraphs"][0]["nodes"][0]["type"] = "Missing"
    assert refusal(workflow).node_id == "12:31:21"


def test_a_link_that_is_missing_is_named() -> None:
    error = refusal(document([node(1, "PreviewImage", [slot("images", 7)])]))
    assert "'images'" in str(error)
    assert error.node_id == "1"


def test_reroutes_in_a_circle_are_refused() -> None:
    workflow = document(
        [
            node(1, "Reroute", [slot("", 1)]),
            node(2, "Reroute", [slot("", 2)]),
            node(3, "PreviewImage", [slot("images", 3)]),
        ],
        [[1, 2, 0, 1, 0, "*"], [2, 1, 0, 2, 0, "*"], [3, 2, 0, 3, 0, "*"]],
    )
    assert "connected to itself" in str(refusal(workflow))


def test_a_subgraph_whose_output_is_its_input_passes_it_through() -> None:
    links = [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": -20, "target_slot": 0}]
    boundary = {"inputs": [{"name": "in", "type": "IMAGE"}], "outputs": [{"name": "out", "type": "IMAGE"}]}
    workflow = picture_to(
        node(2, "sub", [slot("in", 1)]),
        node(3, "PreviewImage", [slot("images", 2)]),
        links=[[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "*"]],
    )
    workflow["definitions"] = {"subgraphs": [{"id": "sub", "nodes": [], "links": links, **boundary}]}
    assert convert(workflow)["3"]["inputs"] == {"images": ["1", 0]}


def subgraphs_using(*uses: list[str]) -> list[Json]:
    """Subgraphs ``0``, ``1`` …, with a node for each of those that they use."""
    return [
        {"id": str(key), "nodes": [node(1000 * key + number, kind) for number, kind in enumerate(kinds, 1)]}
        for key, kinds in enumerate(uses)
    ]


def chain(length: int) -> list[list[str]]:
    return [[str(key + 1)] for key in range(length)] + [[]]


@pytest.mark.parametrize(
    ("subgraphs", "says"),
    [
        (subgraphs_using(["0"]), "contains itself"),
        (subgraphs_using(["1"], ["2"], ["1"]), "contains itself"),
        (subgraphs_using(*chain(5_000)), "nested deeper"),
        (subgraphs_using(*[[str(key + 1)] * 10 for key in range(9)], ["PreviewImage"]), "more than 20000 nodes"),
    ],
    ids=["itself", "each other", "deep", "many"],
)
def test_subgraphs_without_end_are_refused_at_once(subgraphs: list[Json], says: str) -> None:
    started = time.process_time()
    assert says in str(refusal(document([node(1, "0")], subgraphs=subgraphs)))
    assert time.process_time() - started < 5


def test_subgraphs_as_deep_as_allowed_are_converted() -> None:
    sub = subgraphs_using(*chain(98), ["PrimitiveInt"])
    del sub[98]
    (node_id,) = convert(document([node(1, "0")], subgraphs=[*sub, {**subgraphs_using(["EmptyImage"])[0], "id": "98"}]))
    assert node_id.count(":") == 99


def test_a_long_chain_with_many_ends_is_converted_in_linear_time() -> None:
    reroutes, length = 9_000, 9_000
    nodes = [node(1, "EmptyImage"), *(node(number, "Reroute", [slot("", number)]) for number in range(2, reroutes + 2))]
    links = [[number, number - 1, 0, number, 0, "*"] for number in range(2, reroutes + 2)]
    for number in range(reroutes + 2, reroutes + 2 + length):
        nodes.append(node(number, "PreviewImage", [slot("images", number)]))
        links.append([number, reroutes + 1, 0, number, 0, "*"])
    started = time.process_time()
    api = convert(document(nodes, links))
    assert len(api) == length + 1
    assert api[str(reroutes + 2)]["inputs"] == {"images": ["1", 0]}
    assert time.process_time() - started < 10


def test_too_many_nodes_are_refused() -> None:
    assert "more than 20000 nodes" in str(refusal(document([node(number, "Note") for number in range(20_001)])))


ODD = [
    None,
    True,
    -1,
    10**30,
    10**5000,
    1.5,
    float("nan"),
    "",
    "x" * 200,
    [],
    [[]],
    [None],
    {},
    {"id": 1},
    "*",
    -10,
    "-20",
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value, with each of its keys."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


@pytest.mark.parametrize("name", ["nested_proxy_chain", "dynamic_combo", "proxy_primitive", "primitive", "texts"])
def test_values_of_any_type_in_any_place_raise_nothing_but_invalid_workflow(name: str) -> None:
    original = recorded(name)["workflow"]
    randomness = random.Random(name)  # noqa: S311 (the same on every run)
    for index in range(sum(1 for _ in places(original))):
        changed = copy.deepcopy(original)
        container, key = list(places(changed))[index]
        container[key] = randomness.choice(ODD)
        try:
            Workflow.parse(convert(changed) or {"1": {"class_type": "x", "inputs": {}}})
        except InvalidWorkflow as error:
            assert str(error)


def test_definitions_of_any_type_raise_nothing_but_invalid_workflow() -> None:
    workflow = recorded("dynamic_combo")["workflow"]
    kinds = ("ResizeImageMaskNode", "LoadImage")
    randomness = random.Random(1)  # noqa: S311 (the same on every run)
    for index in range(sum(1 for _ in places({kind: OBJECT_INFO[kind] for kind in kinds}))):
        changed = copy.deepcopy({kind: OBJECT_INFO[kind] for kind in kinds})
        container, key = list(places(changed))[index]
        container[key] = randomness.choice(ODD)
        try:
            convert_ui_workflow(workflow, {**OBJECT_INFO, **changed})
        except InvalidWorkflow as error:
            assert str(error)


def test_values_nested_without_end_do_not_matter() -> None:
    deep: Any = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    saved = node(2, "SaveImage", widgets_values=["%Deep.text%"])
    api = convert(document([node(1, "CLIPTextEncode", title="Deep", widgets_values=[deep]), saved]))
    assert api["1"]["inputs"]["text"]["__value__"] is deep
    assert api["2"]["inputs"]["filename_prefix"] == "%Deep.text%"


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("CLIPTextEncode", "{" * 100_000, "inside each other"),
        ("CLIPTextEncode", "{a|b}" * 1_000_001, "more than 5000000 characters"),
        ("SaveImage", "%Long.text%" * 100, "too long"),
    ],
)
def test_texts_without_end_are_refused_at_once(kind: str, value: str, says: str) -> None:
    long = node(2, "CLIPTextEncode", title="Long", mode=2, widgets_values=["x" * 10_000])
    assert says in str(refusal(document([node(1, kind, widgets_values=[value]), long])))


def test_prefixes_without_end_take_no_time() -> None:
    host = node(1, "sub", properties={"proxyWidgets": [["1", "1:" * 100_000 + "x"]]})
    started = time.process_time()
    assert convert(document([host], subgraphs=[{"id": "sub", "nodes": []}])) == {}
    assert time.process_time() - started < 5


def test_inputs_that_multiply_are_refused() -> None:
    boundary = [{"name": f"in{number}", "type": "INT"} for number in range(2_000)]
    hosts = [node(number, "sub") for number in range(1_000)]
    many = document(hosts, subgraphs=[{"id": "sub", "nodes": [], "inputs": boundary}])
    assert "inputs together" in str(refusal(many))
