"""Where rows come from: JSON lines, tables, folders, databases; and what is said of those that are wrong."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comfypod.batch.coordinator.results_folder import ResultsFolder
from comfypod.batch.documents import Item
from comfypod.batch.manifest.names import name_problem
from comfypod.errors import InvalidManifest
from tests.batch.manifest.making import picture_workflow, read, read_rows, write_lines


def problems_of(folder: Path, *rows: Any, **options: Any) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        read_rows(folder, *rows, **options)
    return list(caught.value.problems)


def items_of(folder: Path, source: Path | str, **options: Any) -> list[Item]:
    return list(read(folder, source, **options).items())


def parameters(items: list[Item]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.job["parameters"].items() if name != "seed"} for item in items]


def test_rows_have_the_defaults_of_the_first_line_and_of_the_options(tmp_path: Path) -> None:
    source = write_lines(
        tmp_path,
        [
            {"defaults": {"template": "text_to_image", "parameters": {"steps": 9, "cfg": 2.0}}},
            "",
            {"prompt": "a", "name": "one"},
            {"prompt": "b", "parameters": {"steps": 5}},
        ],
    )
    items = items_of(tmp_path, source, parameters={"cfg": 1.0, "width": 512})
    assert parameters(items) == [
        {"steps": 9, "cfg": 2.0, "width": 512, "prompt": "a"},
        {"steps": 5, "cfg": 2.0, "width": 512, "prompt": "b"},
    ]
    assert [(item.row, item.name) for item in items] == [(0, "one"), (1, None)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"prompt": "a"', "Line 2: is not valid JSON"),
        ('{"prompt": "a", "parameters": {"cfg": NaN}}', "Line 2: is not valid JSON"),
        ('{"prompt": "a", "parameters": {"cfg": 1e999}}', "Line 2: parameters.cfg: must be a finite number"),
        ('{"prompt": "a", "parameters": {"steps": 99999999999999999999999}}', "steps: must be a whole number of at"),
        ('{"prompt": "\\ud800"}', "Line 2: is not valid JSON"),
        ("[" * 500 + "]" * 500, "Line 2: is not valid JSON"),
        ('["a fox"]', "Line 2: must be an object"),
        ("{}", "Line 2: is an empty object"),
        ({"promt": "a"}, "Line 2: promt: unknown field; did you mean prompt?"),
        ({"prompt": "a", "once": True}, "Line 2: once: is settled by the batch itself"),
        ({"prompt": "a", "comfy_org_api_key": "secret-9"}, "Line 2: comfy_org_api_key: is a secret"),
        ({"prompt": "a", "parameters": {"step": 9}}, "did you mean 'steps'?"),
        ({"prompt": "a", "parameters": {"steps": "many"}}, "parameters.steps: must be a whole number"),
        ({"prompt": "a", "parameters": {"99.text": "x"}}, "There is no input '99.text'"),
        ({"prompt": "a", "parameters": []}, "Line 2: parameters: must be an object"),
        ({"prompt": 7}, "parameters.prompt: must be a text"),
        ({"name": "x"}, "Line 2: template: name one"),
        ({"template": "nothing"}, "there is no template 'nothing'"),
        ({"template": "../workflows/text_to_image"}, "there is no template"),
        ('{"workflow": {"1": {"class_type": "X", "inputs": {"a": 1e999}}}}', "1.inputs.a: must be a finite number"),
        (
            {"workflow": {"1": {"class_type": "X", "inputs": {"a": [[[]] * 3] * 3, "b": 2**70}}}},
            "1.inputs.b: must be a",
        ),
        ({"workflow": {"1": {"class_type": 7, "inputs": {}}}}, "class_type is missing or not a text"),
        ({"workflow": {}}, "The workflow has no nodes"),
        ({"workflow": {"nodes": []}}, "UI format"),
        ({"workflow": 7}, "workflow: must be a workflow"),
        ({"workflow": "text_to_image", "template": "upscale"}, "name one of them"),
        ({"prompt": "a", "files": [{"name": "../x.png", "data": "AAAA"}]}, "files[0].name: must be a plain relative"),
        ({"prompt": "a", "outputs": {"format": "bmp"}}, "outputs.format: input should be"),
        ({"prompt": "a", "timeout_seconds": -1}, "timeout_seconds: input should be greater"),
        ({"prompt": "a", "assets": ["../../etc/passwd"]}, "assets: '../../etc/passwd' is not in models.toml"),
        (
            {"prompt": "a", "parameters": {"checkpoint": "no.safetensors"}},
            "ckpt_name 'no.safetensors' is not in models",
        ),
        ({"workflow": picture_workflow(), "prompt": "a"}, "prompt: belongs to a template"),
        ({"workflow": picture_workflow(), "parameters": {"6.txt": "a"}}, "There is no input '6.txt'"),
    ],
)
def test_a_row_that_is_wrong_is_named_with_its_line_and_field(tmp_path: Path, row: Any, said: str) -> None:
    (problem,) = problems_of(tmp_path, {"prompt": "fine"}, row, {"prompt": "fine as well"})
    assert said in problem
    assert problem.startswith("Line 2: ")
    assert "secret-9" not in problem


@pytest.mark.parametrize(
    "name",
    [
        "nul",
        "../up",
        "a/b",
        "a\\b",
        "..",
        ".hidden",
        "",
        "x" * 101,
        "a\n",
        " a",
        "a ",
        "a.",
        "c:",
        "50%",
        7,
        "0" * 32,
        "é" * 51,
    ],
)
def test_a_name_leads_nowhere_else(tmp_path: Path, name: Any) -> None:
    (problem,) = problems_of(tmp_path, {"prompt": "a", "name": name})
    assert problem.startswith("Line 1: name: must")


@pytest.mark.parametrize("name", ["fox", "fox-01.v2", "Füchsin 7", "a", "狐", "0" * 31])
def test_a_name_may_be_a_usual_one(tmp_path: Path, name: str) -> None:
    assert [item.name for item in read_rows(tmp_path, {"prompt": "a", "name": name}).items()] == [name]


@given(st.text(alphabet=st.sampled_from("ab.\\/:* ~%\nécon0"), max_size=5))
@example("con.png")
@settings(max_examples=300)
def test_results_can_be_kept_under_every_name_that_is_accepted(name: str) -> None:
    if name_problem(name) is None:
        folder = Path("/results")
        assert ResultsFolder(folder).path_of(f"{name}/image.png") == folder / name / "image.png"


def test_two_items_never_have_one_name(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, {"prompt": "a", "name": "Fox"}, {"prompt": "b", "name": "fox"})
    assert problem.startswith("Line 2: name: 'fox' belongs to another item already")


def test_every_problem_is_told_up_to_a_bound(tmp_path: Path) -> None:
    assert len(problems_of(tmp_path, *({"promt": "a"} for _ in range(15)))) == 15
    told = problems_of(tmp_path, *({"promt": "a"} for _ in range(5000)))
    assert len(told) == 21
    assert told[-1] == "Reading ended here: there may be more."


def test_a_missing_model_is_told_once(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "parameters": {"checkpoint": "no.safetensors", "width": 512 + 8 * i}} for i in range(50)]
    (problem,) = problems_of(tmp_path, *rows)
    assert problem.startswith("Line 1: node 4 (CheckpointLoaderSimple): ckpt_name 'no.safetensors'")


def test_a_line_is_not_endless(tmp_path: Path) -> None:
    source = write_lines(tmp_path, [{"prompt": "a"}, {"prompt": "x" * 5000}, {"promt": "b"}])
    with pytest.raises(InvalidManifest) as caught:
        read(tmp_path, source, longest_row_bytes=1000)
    first, second = caught.value.problems
    assert first == "Line 2: is longer than 1,000 bytes."
    assert second.startswith("Line 3: promt")


def test_a_manifest_is_not_empty_and_not_endless(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "") == [f"{tmp_path / 'batch.jsonl'} has no items."]
    rows = [{"prompt": str(number)} for number in range(4)]
    assert "more than 3 items" in problems_of(tmp_path, *rows, most_items=3)[0]
    assert read_rows(tmp_path, *rows, most_items=4).count == 4


@pytest.mark.parametrize("defaults", [7, {"name": "x"}, {"promt": "x"}, {"parameters": 7}])
def test_defaults_are_checked(tmp_path: Path, defaults: Any) -> None:
    (problem,) = problems_of(tmp_path, {"defaults": defaults}, {"prompt": "a"})
    assert "defaults: " in problem


def test_a_row_that_names_another_form_leaves_that_of_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(picture_workflow()))
    items = list(
        read_rows(
            tmp_path,
            {"defaults": {"workflow": "mine.json"}},
            {"parameters": {"6.text": "a"}},
            {"template": "text_to_image", "prompt": "b"},
        ).items()
    )
    assert items[0].job["workflow"] == picture_workflow()
    assert items[1].job["workflow"] == "text_to_image"


@pytest.mark.parametrize(
    "text", ["../out.json", "/etc/passwd.json", "link.json", "nothing.json", "\0.json", "x" * 999 + ".json"]
)
def test_a_row_names_files_of_the_manifests_folder_only(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    (tmp_path / "out.json").write_text(json.dumps(picture_workflow()))
    (folder / "link.json").symlink_to(tmp_path / "out.json")
    (problem,) = problems_of(folder, {"workflow": text})
    assert problem.startswith("Line 1: workflow: ")


def test_a_table_gives_parameters_by_the_types_of_its_template(tmp_path: Path) -> None:
    source = tmp_path / "batch.csv"
    source.write_text(
        "\ufeffname,prompt,steps,cfg,seed,checkpoint,4.ckpt_name\r\n"
        'one,"a fox, red",12,3,7,,\r\n'
        ",a wolf,,1.5,random,base.safetensors,\r\n"
        ",,,,,,\r\n",
        encoding="utf-8",
    )
    one, two = items_of(tmp_path, source, template="text_to_image")
    assert (one.name, one.job["parameters"]) == ("one", {"prompt": "a fox, red", "steps": 12, "cfg": 3, "seed": 7})
    assert parameters([two]) == [{"prompt": "a wolf", "cfg": 1.5, "checkpoint": "base.safetensors"}]
    assert isinstance(two.job["parameters"]["seed"], int)


def test_a_table_gives_inputs_by_the_types_of_its_workflow(tmp_path: Path) -> None:
    form = tmp_path / "mine.json"
    form.write_text(json.dumps(picture_workflow()))
    source = tmp_path / "batch.tsv"
    source.write_text("6.text\t3.steps\t3.denoise\t3.seed\n12\t7\t0.5\t99\n")
    (item,) = items_of(tmp_path, source, template=str(form))
    assert item.job["parameters"] == {"6.text": "12", "3.steps": 7, "3.denoise": 0.5, "3.seed": 99}


def test_a_table_may_have_semicolons_and_columns_that_mean_nothing(tmp_path: Path) -> None:
    source = tmp_path / "batch.csv"
    source.write_text("prompt;price\na, b;17\n")
    with pytest.raises(InvalidManifest, match="no such parameter"):
        items_of(tmp_path, source)
    assert parameters(items_of(tmp_path, source, ignored=frozenset({"price"}))) == [{"prompt": "a, b"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"prompt\n\xff\n", "line 2: is not UTF-8"),
        (b'prompt\n"a\n', "line 2: unexpected end of data"),
        (b"prompt\na,b\n", "Line 2: has 2 cells for 1 columns"),
        (b"prompt,prompt\na,b\n", "two columns of the same name: prompt"),
        (b"\n", "has no line with the names of its columns"),
        (b"", "has no line with the names of its columns"),
        (b"prompt\n" + b"x" * 2000, "line 2: is longer than 1,000 bytes"),
        (b"prompt,steps\na,many\n", "Line 2: parameters.steps: must be a whole number"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    source = tmp_path / "batch.csv"
    source.write_bytes(content)
    with pytest.raises(InvalidManifest) as caught:
        items_of(tmp_path, source, longest_row_bytes=1000)
    assert said in str(caught.value)


def test_a_folder_has_an_item_for_each_file(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "b.json").write_text(json.dumps(picture_workflow()))
    (folder / "a.json").write_text(json.dumps({"input": {"prompt": "a fox", "parameters": {"steps": 3}}}))
    (folder / "c.json").write_text((Path(__file__).parents[3] / "workflows/text_to_image.json").read_text())
    (folder / "notes.txt").write_text("not looked at")
    items = items_of(tmp_path, folder)
    assert [item.name for item in items] == ["a", "b", "c"]
    assert items[1].job["workflow"] == picture_workflow()
    assert items[2].job["parameters"]["6.text"] == "a red circle on blue"


def test_a_folder_says_which_file_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "bad.json").write_text("{")
    (folder / "endless.json").write_text('{"1": {"class_type": "X", "inputs": {"a": 1e999}}}')
    (folder / "page.json").write_text(json.dumps({"nodes": [], "links": []}))
    with pytest.raises(InvalidManifest) as caught:
        items_of(tmp_path, folder)
    first, second, third = caught.value.problems
    assert first.startswith("File bad.json: is not valid JSON")
    assert second.startswith("File endless.json: 1.inputs.a: must be a finite number")
    assert third.startswith("File page.json: is in the UI format")


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE products (sku INTEGER, text TEXT, steps TEXT, cfg REAL, photo BLOB)")
        connection.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?, ?)",
            [(1, "a fox", "7", 2.5, b"x"), (2, "an owl", None, None, None)],
        )
    return f"sqlite:///{path}"


def test_a_database_answers_as_a_table_would(tmp_path: Path, database: str) -> None:
    query = "SELECT sku AS name, text AS prompt, steps, cfg FROM products ORDER BY sku DESC"
    items = items_of(tmp_path, database, query=query)
    assert [item.name for item in items] == ["2", "1"]
    assert parameters(items) == [{"prompt": "an owl"}, {"prompt": "a fox", "steps": 7, "cfg": 2.5}]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (None, "needs a SELECT"),
        ("DELETE FROM products", "needs a SELECT"),
        ("WITH gone AS (SELECT 1) DELETE FROM products", "readonly"),
        ("SELECT colour FROM products", "no such column: colour"),
        ("SELECT photo AS prompt FROM products", "Row 1: prompt: holds bytes"),
        ("SELECT text AS prompt, text AS prompt FROM products", "two columns of the same name"),
    ],
)
def test_a_database_is_only_read(tmp_path: Path, database: str, query: str | None, said: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        items_of(tmp_path, database, query=query)
    assert said in str(caught.value)
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (2,)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="unable to open"):
        items_of(tmp_path, f"sqlite:///{tmp_path}/none.db", query="SELECT 1 AS prompt")
    assert not (tmp_path / "none.db").exists()


def test_a_database_url_keeps_its_password_to_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest) as caught:
        items_of(tmp_path, "postgresql://me:secret-9@127.0.0.1:9/x", query="SELECT 1 AS prompt")
    assert "secret-9" not in str(caught.value)


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "batch.txt").write_text('{"prompt": "a"}\n')
    with pytest.raises(InvalidManifest, match="say --from"):
        read(tmp_path, tmp_path / "batch.txt")
    assert read(tmp_path, tmp_path / "batch.txt", kind="jsonl").count == 1
    with pytest.raises(InvalidManifest, match="No such file"):
        read(tmp_path, tmp_path / "gone.jsonl")
