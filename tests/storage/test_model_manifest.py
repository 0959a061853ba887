"""What may stand in ``models.toml``, and what is said when it may not."""

from pathlib import Path

import pytest

from comfypod.errors import ConfigurationError
from comfypod.storage.models.additions import parse_source, to_toml
from comfypod.storage.models.manifest import ModelManifest

ROOT = Path(__file__).parents[2]

HEAD = '[[model]]\nfolder = "vae"\n'


def test_the_repositorys_own_list_is_valid() -> None:
    manifest = ModelManifest.from_file(ROOT / "models.toml")
    assert manifest.entry("sdxl_vae.safetensors").repository == "stabilityai/sdxl-vae"


def test_every_problem_is_told_at_once_with_entry_and_field() -> None:
    text = f"""
    models = 1
    {HEAD} name = "a.safetensors"
    url = "ftp://example.com/a"
    sha256 = "12"
    {HEAD} name = "b.safetensors"
    {HEAD} name = "c.safetensors"
    civitai = 1
    repository = "a/b"
    when = "never"
    pined = true
    """
    with pytest.raises(ConfigurationError) as caught:
        ModelManifest.parse(text)
    problems = "\n".join(caught.value.problems)
    for part in (
        "'models' is not known here",
        "model 'a.safetensors': url: must be an http or https address",
        "model 'a.safetensors': sha256:",
        "model 'b.safetensors': needs one source (repository, civitai or url), has none",
        "model 'c.safetensors': when:",
        "model 'c.safetensors': pined:",
    ):
        assert part in problems


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../x", "/etc/x", "a//x", "", ".hidden", "a/.hidden", "a\\x", "C:x", "a\nx", " x", "x ", "x" * 201],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace("\n", "\\n")
    for field in ("name", "folder", "file"):
        fields = {"name": "x.safetensors", "folder": "vae", "file": "x", field: quoted}
        lines = "\n".join(f'{key} = "{value}"' for key, value in fields.items())
        with pytest.raises(ConfigurationError, match=f"{field}: "):
            ModelManifest.parse(f'[[model]]\n{lines}\nrepository = "a/b"')


@pytest.mark.parametrize(
    "url", ["https://user:secret@example.com/x", "file:///etc/passwd", "https://", "x.safetensors"]
)
def test_addresses_that_are_none_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ModelManifest.parse(f'{HEAD}name = "x"\nurl = "{url}"')
    assert "secret" not in str(caught.value)


def test_the_same_file_twice_is_refused_also_in_other_letters() -> None:
    entries = [f'{HEAD}name = "{name}"\nurl = "https://example.com/x"\n' for name in ("x.sft", "X.sft")]
    with pytest.raises(ConfigurationError, match=r"'vae/x.sft' is there 2 times"):
        ModelManifest.parse("".join(entries))


def test_a_name_that_several_folders_have_must_be_told_apart() -> None:
    entries = [f'[[model]]\nname = "x"\nfolder = "{folder}"\ncivitai = 1\n' for folder in ("vae", "loras")]
    manifest = ModelManifest.parse("".join(entries))
    assert manifest.entry("loras/x").folder == "loras"
    assert [entry.folder for entry in manifest.named("x")] == ["vae", "loras"]
    with pytest.raises(ConfigurationError, match="is ambiguous; say which: vae/x, loras/x"):
        manifest.entry("x")
    with pytest.raises(ConfigurationError, match=r"'y' is not in models.toml"):
        manifest.entry("y")


HUB_FILE = {"repository": "a/b", "file": "c/d.safetensors"}


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("a/b/c/d.safetensors", HUB_FILE),
        ("hf://a/b/c/d.safetensors", HUB_FILE),
        ("hf://a/b@v1/c/d.safetensors", HUB_FILE | {"revision": "v1"}),
        ("https://huggingface.co/a/b/resolve/main/c/d.safetensors?download=true", HUB_FILE | {"revision": "main"}),
        ("https://huggingface.co/a/b/blob/v1/c/d.safetensors", HUB_FILE | {"revision": "v1"}),
        ("civitai:42", {"civitai": 42}),
        ("https://civitai.com/models/7/name?modelVersionId=42", {"civitai": 42}),
        ("https://civitai.com/api/download/models/42?type=Model", {"civitai": 42}),
        ("https://example.com/x.safetensors?key=1", {"url": "https://example.com/x.safetensors?key=1"}),
    ],
)
def test_sources_as_people_have_them(source: str, fields: dict[str, object]) -> None:
    assert parse_source(source) == fields


@pytest.mark.parametrize(
    "source",
    ["x", "a/b", "hf://a/b", "https://huggingface.co/a/b", "https://civitai.com/models/7", "civitai:x", "ftp://a/b/c"],
)
def test_sources_that_leave_the_file_open_are_explained(source: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_source(source)


def test_an_entry_that_is_written_reads_as_the_same() -> None:
    text = '[[model]]\nname = "ä \\"x\\".sft"\nfolder = "vae"\ncivitai = 3\npinned = true\nwhen = "boot"\n'.replace(
        '\\"', "'"
    )
    entry = ModelManifest.parse(text).entries[0]
    assert ModelManifest.parse(to_toml(entry)).entries == (entry,)
