"""`find_cached_models`: what the platform has cached is used where models.toml asks for it, and only then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError
from comfypod.files.pickles import PICKLE_SUFFIXES
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.models import hub_cache
from comfypod.storage.models.files import ModelFolders
from comfypod.storage.models.hub_cache import CachedModels, find_cached_models
from comfypod.storage.models.manifest import ModelManifest
from comfypod.storage.models.store import ModelStore
from comfypod.storage.safe_http import SafeHTTP

COMMIT, OTHER = "1" * 40, "2" * 40
SHA256 = "a" * 64


class Site:
    """A cache as the platform makes it, and a ``models.toml``."""

    def __init__(self, folder: Path) -> None:
        self.hub, self.plain = folder / "hub", folder / "plain"
        self.models_toml = folder / "models.toml"
        self.target = folder / "links"

    def cache(self, repository: str, file: str, content: bytes = b"weights", commit: str = COMMIT) -> Path:
        """A file as huggingface_hub keeps it: a link to its content, which is named by its SHA-256."""
        folder = self.hub / f"models--{repository.replace('/', '--')}"
        blob, link = folder / "blobs" / SHA256, folder / "snapshots" / commit / file
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(blob)
        return link

    def refer(self, repository: str, name: str, commit: str) -> None:
        path = self.hub / f"models--{repository.replace('/', '--')}" / "refs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)

    def find(self, *entries: str) -> CachedModels:
        self.models_toml.write_text("\n".join(f"[[model]]\n{entry}" for entry in entries), encoding="utf-8")
        return find_cached_models(self.models_toml, self.hub, self.plain)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def entry(name: str = "x.safetensors", folder: str = "vae", repository: str = "o/n", **more: object) -> str:
    fields = {"name": name, "folder": folder, "repository": repository, **more}
    return "\n".join(f"{key} = {value if isinstance(value, int) else repr(value)}" for key, value in fields.items())


def test_a_cached_file_is_linked_under_the_name_that_workflows_use(site: Site) -> None:
    cached = site.cache("Owner/Name", "deep/weights.safetensors")
    found = site.find(entry("sdxl/base.safetensors", "checkpoints", "owner/name", file="deep/weights.safetensors"))
    assert [(model.commit, model.path) for model in found.models] == [(COMMIT, cached)]
    assert found.link(site.target) == [("checkpoints", site.target / "checkpoints")]
    assert (site.target / "checkpoints" / "sdxl" / "base.safetensors").read_bytes() == b"weights"
    assert found.notes == ()


def test_links_of_an_earlier_start_are_renewed_or_gone(site: Site) -> None:
    site.cache("o/n", "a.safetensors")
    site.cache("o/n", "b.safetensors")
    site.find(entry("a.safetensors"), entry("b.safetensors", folder="loras")).link(site.target)
    (site.target / "vae" / ".a.safetensors.used").touch()
    site.find(entry("a.safetensors")).link(site.target)
    assert (site.target / "vae" / "a.safetensors").exists()
    assert not (site.target / "loras" / "b.safetensors").is_symlink()


@pytest.mark.parametrize(
    ("revision", "refs", "snapshots", "expected"),
    [
        (None, {"main": COMMIT}, [COMMIT, OTHER], COMMIT),
        (None, {}, [OTHER], OTHER),
        (None, {}, [COMMIT, OTHER], None),
        (None, {"main": "../../.."}, [COMMIT, OTHER], None),
        (COMMIT, {"main": OTHER}, [COMMIT, OTHER], COMMIT),
        (COMMIT, {}, [OTHER], None),
        ("fp16", {"fp16": OTHER, "main": COMMIT}, [COMMIT, OTHER], OTHER),
        ("refs/pr/1", {"refs/pr/1": OTHER}, [COMMIT, OTHER], OTHER),
        ("fp16", {"main": COMMIT}, [COMMIT], None),
    ],
)
def test_only_the_revision_that_is_wanted_counts(
    site: Site, revision: str | None, refs: dict[str, str], snapshots: list[str], expected: str | None
) -> None:
    for commit in snapshots:
        site.cache("o/n", "x.safetensors", commit=commit)
    for name, commit in refs.items():
        site.refer("o/n", name, commit)
    found = site.find(entry(**({"revision": revision} if revision else {})))
    assert [model.commit for model in found.models] == ([expected] if expected else [])
    assert [f"revision {revision or 'main'!r} is not there" in note for note in found.notes] == [True] * (not expected)


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        (entry(size_bytes=8), "7 bytes"),
        (entry(sha256="b" * 64), f"its sha256 is {SHA256}"),
        (entry(file="y.safetensors"), "y.safetensors is not there"),
        (entry("x.ckpt", file="x.safetensors"), "allow_pickle"),
        (entry(repository="o/other"), "has cached o/n; models.toml names no file of it"),
    ],
)
def test_what_is_not_what_the_entry_wants_is_told_and_not_used(site: Site, wanted: str, part: str) -> None:
    site.cache("o/n", "x.safetensors")
    found = site.find(wanted)
    assert found.models == ()
    assert part in found.notes[0]


def test_what_fits_in_every_way_is_used(site: Site) -> None:
    site.cache("o/n", "x.ckpt")
    found = site.find(entry("x.ckpt", size_bytes=7, sha256=SHA256.upper(), allow_pickle=1).replace("= 1", "= true"))
    assert len(found.models) == 1


@pytest.mark.parametrize(
    "hostile",
    [
        entry("../../escaped.safetensors"),
        entry("/escaped.safetensors"),
        entry(folder=".."),
        entry(folder="a/../../b"),
        entry(file="../../../../../secret"),
        entry(revision="../../../.."),
        entry(revision="a/../../../secret"),
        entry(repository=".."),
        entry(repository="../plain"),
        entry(repository="/etc"),
        'name = 3\nfolder = "vae"\nrepository = ["o/n"]',
    ],
)
def test_hostile_names_lead_nowhere(site: Site, hostile: str, tmp_path: Path) -> None:
    site.cache("o/n", "x.safetensors")
    (site.plain / "main").mkdir(parents=True)
    for path in (tmp_path / "secret", site.plain / "main" / "x.safetensors"):
        path.write_bytes(b"secret")
    found = site.find(hostile)
    assert found.models == ()
    assert found.link(site.target) == []


def test_the_place_that_the_sdk_names_is_looked_at_too(site: Site) -> None:
    file = site.plain / "o" / "n" / "fp16" / "x.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    (model,) = site.find(entry(revision="fp16")).models
    assert model.path == file
    assert site.find(entry()).models == ()


def test_without_a_cache_nothing_is_read(site: Site) -> None:
    site.models_toml.write_text("no TOML")
    assert find_cached_models(site.models_toml, site.hub, site.plain) == CachedModels()
    site.cache("o/n", "x.safetensors")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        find_cached_models(site.models_toml, site.hub, site.plain)


async def test_a_store_takes_a_linked_model_as_present_and_leaves_it_alone(site: Site) -> None:
    cached = site.cache("o/n", "x.safetensors")
    before = sorted(site.hub.rglob("*"))
    ((kind, folder),) = site.find(entry(size_bytes=7, when="boot")).link(site.target)
    manifest = ModelManifest.from_file(site.models_toml)
    empty = site.target.parent / "models" / "vae"
    async with SafeHTTP(AddressPolicy()) as http:
        store = ModelStore(manifest, ModelFolders({kind: [empty, folder]}), http, {}, budget_bytes=1)
        async with store.using(["x.safetensors"]):
            assert await store.fetch_due("boot", Deadline.after(10)) == {}
        assert await store.fetch("x.safetensors", Deadline.after(10)) == folder / "x.safetensors"
    assert sorted(site.hub.rglob("*")) == before, "nothing is noted, or removed, in the platform's cache"
    assert await asyncio.to_thread(cached.read_bytes) == b"weights"


def test_pickles_are_the_same_as_elsewhere() -> None:
    assert hub_cache._PICKLE_SUFFIXES == PICKLE_SUFFIXES
