"""What a row means: its identity, its seeds, its files; and that workers read the same in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfypod.batch.documents import Item
from comfypod.batch.manifest.facts import facts_of
from comfypod.batch.manifest.library import ModelLibrary
from comfypod.batch.manifest.manifest import Manifest
from comfypod.errors import InvalidManifest
from comfypod.schema.job import JobInput
from comfypod.schema.workflow import SEED_INPUTS, Workflow
from comfypod.storage.models.manifest import ModelManifest
from comfypod.worker.workflows import build_workflow
from tests.batch.manifest.making import MODELS, TEMPLATES, picture_workflow, read, read_rows, write_lines, write_models


def identifiers(manifest: Manifest) -> set[str]:
    return {item.identifier for item in manifest.items()}


def only_item(folder: Path, row: dict[str, Any], **options: Any) -> Item:
    (item,) = read_rows(folder, row, **options).items()
    return item


def as_worker(item: Item) -> Workflow:
    """The workflow as the worker builds it, which must find nothing left to draw."""

    def draw(name: str) -> int:
        raise AssertionError(name)

    return build_workflow(JobInput.parse(json.loads(json.dumps(item.job))), TEMPLATES, draw)


def test_the_same_items_are_the_same_batch_in_any_order(tmp_path: Path) -> None:
    rows = [{"prompt": f"fox {number}", "name": f"n{number}"} for number in range(50)]
    first = read_rows(tmp_path, *rows)
    rows = rows[25:] + rows[24::-1]
    second = read_rows(tmp_path, *rows)
    assert second.identifier == first.identifier
    assert identifiers(second) == identifiers(first)
    assert read_rows(tmp_path, *rows[1:]).identifier != first.identifier


def test_identity_is_of_what_is_made_not_of_how_it_is_written(tmp_path: Path) -> None:
    full = read_rows(tmp_path, {"template": "text_to_image", "parameters": {"prompt": "a", "steps": 5}, "name": "x"})
    short = read_rows(tmp_path, {"defaults": {"parameters": {"steps": 5}}}, {"name": "x", "prompt": "a"})
    assert full.identifier == short.identifier
    assert full.count == short.count == 1


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "b"},
        {"prompt": "a", "name": "x"},
        {"prompt": "a", "parameters": {"seed": 1}},
        {"prompt": "a", "outputs": {"format": "webp"}},
        {"prompt": "a", "files": [{"name": "x.png", "url": "https://e.example/x.png"}]},
        {"prompt": "a", "assets": ["loras/style.safetensors"]},
    ],
)
def test_what_is_made_otherwise_is_another_item(tmp_path: Path, other: dict[str, Any]) -> None:
    assert only_item(tmp_path, {"prompt": "a"}).identifier != only_item(tmp_path, other).identifier


def test_identity_follows_the_content_of_a_template_but_not_what_it_says_of_itself(tmp_path: Path) -> None:
    document = json.loads((TEMPLATES / "text_to_image.json").read_text())
    folder = tmp_path / "templates"
    folder.mkdir()

    def identifier() -> str:
        (folder / "text_to_image.json").write_text(json.dumps(document))
        return only_item(tmp_path, {"prompt": "a"}, templates_folder=folder).identifier

    first = identifier()
    document["description"] = "Another description."
    assert identifier() == first
    document["parameters"]["steps"]["default"] = 21
    assert identifier() != first


def test_a_random_seed_is_a_definite_one_of_its_item(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a"},
        {"prompt": "b"},
        {"prompt": "a", "parameters": {"seed": "random"}},
        {"prompt": "a", "name": "c"},
    ]
    seeds = [item.job["parameters"]["seed"] for item in read_rows(tmp_path, *rows).items()]
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    assert len(set(seeds)) == 4
    again = [item.job["parameters"]["seed"] for item in read_rows(tmp_path, *rows[::-1]).items()]
    assert again == seeds[::-1]


def test_random_seeds_of_a_workflow_are_definite_as_well(tmp_path: Path) -> None:
    for row in (
        {"workflow": picture_workflow(n3={"seed": "random"})},
        {"workflow": picture_workflow(), "parameters": {"3.seed": "random"}},
        {"workflow": picture_workflow(), "parameters": {"seed": "random"}},
    ):
        item = only_item(tmp_path, row)
        assert isinstance(as_worker(item).nodes["3"]["inputs"]["seed"], int)
        assert item == only_item(tmp_path, row)


def test_an_item_twice_is_one_item_and_said_to_be(tmp_path: Path) -> None:
    manifest = read_rows(tmp_path, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "a"}, {"prompt": "a"})
    assert manifest.count == 2
    assert [item.row for item in manifest.items()] == [0, 1]
    assert sum(items for items, _ in manifest.signatures().values()) == 2
    (note,) = manifest.notes
    assert note.startswith("2 rows repeat others, and are made once (first: line 3)")


def test_a_source_that_changes_between_two_readings_is_noticed(tmp_path: Path) -> None:
    source = write_lines(tmp_path, [{"prompt": "a"}, {"prompt": "b"}])
    manifest = read(tmp_path, source)
    assert len(list(manifest.items())) == 2
    write_lines(tmp_path, [{"prompt": "a"}, {"prompt": "c"}])
    with pytest.raises(InvalidManifest, match="is not what it was"):
        list(manifest.items())


def test_a_template_from_a_file_is_sent_with_all_of_its_values(tmp_path: Path) -> None:
    document = json.loads((TEMPLATES / "text_to_image.json").read_text())
    (tmp_path / "own.json").write_text(json.dumps({**document, "name": "own"}))
    row = {"prompt": "a fox", "parameters": {"width": 512, "seed": 5, "3.denoise": 0.5}}
    own = only_item(tmp_path, {**row, "template": "own.json"})
    known = only_item(tmp_path, {**row, "template": "text_to_image"})
    assert isinstance(own.job["workflow"], dict)
    assert as_worker(own) == as_worker(known)
    assert (own.assets, own.work) == (known.assets, known.work)


def test_an_address_is_enough_for_a_template_that_wants_a_file(tmp_path: Path) -> None:
    item = only_item(tmp_path, {"template": "upscale", "parameters": {"image": "https://e.example/a/Cat.PNG?sig=1"}})
    assert item.job["files"] == [{"name": "image.png", "url": "https://e.example/a/Cat.PNG?sig=1"}]
    assert as_worker(item).nodes["1"]["inputs"]["image"] == "image.png"
    with pytest.raises(InvalidManifest, match=r"parameters.image: there is no file 'picture.png'"):
        read_rows(tmp_path, {"template": "upscale"})
    with pytest.raises(InvalidManifest, match=r"parameters.image: there is no file '/etc/passwd'"):
        read_rows(tmp_path, {"template": "upscale", "parameters": {"image": "/etc/passwd"}})
    files = [{"name": "cat.png", "url": "https://e.example/cat.png"}]
    assert (
        only_item(tmp_path, {"template": "upscale", "images": files, "parameters": {"image": "cat.png"}}).job["files"]
        == files
    )


VALUES: dict[str, list[Any]] = {
    "prompt": ["a fox", "a fox, embedding:bad-hands", "(embedding:bad-hands.pt:1.2)", "x.safetensors"],
    "negative_prompt": ["", "b", "embedding:bad-hands"],
    "steps": [1, 30, 100],
    "width": [512, 1024],
    "batch_size": [1, 8],
    "seed": ["random", 0, 2**64 - 1],
    "checkpoint": ["base.safetensors", "other/anime.safetensors"],
    "4.ckpt_name": ["base.safetensors", "other\\anime.safetensors"],
    "5.height": [64, 640, ["3", 0]],
    "3.denoise": [0, 0.5],
}


@st.composite
def rows_alike(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with the same few parameters, of which several are equal: what is kept of one is used for another."""
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True))
    row = st.fixed_dictionaries({name: st.sampled_from(VALUES[name]) for name in names})
    return draw(st.lists(row, min_size=2, max_size=5))


@given(st.lists(rows_alike(), min_size=1, max_size=2).map(lambda lists: [row for rows in lists for row in rows]))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_is_known_of_an_item_is_that_of_the_workflow_that_runs(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """What is worked out once for many rows is what each of them would have given alone."""
    library = ModelLibrary(ModelManifest.parse(MODELS))
    manifest = read_rows(tmp_path, *({"template": "text_to_image", "parameters": row} for row in rows))
    for item in manifest.items():
        workflow = as_worker(item)
        facts, _ = facts_of(workflow, library)
        assert (item.assets, item.work) == (facts.assets.keys, facts.work)
        asked = rows[item.row]
        for name in ("steps", "width"):
            if name in asked:
                assert asked[name] in [node["inputs"].get(name) for node in workflow.nodes.values()]
        assert all(isinstance(workflow.nodes["3"]["inputs"].get(name, 0), int) for name in SEED_INPUTS)


def test_groups_count_all_items_and_their_work(tmp_path: Path) -> None:
    workflow = picture_workflow()
    rows = [
        {"workflow": workflow, "parameters": {"6.text": f"fox {number}", "4.ckpt_name": name}}
        for number in range(6)
        for name in ("base.safetensors", "other/anime.safetensors")
    ]
    manifest = read_rows(tmp_path, *rows)
    groups = manifest.signatures()
    assert {group.bases: items for group, (items, _) in groups.items()} == {
        ("checkpoints/base.safetensors", "vae/fine.safetensors"): 6,
        ("checkpoints/other/anime.safetensors", "vae/fine.safetensors"): 6,
    }
    assert {group.patches for group in groups} == {("loras/detail.safetensors", "loras/style.safetensors")}
    assert sum(work for _, work in groups.values()) == pytest.approx(12 * 20.0)
    assert set(manifest.assets) == {key for group in groups for key in group.assets}


def test_assets_have_what_models_toml_says(tmp_path: Path) -> None:
    manifest = read_rows(tmp_path, {"prompt": "a"}, {"prompt": "a", "parameters": {"checkpoint": "base.safetensors"}})
    built, base = (
        manifest.assets["checkpoints/sd_xl_base_1.0.safetensors"],
        manifest.assets["checkpoints/base.safetensors"],
    )
    assert (built.comes_with_image, base.comes_with_image) == (True, False)
    assert (base.size_bytes, base.sha256) == (6_900_000_000, "1" * 64)
    assert (base.entry or {})["url"] == "https://models.example/base.safetensors"


def test_sizes_that_nobody_tells_are_a_problem_or_assumed(tmp_path: Path) -> None:
    write_models(tmp_path, MODELS.replace("size_bytes = 2_000_000_000\n", ""))
    row = {"prompt": "a", "parameters": {"checkpoint": "other/anime.safetensors"}}
    with pytest.raises(InvalidManifest, match=r"size of checkpoints/other/anime.safetensors"):
        read_rows(tmp_path, row)
    unlisted = {"prompt": "a", "parameters": {"checkpoint": "mine.safetensors"}}
    manifest = read_rows(tmp_path, row, unlisted, assume_size_bytes=5)
    assert {key: (asset.size_bytes, asset.entry is None) for key, asset in manifest.assets.items()} == {
        "checkpoints/other/anime.safetensors": (5, False),
        "checkpoints/mine.safetensors": (5, True),
    }
    with pytest.raises(InvalidManifest, match="leads out of the folder"):
        read_rows(tmp_path, {"prompt": "a", "parameters": {"checkpoint": "../../x.safetensors"}}, assume_size_bytes=5)
